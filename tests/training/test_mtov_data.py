import random

import pytest
import torch
from soliloquy.models.motion.spaces import convert
from soliloquy.training.identity_diffusion_data import piece
from soliloquy.training.mtov_data import Windows, draw_windows, signed

from ..models.render.mtov.moving import PORTRAIT, speaking


def motions():
    source = random.Random(0)
    spoken = convert(speaking(40), "arkit52", PORTRAIT)
    while True:
        yield piece(spoken, 16, source)


@pytest.fixture(scope="module")
def windows():
    return draw_windows({"drawn": PORTRAIT}, motions(), 2, size=16, crop_scale=1.5)


def test_a_window_is_what_the_renderer_shows_its_networks(windows):
    assert windows.frames.shape == (2, 16, 3, 16, 16)
    assert windows.drawn.shape == (2, 16, 16, 16)
    assert windows.reference.shape == (2, 3, 16, 16)
    assert (windows.masked[:, :, :, 14:] == 0).all()
    upper = (windows.masked[:, :, :, :4].int() - windows.frames[:, :, :, :4].int()).abs()
    assert upper.float().mean() < 4  # the pose is that of the frames
    assert windows.drawn.float().std() > 10


def test_the_mouth_moves_in_the_frames(windows):
    lower = windows.frames[0, :, :, 8:].float()
    assert (lower.amax(0) - lower.amin(0)).max() > 20


def test_windows_come_back_from_their_file(windows, tmp_path):
    windows.save(tmp_path / "windows.safetensors")
    again = Windows.load(tmp_path / "windows.safetensors")
    assert torch.equal(again.masked, windows.masked)
    assert again.names == ["drawn", "drawn"]


def test_pictures_are_signed_for_the_networks():
    assert signed(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1, 1]
