"""Attention that looks no further than a given distance."""

import torch
from soliloquy.models.local_attention import LocalAttention


def attention(**options) -> LocalAttention:
    torch.manual_seed(0)
    layer = LocalAttention(8, 2, **options)
    torch.nn.init.normal_(layer.distance_bias)
    return layer.eval()


def distances(queries: int, memory: int) -> torch.Tensor:
    return torch.arange(memory)[None] - torch.arange(queries)[:, None]


def test_what_lies_beyond_the_limits_changes_nothing():
    layer, x = attention(before=2, after=1), torch.randn(1, 9, 8)
    other = x.clone()
    other[:, :2] += 5  # frame 4 sees 2 … 5
    other[:, 6:] -= 5
    there = distances(9, 9)
    torch.testing.assert_close(layer(x, other, there)[:, 4], layer(x, x, there)[:, 4])
    assert not torch.allclose(layer(x, other, there)[:, 3], layer(x, x, there)[:, 3])


def test_the_answer_is_a_mean_weighted_by_likeness_and_distance():
    layer = attention(before=1, after=1, inner=4)
    x, memory = torch.randn(1, 1, 8), torch.randn(1, 2, 8)
    keys, values = layer.memory(memory)[0].split(4, dim=-1)
    asked, expected = layer.query(x)[0, 0], []
    for head, part in enumerate((slice(0, 2), slice(2, 4))):
        scores = keys[:, part] @ asked[part] / 2**0.5 + layer.distance_bias[1:, head]
        expected.append(scores.softmax(0) @ values[:, part])
    found = layer(x, memory, torch.tensor([[0, 1]]))
    torch.testing.assert_close(found[0, 0], layer.out(torch.cat(expected)))
