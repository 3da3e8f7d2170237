"""Every workflow in a real ComfyUI on the CPU, and what the videos are like."""

import json
import os
import re
import shutil
import time
from math import ceil

import numpy as np
import pytest
import torch

from .. import weight_files
from ..helpers import ROOT, shared
from ..models.plain_resnet import plain_resnet
from ..models.render.identity_diffusion.test_folder import write as write_folder
from ..models.render.identity_diffusion.test_published import CONFIG as PUBLISHED_CONFIG
from ..workflows.ui_format import (
    CORE,
    FRONTEND_ONLY,
    WORKFLOWS,
    host_node_type,
    node_type,
    read,
    to_api,
)
from . import windows
from .comfyui import ComfyUI

pytestmark = pytest.mark.host

NEED_WEIGHTS = (
    "kdtalker",
    "ksdiff_liveportrait",
    "liveportrait_from_starter",
    "swap_renderer",
)
NEED_SMALL_WEIGHTS = ("moditalker", "mtov_from_any_motion")
FROM_NOISE = ("atl_diff", "guided_noise")
WITHOUT_WEIGHTS = [
    path.stem
    for path in WORKFLOWS
    if path.stem not in NEED_WEIGHTS + NEED_SMALL_WEIGHTS + FROM_NOISE
]
LOADING_PROBLEM = r"IMPORT FAILED|Cannot import|Error while calling comfy_entrypoint|Skip .* module"


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    with ComfyUI(tmp_path_factory.mktemp("comfyui")) as running:
        yield running


@pytest.fixture(scope="module")
def info(host):
    return {k: v for k, v in host.get("/object_info").items() if k.startswith("Soliloquy")}


@pytest.fixture(scope="module")
def types(info):
    return {**CORE, **{name: host_node_type(entry) for name, entry in info.items()}}


