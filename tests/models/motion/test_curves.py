from dataclasses import replace

import pytest
import torch
from soliloquy.models.diagram import COLOURS
from soliloquy.models.motion.curves import draw_curves
from soliloquy.models.payloads import Motion, PayloadError, Timeline

from .examples import motion_of


def pixels_of(picture, colour):
    """How many pixels have exactly this colour."""
    wanted = torch.tensor([int(colour[i : i + 2], 16) for i in (1, 3, 5)], dtype=torch.uint8)
    return int((picture == wanted).all(-1).sum())


@pytest.mark.parametrize(("width", "height"), [(1024, 640), (480, 300), (777, 501)])
def test_the_picture_has_the_size_asked_for_and_every_colour(width, height):
    picture = draw_curves(motion_of(100), width=width, height=height)
    assert picture.shape == (height, width, 3)
    assert picture.dtype == torch.uint8
    assert all(pixels_of(picture, colour) > 10 for colour in COLOURS)


def test_an_open_jaw_is_drawn_higher_than_a_closed_one():
    rows = []
    for amount in (0.1, 0.9):
        motion = motion_of(50)
        values = torch.zeros(50, 52)
        values[:, 24] = amount  # jawOpen
        picture = draw_curves(replace(motion, values=values), width=640, height=480)
        jaw = torch.tensor([0x00, 0x5C, 0xB0], dtype=torch.uint8)
        found = (picture[34:150, 100:600] == jaw).all(-1).nonzero()[:, 0].float()
        rows.append(float(found.median()))
    assert rows[1] < rows[0] - 50


def test_a_short_blink_shows_in_a_long_motion():
    motion = motion_of(20000, 25)
    values = torch.zeros(20000, 52)
    quiet = draw_curves(replace(motion, values=values))
    values[9000:9003, 8:10] = 1.0
    blinking = draw_curves(replace(motion, values=values))
    assert (quiet != blinking).any(-1).sum() > 100


def test_sound_is_drawn_behind_the_mouth_only():
    motion = motion_of(50)
    sound = torch.sin(torch.arange(2 * 16000) / 20)[None].repeat(2, 1)
    changed = (draw_curves(motion) != draw_curves(motion, waveform=sound)).any(-1)
    assert changed[:230].float().mean() > 0.1
    assert not changed[230:].any()


@pytest.mark.parametrize("frames", [1, 2])
def test_single_frames_and_silence_can_be_drawn(frames):
    picture = draw_curves(motion_of(frames), waveform=torch.zeros(1, 10))
    assert pixels_of(picture, COLOURS[0]) > 10


def test_other_spaces_are_converted():
    motion = Motion(
        space="landmarks68",
        values=torch.zeros(5, 68, 3),
        rotation=torch.zeros(5, 3),
        translation=torch.zeros(5, 3),
        scale=torch.ones(5),
        timeline=Timeline.for_frames(5, 25),
    )
    assert draw_curves(motion).shape == (640, 1024, 3)


def test_a_picture_that_is_too_small_is_refused():
    with pytest.raises(PayloadError, match=r"100 × 640 pixels; give at least 480 × 300"):
        draw_curves(motion_of(), width=100)
