"""Winograd's algorithm gives what the direct sum gives, and steps aside where it should."""

import pytest
import torch
from soliloquy.models.render.liveportrait import winograd
from soliloquy.models.render.liveportrait.winograd import convolve
from torch import nn


@pytest.fixture(autouse=True)
def accelerate_everything(monkeypatch):
    monkeypatch.setattr(winograd, "MIN_CHANNELS", 1)
    monkeypatch.setattr(winograd, "MIN_PIXELS", 1)


def transformed(layer):
    return hasattr(layer, "_winograd_weight")


@pytest.mark.parametrize("size", [(2, 5, 8, 12), (1, 3, 7, 5), (1, 2, 4, 9, 6), (2, 2, 3, 4, 4)])
@pytest.mark.parametrize("chunk", [2**24, 1])
@torch.no_grad()
def test_it_equals_the_direct_sum(size, chunk, monkeypatch):
    monkeypatch.setattr(winograd, "CHUNK", chunk)
    torch.manual_seed(0)
    layer = (nn.Conv2d if len(size) == 4 else nn.Conv3d)(size[1], 6, 3, padding=1)
    x = torch.randn(size)
    torch.testing.assert_close(convolve(layer, x), layer(x), atol=1e-5, rtol=1e-5)
    assert transformed(layer)


@torch.no_grad()
def test_its_error_is_that_of_float32():
    torch.manual_seed(0)
    layer, x = nn.Conv2d(256, 32, 3, padding=1), torch.randn(1, 256, 32, 32)
    exact = nn.functional.conv2d(x.double(), layer.weight.double(), layer.bias.double(), padding=1)
    errors = [(y - exact).abs().max() / exact.abs().max() for y in (convolve(layer, x), layer(x))]
    assert errors[0] < max(4 * errors[1], torch.tensor(4e-6))


@torch.no_grad()
def test_changed_weights_are_seen():
    layer, x = nn.Conv2d(2, 3, 3, padding=1), torch.randn(1, 2, 8, 8)
    before = convolve(layer, x)
    layer.weight.mul_(2)
    layer.bias.mul_(2)
    torch.testing.assert_close(convolve(layer, x), 2 * before, atol=1e-5, rtol=1e-5)
    layer.load_state_dict({key: -value for key, value in layer.state_dict().items()}, assign=True)
    torch.testing.assert_close(convolve(layer, x), -2 * before, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("layer", "dtype"),
    [
        (nn.Conv2d(2, 3, 3, padding=1), torch.bfloat16),
        (nn.Conv2d(2, 3, 3), torch.float32),
        (nn.Conv2d(2, 3, 1), torch.float32),
        (nn.Conv2d(2, 3, 3, padding=1, bias=False), torch.float32),
        (nn.Conv2d(2, 4, 3, padding=1, groups=2), torch.float32),
        (nn.Conv2d(2, 3, 3, padding=1, stride=2), torch.float32),
        (type("Cast", (nn.Conv2d,), {})(2, 3, 3, padding=1), torch.float32),
    ],
)
@torch.no_grad()
def test_other_convolutions_are_left_alone(layer, dtype):
    layer, x = layer.to(dtype), torch.randn(1, 2, 8, 8, dtype=dtype)
    torch.testing.assert_close(convolve(layer, x), layer(x))
    assert not transformed(layer)


def test_gradients_flow_through_the_layer_itself():
    layer, x = nn.Conv2d(2, 3, 3, padding=1), torch.randn(1, 2, 8, 8)
    convolve(layer, x).sum().backward()
    assert layer.weight.grad is not None
