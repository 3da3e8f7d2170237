"""Distance costs what it costs in DiffSpeaker, and shortcuts change nothing."""

import numpy as np
import pytest
import torch
from soliloquy.models.motion.biased_attention import (
    BiasedAttention,
    band_bias,
    distance_bias,
    periodic_encoding,
    slopes,
    timestep_encoding,
)

from ...helpers import shared


def published(key):
    with np.load(shared("golden/moditalker_atldiff/diffspeaker.npz")) as stored:
        return torch.from_numpy(np.asarray(stored[key]))


def attention(seed=0, width=16, heads=4):
    torch.manual_seed(seed)
    return BiasedAttention(width, heads).eval().requires_grad_(False)


def clip(seed=1, batch=2, frames=30, tokens=2, width=16):
    random = torch.Generator().manual_seed(seed)
    sizes = (batch, frames, width), (batch, frames, width), (batch, tokens, width)
    return [torch.randn(*size, generator=random) for size in sizes]


def test_the_bias_is_the_published_one():
    assert torch.equal(distance_bias(60, 4, 30, tokens=2), published("ds_bias_T60"))


def test_the_mask_is_the_published_one():
    masked = band_bias(60, 0, tokens=2)[0].isinf()
    assert torch.equal(masked, published("ds_memmask_T60").bool())


def test_the_periodic_encoding_is_the_published_one():
    wanted = published("ds_pe_sub")
    found = periodic_encoding(90, wanted.shape[1], 30)[::7]
    assert torch.allclose(found, wanted, atol=2e-6)


def test_published_distances_are_one_frame_nearer_in_the_future():
    bias = distance_bias(101, 4, 25)[0]
    assert bias[50, [25, 26]].tolist() == [-0.25, 0]  # earlier
    assert bias[50, [75, 76]].tolist() == [0, -0.25]  # later


def test_symmetric_distances_count_both_directions_alike():
    bias = distance_bias(101, 4, 25, symmetric=True)
    assert torch.equal(bias, bias.transpose(1, 2))
    assert not torch.equal(bias, distance_bias(101, 4, 25))


def test_slopes_exist_for_any_number_of_heads():
    assert slopes(4).tolist() == [1 / 4, 1 / 16, 1 / 64, 1 / 256]
    assert torch.allclose(slopes(6), 2.0 ** -torch.tensor([2.0, 4.0, 6.0, 8.0, 1.0, 3.0]))


@pytest.mark.parametrize("frames", [1, 7, 30])
def test_attending_to_the_own_frame_is_attention_with_everything_else_masked(frames):
    module, (x, memory, tokens) = attention(), clip(frames=frames)
    masked = module(x, memory, tokens, band_bias(frames, 0, tokens=2))
    assert torch.allclose(module(x, memory, tokens, None), masked, atol=1e-6)


def test_a_band_hears_the_speech_within_reach_and_no_further():
    module, (x, memory, tokens) = attention(), clip()
    changed = memory.clone()
    changed[:, 15] += 1
    bias = band_bias(30, 3, tokens=2)
    differs = (
        (module(x, memory, tokens, bias) - module(x, changed, tokens, bias)).abs().amax((0, 2))
    )
    assert (differs > 1e-7).nonzero().flatten().tolist() == list(range(12, 19))


def test_tokens_reach_every_frame():
    module, (x, memory, tokens) = attention(), clip()
    for bias in (None, band_bias(30, 3, tokens=2), distance_bias(30, 4, 5, tokens=2)):
        differs = module(x, memory, tokens, bias) - module(x, memory, tokens + 1, bias)
        assert (differs.abs().amax((0, 2)) > 1e-6).all()


def test_odd_widths_have_encodings_too():
    assert periodic_encoding(5, 7, 3).shape == (5, 7)
    assert torch.equal(periodic_encoding(5, 8, 3)[0], periodic_encoding(5, 8, 3)[3])
    assert timestep_encoding(torch.tensor([0, 999]), 16).shape == (2, 16)
    assert timestep_encoding(torch.tensor([0]), 4).tolist() == [[1, 1, 0, 0]]
