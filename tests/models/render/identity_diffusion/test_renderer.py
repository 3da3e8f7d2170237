"""Windows join without a jump, noise from outside is used, and the picture around stays."""

from dataclasses import replace

import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.noise.landmark_guided import NoiseOptions, guided_noise
from soliloquy.models.payloads import PayloadError
from soliloquy.models.portrait.crop import prepare_portrait, read_image
from soliloquy.models.render.identity_diffusion import renderer as module
from soliloquy.models.render.identity_diffusion.renderer import (
    IdentityDiffusionRenderer,
    fade,
    source_side,
    windows,
)

from ....helpers import shared
from .small import SMALL, face, network, talking

PORTRAIT = face()
LANDMARKER = "models/face_landmarker.task"


def renderer(**options):
    return IdentityDiffusionRenderer(network(), size=32, steps=2, **options)


def rendered(portrait=PORTRAIT, frames=5, given=None, **options):
    found = list(
        renderer().render(portrait, talking(portrait, frames), guided_noise=given, **options)
    )
    return torch.cat(found)


@pytest.mark.parametrize(
    ("total", "spans"),
    [
        (1, [(0, 1)]),
        (30, [(0, 30)]),
        (31, [(0, 30), (24, 31)]),
        (54, [(0, 30), (24, 54)]),
        (60, [(0, 30), (24, 54), (48, 60)]),
    ],
)
def test_windows_overlap_and_cover_every_frame(total, spans):
    assert windows(total) == spans


def test_fading_goes_from_one_to_the_other_and_never_back():
    values = fade(torch.zeros(6, 1), torch.ones(6, 1))[:, 0]
    assert values[0] < 0.05
    assert values[-1] > 0.95
    assert (values.diff() > 0).all()


def test_frames_have_the_pictures_size_and_any_batch_is_the_same():
    frames = rendered(batch=8)
    assert frames.dtype == torch.uint8
    assert frames.shape == (5, *PORTRAIT.size, 3)
    assert torch.equal(frames, rendered(batch=2))


def test_a_clip_longer_than_a_window_is_drawn_whole_and_without_a_jump(monkeypatch):
    monkeypatch.setattr(module, "WINDOW", 10)
    monkeypatch.setattr(module, "OVERLAP", 4)
    frames = torch.cat(list(renderer().render(PORTRAIT, talking(PORTRAIT, 28)))).float()
    assert len(frames) == 28
    speed = frames.diff(dim=0).abs().mean((1, 2, 3))
    borders = [start - 1 for start, _ in windows(28)[1:]]
    others = [index for index in range(27) if index not in borders]
    assert speed[borders].max() <= speed[others].max()


def test_what_moves_is_as_sharp_as_the_portrait():
    def side(zoom, size):
        crop = torch.diag(torch.tensor([zoom, zoom, 1.0])).double()
        return source_side(replace(PORTRAIT, crop=crop), size)

    assert side(2.0, 32) == PORTRAIT.crop_size // 2
    assert side(2.0, 128) == 128
    assert side(0.05, 128) == 1024


def test_the_mouth_moves_and_the_picture_around_the_square_stays():
    small = replace(PORTRAIT, crop=torch.diag(torch.tensor([2.0, 2.0, 1.0])).double())
    frames = torch.cat(list(renderer().render(small, talking(small, 5))))
    assert torch.equal(frames[:, 60:, 60:], small.image[60:, 60:].expand(5, -1, -1, -1))
    moved = rendered()
    assert (moved[0].float() - moved[3].float()).abs().max() > 20


def test_noise_from_outside_is_where_it_starts():
    motion = talking(PORTRAIT, 5)
    own = guided_noise(PORTRAIT, motion, NoiseOptions(size=32))
    assert torch.equal(rendered(given=own), rendered())
    other = guided_noise(PORTRAIT, motion, NoiseOptions(size=32, seed=3))
    assert not torch.equal(rendered(given=other), rendered())
    larger = guided_noise(PORTRAIT, motion, NoiseOptions(size=64))
    assert rendered(given=larger).shape == rendered().shape


