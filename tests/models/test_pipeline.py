"""The stages in order, from a sound file to a video file."""

import wave

import av
import numpy as np
import pytest
import torch
from soliloquy.models import formats, pipeline
from soliloquy.models.formats import System
from soliloquy.models.motion.arkit import INDEX
from soliloquy.models.payloads import PayloadError, Portrait
from soliloquy.models.pipeline import Settings, choose_device, film, perform, speak
from soliloquy.models.portrait.crop import prepare_portrait

from ..helpers import ROOT

SIZE = 96  # pixels: a small picture is a fast test


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    """The demo's astronaut, small."""
    from PIL import Image
    from skimage.data import astronaut

    picture = np.array(Image.fromarray(astronaut()).resize((SIZE, SIZE)))
    landmarks = ROOT / "assets" / "astronaut_landmarks.json"
    return prepare_portrait(torch.from_numpy(picture), landmarks=landmarks)


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    """The first second and a half of the demo's sentence."""
    path = tmp_path_factory.mktemp("sound") / "voice.wav"
    with wave.open(str(ROOT / "assets" / "demo.wav")) as source, wave.open(str(path), "wb") as cut:
        cut.setparams(source.getparams())
        cut.writeframes(source.readframes(24000))
    return path


def frames_of(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_a_portrait_and_a_sound_become_a_video(portrait, voice, tmp_path):
    reports = []
    motion = speak(
        portrait,
        voice,
        tmp_path / "a.mp4",
        Settings(fps=24, device="cpu"),
        on_progress=lambda *report: reports.append(report),
    )
    frames = frames_of(tmp_path / "a.mp4")
    assert frames.shape == (36, SIZE, SIZE, 3)
    assert motion.timeline.num_frames == 36
    assert np.abs(np.diff(frames.astype(int), axis=0)).max() > 20  # something moves
    stages = list(dict.fromkeys(stage for stage, _, _ in reports))
    assert stages == [
        pipeline.READING,
        pipeline.ENCODING,
        pipeline.SAMPLING,
        pipeline.RENDERING,
    ]
    assert reports[-1] == (pipeline.RENDERING, 36, 36)


def test_the_same_seed_gives_the_same_frames(portrait, voice, tmp_path):
    files = [tmp_path / name for name in ("a.mp4", "b.mp4", "c.mp4")]
    for path, seed in zip(files, (3, 3, 4), strict=True):
        speak(portrait, voice, path, Settings(seed=seed, fps=10, device="cpu"))
    first, again, other = map(frames_of, files)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_lips_follow_the_voice_and_rest_in_silence(voice, tmp_path):
    path = tmp_path / "pause.wav"
    with wave.open(str(voice)) as source, wave.open(str(path), "wb") as padded:
        padded.setparams(source.getparams())
        padded.writeframes(source.readframes(24000) + bytes(2 * 24000))
    _, motion = perform(path, Settings(device="cpu"))
    jaw = motion.values[:, INDEX["jawOpen"]]
    assert jaw[:37].amax() > 0.15
    assert jaw[52:].amax() < 0.03  # half a second after the voice broke off


def test_a_motion_model_that_has_keyframes_is_led_by_them(voice, monkeypatch):
    led = {}

    class Leader:
        def predict(self, speech, seed, *, on_step):
            on_step(1, 1)
            return ("keyframes", speech.timeline.num_frames, seed)

    class Model:
        def sample(self, speech, portrait, keyframes, *, seed, on_step):
            led["by"] = keyframes
            return "motion"

    def load(self, **options):
        return {"keyframes": Leader, "motion": Model}[self.stage]()

    rows = (
        System(name="new", stage="keyframes", title="", loader=""),
        System(name="new", stage="motion", title="", loader="", speech="starter", keyframes="new"),
    )
    loads = System.load
    monkeypatch.setattr(formats, "SYSTEMS", (*formats.SYSTEMS, *rows))
    monkeypatch.setattr(
        System, "load", lambda row, **o: load(row) if row in rows else loads(row, **o)
    )
    seen = []
    settings = Settings(motion="new", device="cpu", seed=5)
    performed = perform(voice, settings, on_progress=lambda stage, *_: seen.append(stage))
    assert performed[1] == "motion"
    assert led["by"] == ("keyframes", 38, 5)
    assert "Predicting the keyframes" in seen


def test_neither_picture_nor_sound_is_changed(portrait, voice, tmp_path):
    picture, sound = portrait.image.clone(), voice.read_bytes()
    speak(portrait, voice, tmp_path / "a.mp4", Settings(fps=5, device="cpu"))
    assert torch.equal(portrait.image, picture)
    assert voice.read_bytes() == sound


def test_motion_without_a_sound_makes_a_silent_video(portrait, voice, tmp_path):
    _, motion = perform(voice, Settings(fps=5, device="cpu"))
    film(portrait, motion, tmp_path / "a.mp4", Settings(device="cpu"))
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].frames == motion.timeline.num_frames
        assert not container.streams.audio


def test_an_interruption_passes_through_and_leaves_no_file(portrait, voice, tmp_path):
    def stop(stage: str, done: int, total: int) -> None:
        if stage == pipeline.RENDERING and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        speak(portrait, voice, tmp_path / "a.mp4", Settings(device="cpu"), on_progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_video_may_not_replace_its_own_sound(portrait, voice, tmp_path):
    speak(portrait, voice, tmp_path / "a.mp4", Settings(fps=5, device="cpu"))
    before = (tmp_path / "a.mp4").read_bytes()
    with pytest.raises(PayloadError, match="own sound"):
        speak(portrait, tmp_path / "a.mp4", tmp_path / "a.mp4", Settings(device="cpu"))
    assert (tmp_path / "a.mp4").read_bytes() == before


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (Settings(motion="nobody"), "no motion system called 'nobody'"),
        (Settings(renderer="nothing"), "no render system called 'nothing'"),
        (Settings(device="abacus"), "device 'abacus'"),
        (Settings(device="meta"), "device 'meta'"),
        (Settings(fps=0), "0 frames per second"),
    ],
)
def test_settings_that_cannot_be_are_refused(portrait, voice, tmp_path, settings, complaint):
    with pytest.raises(PayloadError, match=complaint):
        speak(portrait, voice, tmp_path / "a.mp4", settings)
    assert list(tmp_path.iterdir()) == []


def test_the_device_is_the_cpu_where_there_is_no_other(monkeypatch):
    assert choose_device("cpu") == "cpu"
    monkeypatch.delattr(torch, "accelerator", raising=False)
    assert choose_device("auto") == "cpu"
