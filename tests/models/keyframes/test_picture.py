"""Keyframes as a picture."""

import pytest
import torch
from soliloquy.models.diagram import COLOURS, SOUND
from soliloquy.models.keyframes.edit import from_text
from soliloquy.models.keyframes.picture import draw_keyframes, relative_speed
from soliloquy.models.payloads import Keyframes, Motion, PayloadError, Timeline


def keyframes(text: str = "1 expression\n2.5 both 2\n4 pose 0.5", seconds: int = 5) -> Keyframes:
    return from_text(text, Timeline.for_sound(seconds * 16000, 16000, 25))


def moving_at(seconds: float, frames: int = 125) -> Motion:
    times = (torch.arange(frames) + 0.5) / 25
    values = torch.zeros(frames, 52)
    values[:, 24] = torch.sigmoid(30 * (times - seconds))
    return Motion(
        space="arkit52",
        values=values,
        rotation=10 * values[:, 24:25].expand(-1, 3).contiguous(),
        translation=torch.zeros(frames, 3),
        scale=torch.ones(frames),
        timeline=Timeline.for_sound(frames * 640, 16000, 25),
    )


def where(picture: torch.Tensor, colour: str) -> torch.Tensor:
    wanted = torch.tensor([int(colour[i : i + 2], 16) for i in (1, 3, 5)], dtype=torch.uint8)
    return (picture == wanted).all(-1)


@pytest.mark.parametrize(("width", "height"), [(1024, 480), (480, 240), (701, 333)])
def test_the_picture_has_the_size_asked_for_and_both_paths(width, height):
    picture = draw_keyframes(keyframes(), width=width, height=height)
    assert picture.shape == (height, width, 3)
    assert picture.dtype == torch.uint8
    assert all(where(picture, colour).sum() > 10 for colour in COLOURS[:2])


def test_stems_stand_at_their_moment_and_are_as_high_as_strong():
    found = []
    for text in ("1 pose 0.5", "1 pose 1.5", "4 pose 1.5"):
        rows, columns = where(draw_keyframes(keyframes(text)), COLOURS[1]).nonzero().T
        found.append((int(rows.min()), float(columns.float().mean())))
    (low, left), (high, same), (_, right) = found
    assert high < low - 50
    assert left == pytest.approx(same, abs=1)
    assert right - left == pytest.approx(3 / 5 * (1024 - 62 - 18), abs=3)


def test_the_speed_of_the_motion_stands_behind_the_stems():
    picture = draw_keyframes(keyframes("2.5 both"), motion=moving_at(2.5))
    columns = where(picture[60:200], SOUND).nonzero()[:, 1].float()
    assert float(columns.mean()) == pytest.approx(62 + (1024 - 80) / 2, abs=12)
    assert float(relative_speed(moving_at(2.5), "pose").max()) == pytest.approx(1)


def test_sound_gets_a_lane_of_its_own():
    wave = torch.sin(torch.arange(5 * 16000) / 20)[None]
    changed = draw_keyframes(keyframes(), waveform=wave) != draw_keyframes(keyframes())
    assert changed.any()


@pytest.mark.parametrize("seconds", [1, 600])
def test_none_and_many_keyframes_can_be_drawn(seconds):
    many = "\n".join(f"{i / 4} both" for i in range(seconds * 4))
    for text in ("", many):
        assert draw_keyframes(keyframes(text, seconds)).shape == (480, 1024, 3)


def test_what_does_not_belong_together_is_refused():
    with pytest.raises(PayloadError, match="100 frames at 25 fps, the keyframes 125"):
        draw_keyframes(keyframes(), motion=moving_at(1, frames=100))
    with pytest.raises(PayloadError, match="100 × 100 pixels"):
        draw_keyframes(keyframes(), width=100, height=100)
