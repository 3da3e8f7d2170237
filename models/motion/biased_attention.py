"""Attention over time as in DiffSpeaker (Ma et al. 2024, section 3.3), and the clocks it goes with.

Stage 3. Frames attend to frames, less the further away they are, and to the speech of their own
moment. What holds for the whole clip, such as the timestep of diffusion or who speaks, stands as a
few tokens before the keys and values, and no distance counts for them. `diffspeaker.py` and
`ksdiff.py` are built of it.
"""

from __future__ import annotations

from math import inf, log, log2
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class BiasedAttention(nn.Module):
    """Frames attend to tokens and to a memory of one row per frame.

    x [B, T, D], memory [B, T, D], tokens [B, A, D], bias […, heads or 1, T, A + T] -> [B, T, D]
    """

    def __init__(self, width: int, heads: int, operations: ModuleType | Any = nn) -> None:
        super().__init__()
        self.heads = heads
        self.query = operations.Linear(width, width)
        self.key_value = operations.Linear(width, 2 * width)
        self.out = operations.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor, tokens: Tensor, bias: Tensor | None) -> Tensor:
        """What the heads gather, projected.

        Args:
            x: the frames that ask.
            memory: the frames that answer; `x` itself for attention among frames.
            tokens: what every frame may attend to.
            bias: added to the logits, 0 for the tokens; None lets a frame attend to its own row
                of the memory alone.
        """
        q = self._split(self.query(x))
        k, v = self.key_value(torch.cat([tokens, memory], dim=1)).chunk(2, dim=-1)
        k, v = self._split(k), self._split(v)
        if bias is None:
            gathered = _own_frame_attention(q, k, v, tokens.shape[1])
        else:
            gathered = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.out(rearrange(gathered, "b h t d -> b t (h d)"))

    def _split(self, x: Tensor) -> Tensor:
        return rearrange(x, "b t (h d) -> b h t d", h=self.heads)


class BiasedLayer(nn.Module):
    """Frames attend to each other, then to the speech; then a perceptron. [B, T, D] -> same."""

    def __init__(
        self, width: int, heads: int, inner: int, operations: ModuleType | Any = nn
    ) -> None:
        super().__init__()
        self.norm_frames = operations.LayerNorm(width)
        self.frames = BiasedAttention(width, heads, operations)
        self.norm_speech = operations.LayerNorm(width)
        self.speech = BiasedAttention(width, heads, operations)
        self.norm_inner = operations.LayerNorm(width)
        self.inner = operations.Linear(width, inner)
        self.outer = operations.Linear(inner, width)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        tokens: Tensor,
        biases: tuple[Tensor, Tensor | None],
    ) -> Tensor:
        """`biases`: of the attention among frames, and to the speech."""
        y = self.norm_frames(x)
        x = x + self.frames(y, y, tokens, biases[0])
        x = x + self.speech(self.norm_speech(x), memory, tokens, biases[1])
        return x + self.outer(F.gelu(self.inner(self.norm_inner(x))))


def _own_frame_attention(q: Tensor, k: Tensor, v: Tensor, tokens: int) -> Tensor:
    """Attention of `[B, h, T, d]` to `tokens` leading keys and the key of the own frame.

    The same as masking everything else, without the `T × T` logits.
    """
    q = q * q.shape[-1] ** -0.5
    to_tokens = q @ k[:, :, :tokens].transpose(-2, -1)
    to_frame = (q * k[:, :, tokens:]).sum(-1, keepdim=True)
    weights = torch.cat([to_tokens, to_frame], dim=-1).softmax(dim=-1)
    return weights[..., :tokens] @ v[:, :, :tokens] + weights[..., tokens:] * v[:, :, tokens:]


def distance_bias(
    frames: int, heads: int, period: int, *, tokens: int = 0, symmetric: bool = False
) -> Tensor:
    """What distance costs in the attention among frames, `[heads, T, tokens + T]` float32.

    Whole periods count, each head at its own rate (Press et al. 2022): `−slope · ⌊|i − j| / P⌋`.
    As published a later frame counts as one frame nearer than an earlier one.

    Args:
        frames: T.
        heads: of the attention.
        period: P, frames that cost nothing.
        tokens: leading columns that stand for no frame.
        symmetric: count both directions alike.
    """
    position = torch.arange(frames)
    away = position[:, None] - position  # positive: the key is earlier
    later = -away if symmetric else -away - 1
    periods = torch.where(away >= 0, away, later).div(period, rounding_mode="floor")
    bias = -slopes(heads)[:, None, None] * periods
    return F.pad(bias, (tokens, 0))


def band_bias(frames: int, reach: int, *, tokens: int = 0) -> Tensor:
    """0 up to `reach` frames away and for the tokens, else −∞: `[1, T, tokens + T]` float32."""
    position = torch.arange(frames)
    outside = (position[:, None] - position).abs() > reach
    return F.pad(torch.zeros(frames, frames).masked_fill(outside, -inf), (tokens, 0))[None]


def slopes(heads: int) -> Tensor:
    """How much a period costs each head, `[heads]`: 1/4, 1/16, 1/64, 1/256 for four.

    Between the powers of two, the slopes of the smaller power come first, then every other one of
    the larger power's (Press et al. 2022).
    """
    whole = 2 ** int(log2(heads))
    exponents = [8 * (i + 1) / whole for i in range(whole)]
    exponents += [4 * (i + 1) / whole for i in range(0, 2 * (heads - whole), 2)]
    return 2.0 ** -torch.tensor(exponents)


def periodic_encoding(frames: int, width: int, period: int) -> Tensor:
    """Sines and cosines of the position within a period, interleaved: `[T, width]` float32."""
    position = torch.arange(frames) % period
    even = torch.arange(0, width, 2, dtype=torch.float32)
    angles = position[:, None] * torch.exp(even * (-log(10000.0) / width))
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]


def timestep_encoding(timesteps: Tensor, channels: int) -> Tensor:
    """`[cos(t · f), sin(t · f)]` of `[B]`, f from 1 down to almost 1/10000: `[B, channels]`."""
    half = channels // 2
    index = torch.arange(half, device=timesteps.device, dtype=torch.float32)
    angles = timesteps.float()[:, None] * torch.exp(index * (-log(10000.0) / half))
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
