"""The renderer's contract, with small networks that were never trained."""

from dataclasses import asdict

import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.payloads import PayloadError
from soliloquy.models.render.mtov.posed import PosedAutoencoder
from soliloquy.models.render.mtov.renderer import (
    BUNDLED,
    MToVRenderer,
    MToVSettings,
    load,
    periodic,
)
from soliloquy.models.render.mtov.scene import Scene

from .moving import PORTRAIT, networks, renderer, speaking

FRAMES = 29


@pytest.fixture(scope="module")
def motion():
    return speaking(FRAMES)


@pytest.fixture(scope="module")
def clip(motion):
    return torch.cat(list(renderer().render(PORTRAIT, motion)))


@pytest.fixture(scope="module")
def posed(motion):
    return torch.cat(list(renderer(posed=True).render(PORTRAIT, motion)))


def test_every_frame_is_a_whole_picture(clip):
    assert clip.shape == (FRAMES, 160, 128, 3)
    assert clip.dtype == torch.uint8


@pytest.mark.parametrize("batch", [7, 64])
def test_batches_change_nothing_but_their_size(clip, motion, batch):
    parts = list(renderer().render(PORTRAIT, motion, batch=batch))
    assert all(len(part) == batch for part in parts[:-1])
    assert torch.equal(torch.cat(parts), clip)


def test_only_the_lower_face_differs_from_the_pose_frames(clip, motion):
    scene = Scene.of(PORTRAIT, motion, 16)
    pose = scene.pictures(torch.arange(FRAMES))
    changed = (clip != pose).any(-1)
    eyes = int(PORTRAIT.landmarks[36:48, 1].max())
    assert not changed[:, : eyes - 4].any()
    x, y = PORTRAIT.landmarks[62:67, :2].mean(0).round().long().tolist()
    assert changed[:, y, x].float().mean() > 0.9


def test_our_variant_changes_the_pose_frames_around_the_lower_face(posed, motion):
    pose = Scene.of(PORTRAIT, motion, 16).pictures(torch.arange(FRAMES))
    changed = (posed != pose).any(-1)
    assert posed.shape == pose.shape
    brows = int(PORTRAIT.landmarks[17:27, 1].min())
    assert not changed[:, : brows - 4].any()
    x, y = PORTRAIT.landmarks[62:67, :2].mean(0).round().long().tolist()
    assert changed[:, y, x].float().mean() > 0.9


@pytest.mark.parametrize("kind", ["clip", "posed"])
def test_there_is_no_flash_where_windows_meet(kind, request):
    clip = request.getfixturevalue(kind)
    change = (clip[1:].float() - clip[:-1].float()).abs().mean((1, 2, 3))
    borders = change[11::12]
    assert borders.max() <= change.quantile(0.95)


def test_the_identity_is_the_same_in_every_window(monkeypatch):
    seen = []
    made = renderer()
    step = made.unet.condition
    monkeypatch.setattr(
        made.unet, "condition", lambda cond, identity: seen.append(identity) or step(cond, identity)
    )
    list(made.render(PORTRAIT, speaking(FRAMES)))
    assert len(seen) == 3
    assert all(identity is seen[0] for identity in seen)


@pytest.mark.parametrize(("turn", "pictures"), [(0.0, 2), (6.0, 4)])
def test_what_does_not_change_is_encoded_once(monkeypatch, turn, pictures):
    made, calls = renderer(), []
    for name in ("autoencoder", "motion_autoencoder"):
        extract = made.networks[name].extract
        monkeypatch.setattr(
            made.networks[name],
            "extract",
            lambda video, name=name, extract=extract: calls.append(name) or extract(video),
        )
    list(made.render(PORTRAIT, speaking(FRAMES, turn)))
    assert calls.count("autoencoder") == pictures  # the portrait, and the frames of each window
    assert calls.count("motion_autoencoder") == 3


def test_a_seed_gives_the_same_frames_and_another_seed_others(clip, motion):
    assert torch.equal(torch.cat(list(renderer().render(PORTRAIT, motion))), clip)
    assert not torch.equal(torch.cat(list(renderer(seed=1).render(PORTRAIT, motion))), clip)


