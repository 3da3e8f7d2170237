"""Attention of heads with few channels is dot-product attention."""

import pytest
import torch
import torch.nn.functional as F
from soliloquy.models.render.identity_diffusion import unet3d_attention, unet3d_parts
from soliloquy.models.render.identity_diffusion.unet3d_attention import Attention, attend
from torch import nn


def of(channels, scale=1.0):
    random = torch.Generator().manual_seed(0)
    sizes = (12, 7, 7)
    return [scale * torch.randn(2, 3, size, channels, generator=random) for size in sizes]


@pytest.mark.parametrize("channels", [4, 8, 16, 24])
def test_heads_with_few_channels_attend_as_all_do(channels):
    given = of(channels)
    assert torch.allclose(attend(*given), F.scaled_dot_product_attention(*given), atol=1e-6)


def test_heads_and_queries_are_treated_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr(unet3d_attention, "ROWS", 5)
    monkeypatch.setattr(unet3d_parts, "AT_ONCE", 2 * 5 * 7)
    assert torch.allclose(attend(*of(8)), F.scaled_dot_product_attention(*of(8)), atol=1e-6)


def test_large_scores_do_not_overflow():
    given = of(8, scale=60.0)
    wanted = F.scaled_dot_product_attention(*given)
    assert torch.allclose(attend(*given), wanted, rtol=1e-4, atol=1e-2)


def test_attending_passes_gradients_on():
    query, key, value = (x.requires_grad_() for x in of(8))
    attend(query, key, value).square().sum().backward()
    assert all(x.grad is not None for x in (query, key, value))


def test_one_context_serves_all_rows_of_its_clip():
    torch.manual_seed(1)
    attention, x, context = Attention(8, 2, 6, nn), torch.randn(4, 5, 8), torch.randn(2, 7, 6)
    together = attention.to_context(x, *attention.keys_values(context))
    alone = [
        attention.to_context(x[i : i + 1], *attention.keys_values(context[i // 2][None]))
        for i in range(4)
    ]
    assert torch.allclose(together, torch.cat(alone), atol=1e-6)
