"""The layers of `unet3d.py`: pictures as images, as tokens and over time, without copies between.

All of them pass `[B · F, C, H, W]` on, in channels-last memory. Seen as `[B, C, F, H · W]` it is
the same memory, so what upstream does in three dimensions is an image convolution here; seen as
`[B · F, H · W, C]` it is rows of tokens. What works per frame or per place does so on a few of them
at a time where `unet3d_parts.py` allows it.
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
from .unet3d_attention import Attention
from .unet3d_parts import divided, divisible, in_parts, scale_and_shift, side_by_side, sums

TRANSFORMER_EPS = 1e-6  # of the group norms before attention, whatever the configuration says
TEMPORAL_EPS = 1e-5  # of those before convolutions over time, likewise

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
        self.divisor, self.activation, self.widest = divisor, activation, max(channels)
        self.first_norm = operations.GroupNorm(groups, before, eps=eps)
        self.first = operations.Conv2d(before, after, 3, padding=1)
        self.time = operations.Linear(time, after)
        self.second_norm = operations.GroupNorm(groups, after, eps=eps)
        self.second = operations.Conv2d(after, after, 3, padding=1)
        self.shortcut = operations.Conv2d(before, after, 1) if before != after else None

    def forward(
        self, inputs: tuple[Tensor, ...], time: Tensor, larger: nn.Module | None = None
    ) -> Tensor:
        """The block of images that `inputs` have the channels of, one after the other.

        Args:
            inputs: each `[B · F, C, H, W]`.
            time: the activated embedding, `[1 or B, time]`.
            larger: the convolution that the first input goes through, once enlarged to the size of
                the last.
        """
        shifts = self.time(time)[:, :, None, None].split(1)
        clips = zip(*(images.chunk(len(shifts)) for images in inputs), strict=True)
        drawn = [
            self._clip(clip, partial(self._block, shift=shift, larger=larger))
            for clip, shift in zip(clips, shifts, strict=True)
        ]
        return drawn[0] if len(drawn) == 1 else torch.cat(drawn)

    def _clip(self, clip: tuple[Tensor, ...], block: Callable[..., Tensor]) -> Tensor:
        if not all(divisible(self, images) for images in clip):
            return block(*clip)
        frames, (height, width) = len(clip[0]), clip[-1].shape[-2:]
        shape = (frames, self.first.out_channels, height, width)
        drawn = torch.empty(shape, memory_format=torch.channels_last)
        return in_parts(block, clip, 0, self.widest * height * width, into=drawn)

    def _block(self, *inputs: Tensor, shift: Tensor, larger: nn.Module | None) -> Tensor:
        if larger is not None:
            size = inputs[-1].shape[-2:]
            inputs = (enlarge(larger, inputs[0], size), *inputs[1:])
        x = inputs[0] if len(inputs) == 1 else torch.cat(inputs, 1)
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
        """The block and its input, summed; in the memory of the input where that is allowed."""
        y = over_time(x, frames)
        layers = list(zip(self.norms, self.convolutions, strict=True))
        if divisible(self, x) and all(type(norm) is nn.GroupNorm for norm in self.norms):
            return from_tokens(as_tokens(_convolved_in_parts(layers, y)), x)
        for norm, convolution in layers:
            y = convolution(F.silu(norm(y), inplace=not y.requires_grad))
        return x + from_tokens(as_tokens(y), x)


def _convolved_in_parts(layers: list[tuple[Any, Any]], x: Tensor) -> Tensor:
    """A temporal block in the memory of `[B, C, F, N]`.

    Places meet in the statistics of the norms only, so that all else is done with a few of them.
    """
    ours = divided(x, 3)
    parts = list(ours)

    def convolved(i: int, layer: Any, scale: Tensor, shift: Tensor) -> Tensor:
        return layer(F.silu(torch.addcmul(shift, parts[i], scale), inplace=True))

    def replace(i: int, *layer: Any) -> Tensor:
        parts[i] = convolved(i, *layer)
        return sums(parts[i])

    def add(i: int, *layer: Any) -> None:
        ours[i].add_(convolved(i, *layer))

    gathered, count = _sums_over_time(x), x[0, 0].numel()
    for norm, convolution in layers:
        layer = (convolution, *scale_and_shift(norm, gathered, count))
        step = add if norm is layers[-1][0] else replace
        gathered = side_by_side(step, ((i, *layer) for i in range(len(parts))))
    return x


def _sums_over_time(x: Tensor) -> list[Tensor]:
    """Of all parts of `[B, C, F, N]`, divided so that each is one piece of memory."""
    return side_by_side(sums, ((part,) for part in divided(x, 2)))


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
        """The transformer and its input, summed; takes its pair of keys and values.

        In the memory of the input where that is allowed.
        """
        keys, values = next(pairs)
        parts = []
        for clip, key, value in zip(
            x.chunk(len(keys)), keys.split(1), values.split(1), strict=True
        ):
            draw = partial(self._in_frames, key=key, value=value)
            if divisible(self, x):
                in_parts(draw, (clip,), 0, clip[0].numel() * self.wider, into=clip)
            else:
                parts.append(draw(clip))
        return torch.cat(parts) if parts else x

    def over_time(self, x: Tensor, frames: int) -> Tensor:
        """The transformer and its input, summed; in the memory of the input where allowed."""
        y = over_time(x, frames)
        if divisible(self, x) and type(self.norm) is nn.GroupNorm:
            scale, shift = scale_and_shift(self.norm, _sums_over_time(y), y[0, 0].numel())

            def draw(part: Tensor) -> Tensor:
                return part + self._along_frames(torch.addcmul(shift, part, scale))

            in_parts(draw, (y,), 3, y[..., 0].numel() * self.wider, into=y)
            return from_tokens(as_tokens(y), x)
        return x + from_tokens(as_tokens(self._along_frames(self.norm(y))), x)

    def _in_frames(self, x: Tensor, key: Tensor, value: Tensor) -> Tensor:
        tokens = self.enter(as_tokens(self.norm(x)))
        tokens = tokens + self.first.among_tokens(self.first_norm(tokens))
        tokens = tokens + self.second.to_context(self.second_norm(tokens), key, value)
        return x + from_tokens(self._gated(tokens), x)

    def _along_frames(self, normed: Tensor) -> Tensor:
        """`[B, C, F, N]` → the same. In between, the frames of a place are neighbours in memory."""
        tokens = self.enter(normed.permute(0, 3, 2, 1).flatten(0, 1))
        tokens = tokens + self.first.among_tokens(self.first_norm(tokens))
        tokens = tokens + self.second.among_tokens(self.second_norm(tokens))
        return self._gated(tokens).unflatten(0, (len(normed), -1)).permute(0, 3, 2, 1)

    def _gated(self, tokens: Tensor) -> Tensor:
        value, gate = self.widen(self.gated_norm(tokens)).chunk(2, dim=-1)
        gate = F.gelu(gate.contiguous())  # which takes half as long as of every second piece
        return self.leave(tokens + self.narrow(gate * value))
