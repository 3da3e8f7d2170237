"""A layer in parts is the layer as a whole, and the norms of parts are those of the whole."""

import pytest
import torch
from soliloquy.models.render.identity_diffusion import unet3d_parts
from soliloquy.models.render.identity_diffusion.unet3d_layers import TemporalBlock, Transformer
from soliloquy.models.render.identity_diffusion.unet3d_parts import (
    divisible,
    in_parts,
    scale_and_shift,
    side_by_side,
    sums,
)
from torch import nn

from .test_unet3d import error, inputs
from .unet3d_weights import SMALL, both


def images(count=6, channels=8):
    x = torch.randn(count, channels, 5, 4, generator=torch.Generator().manual_seed(0))
    return x.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("at_once", [1, 40, 10**6])
@pytest.mark.parametrize("dim", [0, 2])
def test_parts_make_up_the_whole(monkeypatch, at_once, dim):
    monkeypatch.setattr(unet3d_parts, "AT_ONCE", at_once)
    x, y = images(), 2 * images()
    result = in_parts(lambda a, b: a + b, (x, y), dim, 10, into=torch.empty_like(x))
    assert torch.equal(result, x + y)


def test_parts_are_written_where_they_shall_be(monkeypatch):
    monkeypatch.setattr(unet3d_parts, "AT_ONCE", 1)
    x = images()
    expected = 3 * x
    assert in_parts(lambda part: 3 * part, (x,), 0, 1, into=x) is x
    assert torch.equal(x, expected)


def test_norms_of_parts_are_those_of_the_whole_far_from_zero():
    norm, x = nn.GroupNorm(4, 8), 10 + images(2)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    parts = [sums(part) for part in x.split(2, 2)]
    scale, shift = scale_and_shift(norm, parts, x[0, 0].numel())
    expected = norm.double()(x.double()).float()
    assert torch.allclose(x * scale + shift, expected, atol=1e-4)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("inference", [False, True])
def test_threads_work_alone_in_the_mode_of_their_caller(two_threads, inference):
    weight = torch.ones(3, requires_grad=True)

    def look(index):
        made = torch.zeros(1) + weight.sum()
        return index, torch.get_num_threads(), made.requires_grad, made.is_inference()

    with torch.inference_mode(inference):
        found = side_by_side(look, ((i,) for i in range(5)))
    assert found == [(i, 1, False, inference) for i in range(5)]
    assert torch.get_num_threads() == 2


def test_what_fails_in_a_thread_fails_outside(two_threads):
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda x: 1 // x, [(1,), (0,), (2,)])
    assert torch.get_num_threads() == 2


def test_parts_are_for_inference():
    layer, x = nn.Linear(4, 4), torch.zeros(2, 4)
    assert not divisible(layer, x)
    layer.requires_grad_(False)
    assert divisible(layer, x)
    assert not divisible(layer, x.clone().requires_grad_())
    assert not divisible(layer, x.half())
    with torch.no_grad():
        assert divisible(layer.requires_grad_(True), x)


@pytest.mark.parametrize("at_once", [1, 100, 10**6])
def test_layers_over_time_and_space_are_the_same_in_parts(monkeypatch, at_once):
    torch.manual_seed(1)
    temporal = TemporalBlock(8, 2, nn)
    attention = Transformer(8, 2, 4, 2, context=6, operations=nn)
    along = Transformer(8, 2, 4, 2, context=None, operations=nn)
    pair = attention.second.keys_values(torch.randn(2, 3, 6))

    def drawn():
        x = temporal(images(), 3)
        return along.over_time(attention.over_space(x, iter([pair])), 3)

    whole = drawn().detach()
    monkeypatch.setattr(unet3d_parts, "AT_ONCE", at_once)
    with torch.no_grad():
        assert torch.allclose(drawn(), whole, atol=1e-5)


@pytest.mark.parametrize("size", [(4, 8, 6), (3, 7, 5)])
def test_the_network_is_the_same_in_small_parts(monkeypatch, two_threads, size):
    monkeypatch.setattr(unet3d_parts, "AT_ONCE", 300)
    ours, plain = both(SMALL)
    assert error(ours(*inputs(SMALL, size)), plain(*inputs(SMALL, size))) < 5e-5
