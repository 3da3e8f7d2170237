"""Attention that looks no further than a given distance, with a learned bias for each distance.

Shared by the dual-path speech encoder and the keyframe predictor. Distances instead of positions
make an answer independent of where in a sound it is asked, and the limit makes it independent of
what lies further away: long sounds can be worked through in pieces that join without a seam.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LocalAttention(nn.Module):
    """Multi-head attention between two sequences on one clock.

    forward: queries (B, Q, C), memory (B, K, C), distances (Q, K) -> (B, Q, C)
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        before: int,
        after: int,
        inner: int | None = None,
        operations: ModuleType | Any = nn,
    ) -> None:
        """Layers.

        Args:
            width: channels.
            heads: of the attention; they divide the width.
            before: how far back a query sees, in steps of the memory.
            after: how far ahead.
            inner: channels in which is compared, by default the width.
            operations: namespace of the layers.
        """
        super().__init__()
        self.heads, self.before, self.after = heads, before, after
        inner = inner or width
        self.query = operations.Linear(width, inner)
        self.memory = operations.Linear(width, 2 * inner)
        self.out = operations.Linear(inner, width)
        self.distance_bias = nn.Parameter(torch.zeros(before + after + 1, heads))

    def forward(self, queries: Tensor, memory: Tensor, distances: Tensor) -> Tensor:
        """What each query learns from the memory around it.

        Args:
            queries: `[B, Q, C]`.
            memory: `[B, K, C]`.
            distances: `[Q, K]` int64, position of the memory minus position of the query. Each
                query needs at least one within its limits.
        """
        keys, values = self.remember(memory)
        return self.recall(queries, keys, values, self.bias(distances))

    def remember(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values `[B, heads, K, inner / heads]` of a memory `[B, K, C]`."""
        keys, values = self.memory(memory).chunk(2, dim=-1)
        return self._split(keys), self._split(values)

    def bias(self, distances: Tensor) -> Tensor:
        """What the scores of distances `[Q, K]` are raised by, `[1, heads, Q, K]`."""
        row = (distances + self.before).clamp(0, self.before + self.after)
        bias = F.embedding(row, self.distance_bias).permute(2, 0, 1)
        hidden = (distances < -self.before) | (distances > self.after)
        return bias.masked_fill(hidden, float("-inf"))[None]

    def recall(self, queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """Attention `[B, Q, C]` with keys, values and bias that are known already."""
        asked = self._split(self.query(queries))
        found = F.scaled_dot_product_attention(asked, keys, values, attn_mask=bias.to(asked.dtype))
        return self.out(found.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
