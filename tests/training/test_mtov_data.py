import random

import pytest
import torch
from soliloquy.models.motion.spaces import convert
from soliloquy.training.identity_diffusion_data import piece
from soliloquy.training.mtov_data import Windows, draw_windows, signed

from ..models.render.mtov.moving import PORTRAIT, speaking


def said(number):
    """Motion of a window."""
    spoken = convert(speaking(40), "arkit52", PORTRAIT)
    return piece(spoken, 16, random.Random(number))


@pytest.fixture(scope="module")
def windows():
    square = {"size": 16, "crop_scale": 1.5, "crop_shift": 0.0}
    return draw_windows({"drawn": PORTRAIT, "other": PORTRAIT}, said, range(1, 3), **square)


def test_a_window_is_what_the_renderer_shows_its_networks(windows):
    assert windows.frames.shape == (2, 16, 3, 16, 16)
    assert windows.drawn.shape == (2, 16, 16, 16)
    assert windows.reference.shape == (2, 3, 16, 16)
    assert windows.names == ["drawn", "other"]  # two neighbouring windows share a portrait
    masked = windows.masked(0)
    assert (masked[:, :, 14:] == 0).all()
    assert torch.equal(masked[:, :, :4], windows.pose[0, :, :, :4])
    upper = (windows.pose[:, :, :, :4].int() - windows.frames[:, :, :, :4].int()).abs()
    assert upper.float().mean() < 4  # the pose is that of the frames
    assert windows.drawn.float().std() > 10


def test_the_mouth_moves_in_the_frames(windows):
    lower = windows.frames[0, :, :, 8:].float()
    assert (lower.amax(0) - lower.amin(0)).max() > 20
    lips = (windows.landmarks - windows.unspoken)[:, :, 48:68].abs().amax((1, 2, 3))
    eyes = (windows.landmarks - windows.unspoken)[:, :, 36:48].abs().amax()
    assert lips.max() > 0.3 > 10 * eyes
    assert windows.shown[0, :, 10:].float().mean() > 2 * windows.shown[0, :, :6].float().mean()


def test_windows_come_back_from_their_file(windows, tmp_path):
    windows.save(tmp_path / "windows.safetensors")
    again = Windows.load(tmp_path / "windows.safetensors")
    assert torch.equal(again.unspoken, windows.unspoken)
    assert again.names == windows.names


def test_pictures_are_signed_for_the_networks():
    assert signed(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1, 1]
