"""The layers of `unet3d.py`: pictures as images, as tokens and over time, without copies between.

All of them pass `[B · F, C, H, W]` on, in channels-last memory. Seen as `[B, C, F, H · W]` it is
the same memory, so what upstream does in three dimensions is an image convolution here; seen as
`[B · F, H · W, C]` it is rows of tokens. What works per frame or per place does so on a few of them
at a time: what lies between two layers then stays in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..liveportrait.winograd import convolve

TRANSFORMER_EPS = 1e-6  # of the group norms before attention, whatever the configuration says
TEMPORAL_EPS = 1e-5  # of those before convolutions over time, likewise

AT_ONCE = 2**22  # numbers of a layer's widest tensor, a few frames or places of it

KeyValues = Iterator[tuple[Tensor, Tensor]]  # of the context, one pair per cross-attention


def over_time(x: Tensor, frames: int) -> Tensor:
    """`[B · F, C, H, W]` as `[B, C, F, H · W]`, the same memory."""
    _, channels, height, width = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(-1, frames, height * width, channels)
    return rows.permute(0, 3, 1, 2)


def as_tokens(x: Tensor) -> Tensor:
    """`[N, C, P, Q]` as `[N, P · Q, C]`, the same memory."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def from_tokens(tokens: Tensor, like: Tensor) -> Tensor:
    """`[…, C]` as an image of the size of `like`, the same memory."""
    batch, _, height, width = like.shape
    return tokens.reshape(batch, height, width, -1).permute(0, 3, 1, 2)


