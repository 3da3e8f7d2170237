"""Large kernels through frequencies give what the direct sum gives."""

import pytest
import torch
from soliloquy.models.render.liveportrait import fourier
from soliloquy.models.render.liveportrait.fourier import convolve
from torch import nn


@pytest.fixture(autouse=True)
def accelerate_everything(monkeypatch):
    monkeypatch.setattr(fourier, "MIN_CHANNELS", 1)
    monkeypatch.setattr(fourier, "MIN_PIXELS", 1)


@pytest.mark.parametrize("size", [(2, 3, 4, 10, 21), (1, 2, 9, 7, 5), (1, 1, 1, 1, 1)])
@torch.no_grad()
def test_it_equals_the_direct_sum(size):
    torch.manual_seed(0)
    layer, x = nn.Conv3d(size[1], 4, 7, padding=3), torch.randn(size)
    torch.testing.assert_close(convolve(layer, x), layer(x), atol=1e-5, rtol=1e-5)
    assert hasattr(layer, "_fourier_weight")


@torch.no_grad()
def test_changed_weights_are_seen():
    layer, x = nn.Conv3d(1, 2, 7, padding=3), torch.randn(1, 1, 2, 8, 8)
    before = convolve(layer, x)
    layer.weight.mul_(2)
    layer.bias.mul_(2)
    torch.testing.assert_close(convolve(layer, x), 2 * before, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv3d(1, 2, 7),
        nn.Conv3d(1, 2, 5, padding=2),
        nn.Conv3d(1, 2, 7, padding=3, bias=False),
        nn.Conv3d(1, 2, 7, padding=3).double(),
        type("Cast", (nn.Conv3d,), {})(1, 2, 7, padding=3),
    ],
)
@torch.no_grad()
def test_other_convolutions_are_left_alone(layer):
    x = torch.randn(1, 1, 8, 8, 8, dtype=layer.weight.dtype)
    torch.testing.assert_close(convolve(layer, x), layer(x))
    assert not hasattr(layer, "_fourier_weight")


def test_gradients_flow_through_the_layer_itself():
    layer, x = nn.Conv3d(1, 2, 7, padding=3), torch.randn(1, 1, 2, 8, 8)
    convolve(layer, x).sum().backward()
    assert layer.weight.grad is not None
