"""Every view of a clip is the same memory, and layers in parts are the layers."""

import pytest
import torch
import torch.nn.functional as F
from soliloquy.models.render.identity_diffusion.unet3d_layers import (
    TemporalBlock,
    as_tokens,
    enlarge,
    from_tokens,
    over_time,
)
from torch import nn


def clip(frames=3):
    x = torch.randn(2 * frames, 8, 5, 4, generator=torch.Generator().manual_seed(0))
    return x.contiguous(memory_format=torch.channels_last)


def test_views_share_memory_and_lead_back():
    x = clip()
    along = over_time(x, 3)
    assert along.shape == (2, 8, 3, 20)
    assert along.data_ptr() == as_tokens(along).data_ptr() == x.data_ptr()
    assert torch.equal(from_tokens(as_tokens(along), x), x)
    assert torch.equal(along[1, :, 2, 7], x[5, :, 1, 3])


def test_convolutions_over_time_are_those_of_three_dimensions():
    torch.manual_seed(1)
    block, x = TemporalBlock(8, 2, nn), clip()
    y = x.unflatten(0, (2, 3)).transpose(1, 2)
    for norm, layer in zip(block.norms, block.convolutions, strict=True):
        weight = layer.weight[..., None]
        y = F.conv3d(F.silu(norm(y)), weight, layer.bias, padding=(1, 0, 0))
    expected = x + y.transpose(1, 2).flatten(0, 1)
    assert torch.allclose(block(x, 3), expected, atol=1e-5)


@pytest.mark.parametrize("size", [(10, 8), (9, 7)])
@torch.no_grad()
def test_enlarged_images_are_those_of_nearest_neighbours(size):
    torch.manual_seed(1)
    layer, x = nn.Conv2d(8, 6, 3, padding=1), clip()
    expected = layer(F.interpolate(x, size, mode="nearest"))
    assert torch.allclose(enlarge(layer, x, torch.Size(size)), expected, atol=1e-6)


def test_enlarging_passes_gradients_on():
    torch.manual_seed(1)
    layer, x = nn.Conv2d(8, 6, 3, padding=1), clip()
    enlarge(layer, x, torch.Size((10, 8))).square().sum().backward()
    gradient, layer.weight.grad = layer.weight.grad, None
    layer(F.interpolate(x, (10, 8), mode="nearest")).square().sum().backward()
    assert torch.allclose(gradient, layer.weight.grad, rtol=1e-4, atol=1e-3)
