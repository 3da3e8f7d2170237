"""Attention whose queries and keys turn with time, over their whole width, before projection.

Stage 3, for AToM (`atom.py`) and its small variant. Values do not turn. Rotary embeddings as in Su
et al. (2021), but not head by head.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .kdtalker import rotary_frequencies

KeysValues = tuple[Tensor, Tensor]  # [B, heads, L, channels] each


class SelfAttention(nn.Module):
    """Every frame attends to every frame: [B, T, width], turned and as it is → [B, T, width]."""

    def __init__(self, width: int, heads: int, operations: ModuleType | Any):
        super().__init__()
        self.heads = heads
        self.queries_keys = operations.Linear(width, 2 * width)
        self.values = operations.Linear(width, width)
        self.out = operations.Linear(width, width)

    def forward(self, x: Tensor, turn: Tensor) -> Tensor:
        """What the frames gather."""
        q, k = self.queries_keys(rotate(x, turn)).chunk(2, dim=-1)
        q, k, v = (split_heads(part, self.heads) for part in (q, k, self.values(x)))
        return self.out(join_heads(F.scaled_dot_product_attention(q, k, v)))


class CrossAttention(nn.Module):
    """Frames attend to tokens whose keys and values exist: [B, T, width] → [B, T, width]."""

    def __init__(self, width: int, heads: int, operations: ModuleType | Any):
        super().__init__()
        self.heads = heads
        self.queries = operations.Linear(width, width)
        self.keys = operations.Linear(width, width)
        self.values = operations.Linear(width, width)
        self.out = operations.Linear(width, width)

    def project(self, tokens: Tensor, turn: Tensor) -> KeysValues:
        """Keys and values of tokens `[B, L, width]`."""
        keys = split_heads(self.keys(rotate(tokens, turn)), self.heads)
        return keys, split_heads(self.values(tokens), self.heads)

    def forward(self, x: Tensor, turn: Tensor, memory: list[KeysValues]) -> Tensor:
        """What the frames gather; the order of the memory makes no difference."""
        batch = x.shape[0]
        queries = split_heads(self.queries(rotate(x, turn)), self.heads)
        keys, values = (
            torch.cat([part.expand(batch, -1, -1, -1) for part in parts], dim=2)
            for parts in zip(*memory, strict=True)
        )
        return self.out(join_heads(F.scaled_dot_product_attention(queries, keys, values)))


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward layer: [B, L, width] → [B, L, width]."""

    def __init__(self, width: int, hidden: int, heads: int, operations: ModuleType | Any):
        super().__init__()
        self.attention_norm = operations.LayerNorm(width)
        self.attention = SelfAttention(width, heads, operations)
        self.norm = operations.LayerNorm(width)
        self.inner = operations.Linear(width, hidden)
        self.outer = operations.Linear(hidden, width)

    def forward(self, x: Tensor, turn: Tensor) -> Tensor:
        """The tokens after both."""
        x = x + self.attention(self.attention_norm(x), turn)
        return x + self.outer(F.gelu(self.inner(self.norm(x))))


def turns(count: int, width: int, device: torch.device) -> Tensor:
    """How far each pair of channels turns at each position, `[count, width / 2]` complex."""
    positions = torch.arange(count, device=device, dtype=torch.float32)
    angles = positions[:, None] * rotary_frequencies(width).to(device)
    return torch.polar(torch.ones_like(angles), angles)


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Neighbouring channels of `[…, L, width]` turned by `[L, width / 2]` (Su et al. 2021)."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * turn).flatten(-2).to(x.dtype)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """`[B, L, width]` → `[B, heads, L, channels]`."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """`[B, heads, L, channels]` → `[B, L, width]`."""
    return x.transpose(1, 2).flatten(2)


def modulated(x: Tensor, film: Tensor) -> Tensor:
    """`x · (scale + 1) + shift` (Perez et al. 2018)."""
    scale, shift = film.chunk(2, dim=-1)
    return torch.addcmul(shift, x, scale + 1)