@pytest.fixture(scope="module")
def inputs(host):
    """The astronaut, two seconds of speech, and landmarks as numbers: no detector is needed."""
    from scipy.io import wavfile
    from skimage import data, io

    io.imsave(host.base / "input" / "example.png", data.astronaut())
    rate, samples = wavfile.read(ROOT / "assets" / "demo.wav")
    wavfile.write(host.base / "input" / "speech.wav", rate, samples[: 2 * rate + 7])
    wavfile.write(host.base / "input" / "short.wav", rate, samples[: rate // 5])
    host.add_input(ROOT / "assets" / "astronaut_landmarks.json", "astronaut.json")


@pytest.fixture(scope="module")
def weights(host):
    """Pseudo-weights of the published sizes, 0.7 GB; they take a minute, so they can be skipped."""
    if os.environ.get("SOLILOQUY_SKIP_WEIGHTS"):
        pytest.skip("SOLILOQUY_SKIP_WEIGHTS is set")
    weight_files.write_liveportrait(host.base / "models" / "liveportrait")
    weight_files.write_kdtalker(host.base / "models" / "kdtalker")


def prompt_of(name, types, **changes):
    """A workflow as the server takes it, some values of widgets changed wherever they occur."""
    path = next(path for path in WORKFLOWS if path.stem == name)
    prompt = to_api(read(path), types)
    for node in prompt.values():
        inputs = node["inputs"]
        inputs |= {k: v for k, v in changes.items() if not isinstance(inputs.get(k, []), list)}
    return prompt


def node_of(prompt, kind):
    return next(number for number, node in prompt.items() if node["class_type"] == kind)


def node_types(prompt):
    return {node["class_type"] for node in prompt.values()}


def decoded(path):
    """Frames per second, frames `[T, h, w]` in grey at a quarter of the size, seconds of sound."""
    import av

    frames, samples, rate = [], 0, 1
    with av.open(str(path)) as file:
        fps = file.streams.video[0].average_rate
        for frame in file.decode(file.streams.video[0]):
            frames.append(frame.to_ndarray(format="gray")[::4, ::4].astype(np.float32))
    with av.open(str(path)) as file:
        for frame in file.decode(file.streams.audio[0]):
            samples, rate = samples + frame.samples, frame.sample_rate
    return fps, np.stack(frames), samples / rate


def seconds_of(path):
    import av

    with av.open(str(path)) as file:
        samples = [frame.samples for frame in file.decode(file.streams.audio[0])]
        return sum(samples) / file.streams.audio[0].rate


def check_video(path, sound, fps=25, slack=0.0):
    """As long as the sound, frame for frame; alive in every second; never black.

    `slack`: seconds that the host's own Create Video may add, which fills its last AAC packet.
    """
    rate, frames, seconds = decoded(path)
    expected = seconds_of(sound)
    assert rate == fps
    assert len(frames) == ceil(expected * fps - 1e-6)
    assert abs(seconds - expected) < 1 / fps + slack
    change = abs(frames[1:] - frames[:-1]).mean((1, 2))
    for start in range(0, len(change) - fps, fps):
        assert change[start : start + fps].max() > 0.05, f"frozen from frame {start}"
    assert frames.mean((1, 2)).min() > 0.5 * frames[0].mean()


def test_the_pack_loads_without_a_complaint(host, info):
    from ..nodes.loaded import NODES

    log = host.log.read_text()
    assert not re.search(LOADING_PROBLEM, log), log[-3000:]
    assert set(info) == {node.GET_SCHEMA().node_id for node in NODES}


def test_the_host_shows_what_the_schemas_say(types):
    from ..nodes.loaded import NODES

    for node in NODES:
        schema = node.GET_SCHEMA()
        assert types[schema.node_id].sockets == node_type(schema).sockets
        assert [w.name for w in types[schema.node_id].widgets] == [
            w.name for w in node_type(schema).widgets
        ]


def test_the_table_of_core_nodes_fits_this_host(host):
    info = host.get("/object_info")
    for node, kind in CORE.items():
        if node in FRONTEND_ONLY:
            continue
        known = host_node_type(info[node])
        for name, (wanted, _) in kind.sockets.items():
            assert known.sockets[name][0] == wanted
        inputs = {key for group in info[node]["input"].values() for key in group}
        assert {widget.name for widget in kind.widgets if widget.name} <= inputs
        assert known.outputs[: len(kind.outputs)] == kind.outputs


def test_help_pages_locale_and_templates_are_served(host, info):
    for name, entry in info.items():
        page = host.text(f"/extensions/soliloquy/docs/{name}.md")
        assert page.startswith(f"# {entry['display_name']}\n")
    locale = host.get("/i18n")["en"]["nodeDefs"]
    assert set(info) <= set(locale)
    templates = host.get("/workflow_templates")["soliloquy"]
    assert sorted(templates) == [path.stem for path in WORKFLOWS]


@pytest.mark.parametrize("name", WITHOUT_WEIGHTS)
def test_workflow_makes_a_talking_video(host, types, inputs, name):
    prompt = prompt_of(name, types, landmarks_file="astronaut.json")
    outputs = host.run(prompt)
    video = host.saved(outputs, node_of(prompt, "SaveVideo"))
    slack = 0.064 if node_types(prompt) & {"CreateVideo"} else 0.0
    check_video(video, host.base / "input" / "speech.wav", slack=slack)


def test_a_loader_without_its_files_names_them(host, types, inputs):
    prompt = prompt_of("kdtalker", types, landmarks_file="astronaut.json", audio="short.wav")
    entry = host.wait(host.queue(prompt))
    kind, message = entry["status"]["messages"][-1]
    assert kind == "execution_error"
    assert message["node_type"].startswith("SoliloquyLoad")
    assert re.search("belongs? in '", message["exception_message"])
    assert "python -m soliloquy weights fetch" in message["exception_message"]


@pytest.mark.parametrize("name", NEED_WEIGHTS)
def test_workflow_with_published_systems_makes_a_video(host, types, inputs, weights, name):
    """What is in the picture is noise, because the weights are; the graph is the user's.

    Two frames, because LivePortrait takes seconds for each on a CPU.
    """
    short = {"landmarks_file": "astronaut.json", "audio": "short.wav", "steps": 2, "fps": 10.0}
    prompt = prompt_of(name, types, **short)
    outputs = host.run(prompt)
    for number, node in prompt.items():
        if node["class_type"] == "SaveVideo":
            check_video(host.saved(outputs, number), host.base / "input" / "short.wav", fps=10)


@pytest.fixture(scope="module")
def mtov(host):
    """Which renderer, and its settings: the bundled networks, or small random ones until then."""
    if list((ROOT / "weights").glob("mtov_*.safetensors")):
        return "mtov_small", {}
    weight_files.write_mtov(host.base / "models" / "moditalker")
    return "mtov", {"steps": 8}


@pytest.mark.parametrize("name", NEED_SMALL_WEIGHTS)
def test_mtov_carries_a_face_from_window_to_window_without_a_flash(host, types, inputs, mtov, name):
    """A portrait and a sound through the whole chain: 12 borders each, with two seeds."""
    clips = [mtov_clip(host, types, mtov, name, seed) for seed in (0, 1)]
    own = [windows.change(clip.own, clip.inside) for clip in clips]
    assert windows.takeover_ratio(own) < 1.5
    # The same clips with a jump at every border, twice a usual step, would be noticed.
    jumps = [
        2 * curve.mean() * other_windows(len(clip.frames))
        for curve, clip in zip(own, clips, strict=True)
    ]
    jumping = [windows.change(c.own + jump, c.inside) for c, jump in zip(clips, jumps, strict=True)]
    assert windows.takeover_ratio(jumping) > 1.5
    for clip in clips:
        steps = windows.change(clip.frames)
        borders = steps[windows.WINDOW - 1 :: windows.STRIDE]
        assert borders.mean() <= np.quantile(steps, 0.95)
        assert (borders <= np.quantile(steps, 0.95)).mean() > 0.75  # of 12, chance takes a few
        means = [window.mean(0)[~clip.inside].flatten() for window in clip.windows()]
        assert min(np.corrcoef(means[0], mean)[0, 1] for mean in means) > 0.98
        colours = clip.colours()
        assert np.abs(colours - colours.mean(0)).max() < 12


def mtov_clip(host, types, mtov, name, seed):
    """The video that a graph makes of the demo's sound, beside the frames that hold its pose."""
    from soliloquy.models.pipeline import Settings, perform
    from soliloquy.models.portrait.crop import prepare_portrait, read_image
    from soliloquy.models.render.mtov.scene import PoseFrames

    renderer, settings = mtov
    host.add_input(ROOT / "assets" / "demo.wav", "demo.wav")
    given = {"landmarks_file": "astronaut.json", "audio": "demo.wav", "seed": seed}
    given |= {"encoder": "starter", "model": "moditalker_small", "renderer": renderer}
    prompt = prompt_of(name, types, **given)
    prompt[node_of(prompt, "SoliloquyMToVOptions")]["inputs"] |= settings
    outputs = host.run(prompt, 1800)
    video = host.saved(outputs, node_of(prompt, "SaveVideo"))
    check_video(video, host.base / "input" / "demo.wav")
    portrait = prepare_portrait(
        read_image(host.base / "input" / "example.png"),
        landmarks=host.base / "input" / "astronaut.json",
    )
    settings = Settings(motion="moditalker_small", seed=seed)
    _, motion = perform(host.base / "input" / "demo.wav", settings, portrait=portrait)
    frames = coloured(video)
    posed = PoseFrames(portrait, motion)
    pictures = [posed(torch.tensor([i]))[0, ::4, ::4].float().numpy() for i in range(len(frames))]
    inside = windows.lower_face(portrait.landmarks[:, :2].numpy() / 4, frames.shape[1:3])
    return windows.Clip(frames=frames, posed=np.stack(pictures), inside=inside)


def other_windows(frames):
    """1 for frames of every other window, 0 for the rest, `[T, 1, 1, 1]`."""
    return (np.arange(frames) // windows.STRIDE % 2).astype(np.float32)[:, None, None, None]


def coloured(path):
    """Frames `[T, h, w, 3]` at a quarter of the size."""
    import av

    with av.open(str(path)) as file:
        frames = [f.to_ndarray(format="rgb24")[::4, ::4] for f in file.decode(video=0)]
    return np.stack(frames).astype(np.float32)


@pytest.mark.parametrize("name", FROM_NOISE)
def test_atl_diff_draws_from_guided_noise(host, types, inputs, name):
    short = {"landmarks_file": "astronaut.json", "audio": "speech.wav", "fps": 12.0}
    prompt = prompt_of(name, types, **short)
    outputs = host.run(prompt)
    for number, node in prompt.items():
        if node["class_type"] == "SaveVideo":
            check_video(host.saved(outputs, number), host.base / "input" / "speech.wav", fps=12)
        if node["class_type"] == "PreviewImage":
            assert len(outputs[number]["images"]) == 25


@pytest.mark.parametrize("mode", ["default", "reference"])
def test_the_published_renderer_of_atl_diff_draws_from_its_noise(host, types, inputs, mode):
    """With a small random U-Net in a folder as its authors published theirs."""
    folder = host.base / "models" / "atldiff"
    if not folder.exists():
        write_folder(folder, PUBLISHED_CONFIG, {"prediction_type": "sample"})
        torch.save(plain_resnet(classes=3).state_dict(), folder / "resnet50-0676ba61.pth")
    short = {"landmarks_file": "astronaut.json", "audio": "short.wav", "fps": 12.0}
    prompt = prompt_of("atl_diff", types, renderer="atl_diff_published", **short)
    prompt[node_of(prompt, "SoliloquyLandmarkGuidedNoise")]["inputs"]["mode"] = mode
    loaded = [node_of(prompt, "SoliloquyLoadRenderer"), 0]
    options = {"renderer": loaded, "steps": 2, "seed": 0, "emotion": "neutral", "mode": mode}
    prompt["options"] = {"class_type": "SoliloquyATLDiffRendererOptions", "inputs": options}
    render = prompt[node_of(prompt, "SoliloquyRenderVideo")]
    render["inputs"]["renderer"] = ["options", 0]
    outputs = host.run(prompt)
    video = host.saved(outputs, node_of(prompt, "SaveVideo"))
    check_video(video, host.base / "input" / "short.wav", fps=12)


def test_quickstart_takes_real_portraits_and_voices(host, types):
    """With MediaPipe's detector, as a user would have it."""
    task = shared("models/face_landmarker.task")
    shutil.copy(task, host.base / "models" / "soliloquy")
    portraits = ("photo_outdoor_512.jpg", "art_small_225.png")
    voices = ("short_16k_mono_2s.wav", "russian_48k_stereo_6s.wav")
    for portrait, voice in zip(portraits, voices, strict=True):
        host.add_input(shared(f"data/portraits/{portrait}"), portrait)
        host.add_input(shared(f"data/speech/{voice}"), voice)
        prompt = prompt_of("quickstart", types, image=portrait, audio=voice)
        outputs = host.run(prompt)
        video = host.saved(outputs, node_of(prompt, "SaveVideo"))
        check_video(video, host.base / "input" / voice)


def test_a_picture_without_a_face_ends_in_one_sentence(host, types, inputs):
    shutil.copy(shared("models/face_landmarker.task"), host.base / "models" / "soliloquy")
    host.add_input(shared("data/portraits/no_face.jpg"), "lawn.jpg")
    prompt = prompt_of("quickstart", types, image="lawn.jpg")
    entry = host.wait(host.queue(prompt))
    kind, message = entry["status"]["messages"][-1]
    assert kind == "execution_error"
    assert message["node_type"] == "SoliloquyPreparePortrait"
    assert "No face found" in message["exception_message"]


def test_a_saved_motion_comes_back(host, types, inputs):
    prompt = prompt_of("edit_motion", types, landmarks_file="astronaut.json", seed=7)
    outputs = host.run(prompt)
    assert outputs[node_of(prompt, "PreviewImage")]["images"]
    saved = sorted((host.base / "output" / "soliloquy").glob("*.json"))[-1]
    value = json.loads(saved.read_text())
    assert value["format"] == "soliloquy-motion"
    load = {"file": f"soliloquy/{saved.name} [output]", "fps": 0.0}
    number = node_of(prompt, "SoliloquyEditMotion")
    prompt[number] = {"class_type": "SoliloquyLoadMotion", "inputs": load}
    again = host.run(prompt)
    video = host.saved(again, node_of(prompt, "SaveVideo"))
    check_video(video, host.base / "input" / "speech.wav")


def test_interrupting_ends_the_graph_inside_the_render(host, types, inputs):
    from scipy.io import wavfile

    rate, samples = wavfile.read(host.base / "input" / "speech.wav")
    repeats = ceil(120 * rate / len(samples))
    wavfile.write(host.base / "input" / "long.wav", rate, np.concatenate([samples] * repeats))
    prompt = prompt_of("quickstart", types, landmarks_file="astronaut.json", audio="long.wav")
    before = videos_in_temp(host)
    number = host.queue(prompt)
    wait_for_unfinished_video(host)
    asked = time.monotonic()
    host.post("/interrupt", {})
    entry = host.wait(number, 30)
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"
    assert time.monotonic() - asked < 3
    assert videos_in_temp(host) == before, "an unfinished file was left behind"


def videos_in_temp(host):
    return set((host.base / "temp").rglob("*.mp4")) | set((host.base / "temp").rglob(".*.mp4"))


def wait_for_unfinished_video(host, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if any(file.stat().st_size for file in (host.base / "temp").rglob(".*.part.mp4")):
            return
        time.sleep(0.1)
    pytest.fail("rendering did not begin")
