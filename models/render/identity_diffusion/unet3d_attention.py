"""Dot-product attention of `unet3d.py`, whose heads have as few as eight channels."""

from __future__ import annotations

from math import e, log2, sqrt
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .unet3d_parts import part_size

FEW = 16  # channels of a head; PyTorch's own attention is fast from more on
ROWS = 128  # of queries at a time, at least


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Softmax(query · keyᵀ / √c) · value.

    Args:
        query: `[B, heads, N, c]`.
        key: `[B, heads, L, c]`.
        value: like `key`.

    Returns:
        Like `query`.
    """
    tracked = torch.is_grad_enabled() and (query.requires_grad or key.requires_grad)
    plain = query.device.type == "cpu" and query.dtype == torch.float32
    if tracked or not plain or query.shape[-1] > FEW:
        return F.scaled_dot_product_attention(query, key, value)
    flat = [x.reshape(-1, *x.shape[-2:]) for x in (query, key, value)]
    keys = key.shape[-2]
    # With many keys, some of the queries at a time, but not so few that products become slow.
    rows = max(ROWS, part_size(len(flat[0]) * keys))
    heads = []
    for some, *pair in zip(*(x.split(part_size(rows * keys)) for x in flat), strict=True):
        heads.append(torch.cat([_of_few_channels(q, *pair) for q in some.split(rows, 1)], 2))
    return torch.cat(heads).view(*query.shape[:2], *heads[0].shape[-2:]).mT


def _of_few_channels(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """`[B, N, c]`, two of `[B, L, c]` → `[B, c, N]`.

    Matrix products with a few columns are slow, those with a few rows are not. So all is transposed
    here: the scores are `[B, L, N]`, the long axes are rows of memory.
    """
    scores = torch.bmm(key, (query * (log2(e) / sqrt(query.shape[-1]))).mT)
    scores -= scores.amax(1, keepdim=True)
    scores.exp2_()  # twice as fast as exp
    return torch.bmm(value.mT, scores).div_(scores.sum(1, keepdim=True))


class Attention(nn.Module):
    """Heads of dot-product attention; with `context` channels, to keys and values from outside."""

    def __init__(self, width: int, heads: int, context: int | None, operations: ModuleType | Any):
        super().__init__()
        self.heads = heads
        if context is None:
            self.qkv = operations.Linear(width, 3 * width, bias=False)
        else:
            self.q = operations.Linear(width, width, bias=False)
            self.kv = operations.Linear(context, 2 * width, bias=False)
        self.out = operations.Linear(width, width)

    def keys_values(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Of a context `[B, L, channels]`: two of `[B, heads, L, head channels]`."""
        key, value = self.kv(context).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return key, value

    def to_context(self, x: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """`[B · n, N, width]`: all n rows of tokens of a clip look at the one context."""
        query = self.q(x).reshape(len(key), -1, self.heads, key.shape[-1]).transpose(1, 2)
        return self.out(attend(query, key, value).transpose(1, 2).reshape(x.shape))

    def among_tokens(self, x: Tensor) -> Tensor:
        """`[B, N, width]`: every token looks at all of its row."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        return self.out(attend(query, key, value).transpose(1, 2).reshape(x.shape))