def in_parts(function: Callable[[Tensor], Tensor], x: Tensor, dim: int, widest: int) -> Tensor:
    """`function(x)` of a function that treats indices of `dim` alike, a few at a time.

    Args:
        function: keeps that axis.
        x: what it takes.
        dim: the axis.
        widest: numbers per index in the widest tensor inside the function.
    """
    count = max(1, AT_ONCE // max(widest, 1))
    if x.device.type != "cpu" or x.shape[dim] <= count:
        return function(x)
    return torch.cat([function(part) for part in x.split(count, dim)], dim)


def activated(function: nn.Module, x: Tensor) -> Tensor:
    """An activation; SiLU in the same memory where no gradient needs what was there."""
    if isinstance(function, nn.SiLU):
        return F.silu(x, inplace=not x.requires_grad)
    return function(x)


def enlarge(layer: Any, x: Tensor, size: torch.Size) -> Tensor:
    """The 3 × 3 convolution `layer` of the nearest-neighbour enlargement of `x` to `size`.

    Of doubled pixels, the three that a kernel covers in one direction are only two different ones:
    even and odd results come from 2 × 2 convolutions of the small image with summed weights, which
    is 4/9 of the multiplications. So it is done on CPUs, with `torch.nn`'s own layers.
    """
    height, width = x.shape[-2:]
    doubled = tuple(size) == (2 * height, 2 * width)
    if x.device.type != "cpu" or type(layer) is not nn.Conv2d or not doubled:
        return layer(F.interpolate(x, size, mode="nearest"))
    padded = F.pad(x, (1, 1, 1, 1))
    shape = (len(x), layer.out_channels, *size)
    y = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
    for row, kernels in enumerate(_halves(layer.weight, 2)):
        for column, kernel in enumerate(_halves(kernels, 3)):
            part = padded[:, :, row : row + height + 1, column : column + width + 1]
            y[:, :, row::2, column::2] = F.conv2d(part, kernel, layer.bias)
    return y


def _halves(kernel: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """What three weights along `dim` are to even and to odd places between doubled pixels."""
    first, middle, last = kernel.split(1, dim)
    return torch.cat([first, middle + last], dim), torch.cat([first + middle, last], dim)


class ResidualBlock(nn.Module):
    """Two 3 × 3 convolutions per frame, told the timestep in between: `[B · F, C, H, W]`."""

    def __init__(
        self,
        channels: tuple[int, int],
        time: int,
        groups: int,
        *,
        eps: float,
        divisor: float,
        activation: nn.Module,
        operations: ModuleType | Any,
    ):
        super().__init__()
        before, after = channels
        self.divisor, self.activation = divisor, activation
        self.first_norm = operations.GroupNorm(groups, before, eps=eps)
        self.first = operations.Conv2d(before, after, 3, padding=1)
        self.time = operations.Linear(time, after)
        self.second_norm = operations.GroupNorm(groups, after, eps=eps)
        self.second = operations.Conv2d(after, after, 3, padding=1)
        self.shortcut = operations.Conv2d(before, after, 1) if before != after else None

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """`time` is the activated embedding, `[1 or B, time]`."""
        shifts = self.time(time)[:, :, None, None].split(1)
        clips = x.chunk(len(shifts))
        parts = [
            in_parts(partial(self._block, shift=shift), clip, 0, clip[0].numel())
            for clip, shift in zip(clips, shifts, strict=True)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _block(self, x: Tensor, shift: Tensor) -> Tensor:
        y = convolve(self.first, activated(self.activation, self.first_norm(x)))
        y = activated(self.activation, self.second_norm(y + shift))
        y = convolve(self.second, y)
        y = y + (x if self.shortcut is None else self.shortcut(x))
        return y if self.divisor == 1 else y / self.divisor


class TemporalBlock(nn.Module):
    """Four convolutions over three neighbouring frames: `[B · F, C, H, W]`."""

    def __init__(self, channels: int, groups: int, operations: ModuleType | Any):
        super().__init__()
        self.norms = nn.ModuleList(
            operations.GroupNorm(groups, channels, eps=TEMPORAL_EPS) for _ in range(4)
        )
        self.convolutions = nn.ModuleList(
            operations.Conv2d(channels, channels, (3, 1), padding=(1, 0)) for _ in range(4)
        )

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """The block and its input, summed."""
        y = over_time(x, frames)
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            y = convolution(F.silu(norm(y), inplace=not y.requires_grad))
        return x + from_tokens(as_tokens(y), x)


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
        y = F.scaled_dot_product_attention(query, key, value)
        return self.out(y.transpose(1, 2).reshape(x.shape))

    def among_tokens(self, x: Tensor) -> Tensor:
        """`[B, N, width]`: every token looks at all of its row."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(query, key, value)
        return self.out(y.transpose(1, 2).reshape(x.shape))

    def among_frames(self, x: Tensor) -> Tensor:
        """`[B, F, N, width]`: every token looks at those of its place in all frames."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(3, 0, 2, 4, 1, 5).flatten(1, 2)  # [3, B · N, heads, F, c]
        y = F.scaled_dot_product_attention(query, key, value)
        return self.out(y.unflatten(0, (len(x), -1)).permute(0, 3, 1, 2, 4).reshape(x.shape))


class Transformer(nn.Module):
    """Attention, attention, gated layers, around each a shortcut: `[B · F, C, H, W]`.

    Over space, the tokens of a frame look at each other and then at the context. Over time, frames
    look at each other, twice.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        head_channels: int,
        groups: int,
        *,
        context: int | None,
        operations: ModuleType | Any,
    ):
        super().__init__()
        width = heads * head_channels
        self.wider = 8 * width // channels + 1  # the gated layers' width against the channels
        self.norm = operations.GroupNorm(groups, channels, eps=TRANSFORMER_EPS)
        self.enter = operations.Linear(channels, width)
        self.first_norm = operations.LayerNorm(width)
        self.first = Attention(width, heads, None, operations)
        self.second_norm = operations.LayerNorm(width)
        self.second = Attention(width, heads, context, operations)
        self.gated_norm = operations.LayerNorm(width)
        self.widen = operations.Linear(width, 8 * width)
        self.narrow = operations.Linear(4 * width, width)
        self.leave = operations.Linear(width, channels)

    def over_space(self, x: Tensor, pairs: KeyValues) -> Tensor:
        """The transformer and its input, summed; takes its pair of keys and values."""
        keys, values = next(pairs)
        parts = []
        for clip, key, value in zip(
            x.chunk(len(keys)), keys.split(1), values.split(1), strict=True
        ):
            draw = partial(self._in_frames, key=key, value=value)
            parts.append(in_parts(draw, clip, 0, clip[0].numel() * self.wider))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def over_time(self, x: Tensor, frames: int) -> Tensor:
        """The transformer and its input, summed."""
        tokens = self.norm(over_time(x, frames)).permute(0, 2, 3, 1)
        widest = tokens[:, :, 0].numel() * self.wider
        return x + from_tokens(in_parts(self._along_frames, tokens, 2, widest), x)

    def _in_frames(self, x: Tensor, key: Tensor, value: Tensor) -> Tensor:
        tokens = self.enter(as_tokens(self.norm(x)))
        tokens = tokens + self.first.among_tokens(self.first_norm(tokens))
        tokens = tokens + self.second.to_context(self.second_norm(tokens), key, value)
        return x + from_tokens(self._gated(tokens), x)

    def _along_frames(self, normed: Tensor) -> Tensor:
        tokens = self.enter(normed)
        tokens = tokens + self.first.among_frames(self.first_norm(tokens))
        tokens = tokens + self.second.among_frames(self.second_norm(tokens))
        return self._gated(tokens)

    def _gated(self, tokens: Tensor) -> Tensor:
        value, gate = self.widen(self.gated_norm(tokens)).chunk(2, dim=-1)
        return self.leave(tokens + self.narrow(value * F.gelu(gate)))