def test_noise_that_does_not_belong_is_refused():
    noise = guided_noise(PORTRAIT, talking(PORTRAIT, 4), NoiseOptions(size=32))
    with pytest.raises(PayloadError, match="4 frames and the motion 5"):
        rendered(given=noise)
    stranger = face(rotation=(0.0, 10.0, 0.0))
    noise = guided_noise(stranger, talking(stranger, 5), NoiseOptions(size=32))
    with pytest.raises(PayloadError, match="another portrait"):
        rendered(given=noise)
    noise = guided_noise(PORTRAIT, talking(PORTRAIT, 5), NoiseOptions(size=36))
    with pytest.raises(PayloadError, match="multiple of 8"):
        rendered(given=noise)


def test_other_settings_come_in_a_copy_with_the_same_network():
    first = renderer()
    other = first.performing(steps=3, emotion="happy", seed=4)
    assert (other.steps, other.seed, module.EMOTIONS[other.emotion]) == (3, 4, "happy")
    assert (first.seed, module.EMOTIONS[first.emotion]) == (0, "neutral")
    assert other.network is first.network
    with pytest.raises(PayloadError, match="'bored'"):
        first.performing(steps=3, emotion="bored", seed=0)


def test_other_spaces_batches_and_emotions_are_refused():
    motion = talking(PORTRAIT)
    with pytest.raises(PayloadError, match="at least 1"):
        list(renderer().render(PORTRAIT, motion, batch=0))
    arkit = replace(motion, space="arkit52", values=torch.zeros(5, 52))
    with pytest.raises(PayloadError, match="moves by landmarks68"):
        list(renderer().render(PORTRAIT, arkit))
    with pytest.raises(PayloadError, match="'bored'"):
        renderer(emotion="bored")


def test_progress_reaches_the_end_and_an_interrupt_passes_through_while_a_window_is_drawn():
    seen = []
    rendered(on_frame=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 5)
    assert seen[-1] == (5, 5)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rendered(on_frame=stop)


def test_inputs_are_left_as_they_are():
    picture, landmarks = PORTRAIT.image.clone(), PORTRAIT.landmarks.clone()
    rendered()
    assert torch.equal(PORTRAIT.image, picture)
    assert torch.equal(PORTRAIT.landmarks, landmarks)


def test_weights_are_found_in_the_folders_of_the_host_first(tmp_path):
    (tmp_path / "soliloquy").mkdir()
    path = tmp_path / "soliloquy" / "identity_diffusion.safetensors"
    checkpoints.save(network(), path, vars(SMALL))
    assert module.load(folders=[tmp_path]).network.config == SMALL
    assert module.load(path=path).network.config == SMALL


def test_the_bundled_weights_open_a_mouth_and_leave_the_background():
    path, task = shared("data/portraits/photo_outdoor_512.jpg"), shared(LANDMARKER)
    pytest.importorskip("mediapipe")
    portrait = prepare_portrait(read_image(path), face_landmarker=task)
    bundled = module.load()
    bundled.steps = 2
    frames = torch.cat(list(bundled.render(portrait, talking(portrait, 4)))).float()
    change = (frames - portrait.image).abs().mean(-1)
    mouth = portrait.landmarks[60:68, :2].mean(0).round().int().tolist()
    around = (slice(mouth[1] - 8, mouth[1] + 12), slice(mouth[0] - 10, mouth[0] + 10))
    assert change[3][around].mean() > 30  # open
    assert change[0][around].mean() < 0.6 * change[3][around].mean()  # at rest
    assert change[:, :40].mean() < 1


def test_without_weights_it_says_how_to_make_them(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WEIGHTS", tmp_path / "identity_diffusion.safetensors")
    with pytest.raises(PayloadError, match="are missing. Install Soliloquy again"):
        module.load(folders=[tmp_path])
    with pytest.raises(PayloadError, match="no weight file"):
        module.load(path=tmp_path / "absent.safetensors")
