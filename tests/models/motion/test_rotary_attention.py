"""Turning tells attention where frames are; the memory it attends to may come in pieces."""

import torch
from soliloquy.models.motion.rotary_attention import (
    CrossAttention,
    SelfAttention,
    join_heads,
    modulated,
    rotate,
    split_heads,
    turns,
)
from torch import nn


def attention(kind=SelfAttention):
    torch.manual_seed(0)
    return kind(24, 4, nn).requires_grad_(False)


def test_products_of_turned_vectors_depend_on_the_distance_alone():
    turn = turns(60, 24, torch.device("cpu"))
    q, k = torch.randn(2, 1, 24, generator=torch.Generator().manual_seed(0))

    def product(i, j):
        return float((rotate(q, turn[i : i + 1]) * rotate(k, turn[j : j + 1])).sum())

    assert abs(product(3, 8) - product(40, 45)) < 1e-4
    assert abs(product(3, 8) - product(3, 9)) > 1e-2


def test_turning_pairs_neighbouring_channels():
    turn = turns(2, 4, torch.device("cpu"))
    turned = rotate(torch.tensor([[[1.0, 0, 1, 0], [1.0, 0, 1, 0]]]), turn)[0, 1]
    slow = torch.tensor(0.01)
    wanted = torch.tensor([0.540302, 0.841471, slow.cos(), slow.sin()])
    assert torch.allclose(turned, wanted, atol=1e-5)


def test_a_window_is_told_its_places_because_it_turns_before_the_projection():
    module, x = attention(), torch.randn(1, 5, 24)
    turn = turns(50, 24, torch.device("cpu"))
    assert not torch.allclose(module(x, turn[:5]), module(x, turn[30:35]), atol=1e-3)
    still = torch.ones_like(turn[:5])
    assert torch.allclose(module(x, still).flip(1), module(x.flip(1), still), atol=1e-5)


def test_memory_may_come_in_pieces_and_in_any_order():
    module, x = attention(CrossAttention), torch.randn(2, 5, 24)
    turn, tokens = turns(9, 24, torch.device("cpu")), torch.randn(2, 9, 24)
    whole = module(x, turn[:5], [module.project(tokens, turn)])
    late, early = module.project(tokens[:, 4:], turn[4:]), module.project(tokens[:, :4], turn[:4])
    assert torch.allclose(module(x, turn[:5], [late, early]), whole, atol=1e-6)


def test_heads_come_together_as_they_were_split():
    x = torch.randn(2, 3, 12)
    assert torch.equal(join_heads(split_heads(x, 4)), x)


def test_a_film_of_zeros_changes_nothing():
    x = torch.randn(2, 3, 6)
    assert torch.equal(modulated(x, torch.zeros(2, 1, 12)), x)
    assert torch.allclose(modulated(x, torch.ones(2, 1, 12)), 2 * x + 1)