def test_the_reference_shows_the_whole_square_and_windows_of_their_own(clip, motion):
    reference = torch.cat(list(renderer(mode="reference").render(PORTRAIT, motion)))
    assert reference.shape == clip.shape
    above = int(PORTRAIT.landmarks[36:48, 1].min()) - 10
    assert (reference[:, above] != clip[:, above]).any()
    change = (reference[1:].float() - reference[:-1].float()).abs().mean((1, 2, 3))
    assert change[15] > 2 * change[10]  # fresh noise at the border between frames 15 and 16


@pytest.mark.parametrize("ratio", [0.25, 0.5, 1.0])
def test_the_start_decides_how_many_steps_are_taken(monkeypatch, ratio):
    made, steps = renderer(steps=8, start_ratio=ratio), []
    step = made.unet.step
    monkeypatch.setattr(made.unet, "step", lambda *given: steps.append(1) or step(*given))
    list(made.render(PORTRAIT, speaking(5)))
    assert len(steps) == 8 * ratio


def test_progress_is_told_and_an_interrupt_passes_through(motion):
    told = []
    list(renderer().render(PORTRAIT, motion, on_frame=lambda *counts: told.append(counts)))
    assert told[-1] == (FRAMES, FRAMES)
    assert all(done <= total == FRAMES for done, total in told)

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(renderer().render(PORTRAIT, motion, on_frame=interrupt))


def test_settings_arrive_in_a_copy_with_the_same_networks(motion):
    made = renderer()
    video = torch.zeros(FRAMES, 160, 128, 3, dtype=torch.uint8)
    other = made.performing(MToVSettings(steps=4, mode="reference"), video)
    assert other.networks is made.networks
    assert made.settings.mode == "default"
    assert torch.cat(list(other.render(PORTRAIT, motion)))[:, :1].max() == 0


def test_what_cannot_be_rendered_is_refused(motion):
    with pytest.raises(PayloadError, match="batch of 0"):
        renderer().render(PORTRAIT, motion, batch=0)
    with pytest.raises(PayloadError, match="The mode is default or reference"):
        MToVSettings(mode="fast")
    with pytest.raises(PayloadError, match="start ratio is 0.0"):
        MToVSettings(steps=2, start_ratio=0.0)


def test_damaged_weights_are_named(motion):
    parts = networks()
    parts["autoencoder"].pixels.bias.fill_(float("nan"))
    with pytest.raises(PayloadError, match="returned NaN"):
        list(MToVRenderer(parts, settings=MToVSettings(steps=4)).render(PORTRAIT, motion))


def test_it_loads_from_three_files_of_our_own(tmp_path, clip, motion):
    parts, files = networks(), {}
    for name, part in parts.items():
        files[name] = tmp_path / f"{name}.safetensors"
        checkpoints.save(part, files[name], asdict(part.config))
    made = load(**files, settings=MToVSettings(steps=4))
    found = torch.cat(list(made.render(PORTRAIT, motion)))
    assert (found.int() - clip.int()).abs().max() <= 3  # half precision
    with pytest.raises(PayloadError, match="unet was not named"):
        load(autoencoder=files["autoencoder"], motion_autoencoder=files["motion_autoencoder"])


def test_our_variant_needs_two_files(tmp_path):
    files = {}
    for name in BUNDLED:
        files[name] = tmp_path / f"{name}.safetensors"
        part = networks(posed=True)[name]
        checkpoints.save(part, files[name], asdict(part.config))
    assert isinstance(load(**files).autoencoder, PosedAutoencoder)
    with pytest.raises(PayloadError, match="unet was not named"):
        load(autoencoder=files["autoencoder"])


def test_shared_frames_start_from_the_same_noise():
    shapes = ((2, 2), (16, 2), (16, 2))
    noise = torch.randn(1, 4, 68, generator=torch.Generator().manual_seed(0))
    before = noise.clone()
    made = periodic(noise, shapes, 4)
    planes = made[:, :, 4:].unflatten(-1, (2, 16, 2))
    assert torch.equal(planes[:, :, :, 12:], planes[:, :, :, :4])
    assert torch.equal(made[:, :, :28], noise[:, :, :28])
    assert torch.equal(noise, before)
