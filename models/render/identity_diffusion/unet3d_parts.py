"""Layers over large activations, a few frames or places at a time, for inference on CPUs.

A clip at full size takes tens of megabytes: whole, every operation would fetch it from the main
memory, and its result would go to pages that the system has to clear first, which takes longer
still. In parts, what lies between two operations stays in the cache, and its memory is used again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

AT_ONCE = 2**19  # numbers in the widest tensor of a part


def divisible(layer: nn.Module, x: Tensor) -> bool:
    """Whether `layer` of `x` may be computed in parts and in the memory of `x`.

    So it is done on CPUs, which have the caches for it, where no gradient needs what was there.
    """
    tracked = torch.is_grad_enabled() and (
        x.requires_grad or any(parameter.requires_grad for parameter in layer.parameters())
    )
    return x.device.type == "cpu" and x.dtype == torch.float32 and not tracked


def part_size(widest: int) -> int:
    """Indices in a part, for `widest` numbers per index in the widest tensor of the function."""
    return max(1, AT_ONCE // max(widest, 1))


def in_parts(
    function: Callable[..., Tensor],
    inputs: tuple[Tensor, ...],
    dim: int,
    widest: int,
    *,
    into: Tensor | None = None,
) -> Tensor:
    """`function(*inputs)` of a function that treats indices of `dim` alike, a few at a time.

    Args:
        function: takes parts of all inputs and keeps that axis.
        inputs: they have that axis in common.
        dim: the axis.
        widest: numbers per index in the widest tensor inside the function.
        into: memory for the result, one of the inputs perhaps; without it, new memory.
    """
    start, length = 0, inputs[0].shape[dim]
    whole = into
    for parts in zip(*(value.split(part_size(widest), dim) for value in inputs), strict=True):
        result = function(*parts)
        if whole is None:
            if result.shape[dim] == length:
                return result
            whole = _empty(result, dim, length)
        whole.narrow(dim, start, result.shape[dim]).copy_(result)
        start += result.shape[dim]
    assert whole is not None  # an axis has at least one part
    return whole


def _empty(part: Tensor, dim: int, length: int) -> Tensor:
    """Memory like that of `part`, with `length` indices along `dim`."""
    shape = [*part.shape]
    shape[dim] = length
    images = part.ndim == 4 and part.is_contiguous(memory_format=torch.channels_last)
    order = torch.channels_last if images else torch.contiguous_format
    return torch.empty(shape, dtype=part.dtype, device=part.device, memory_format=order)


class Moments:
    """Statistics of `[B, C, F, N]` for a group norm, gathered from parts of it.

    In any division of F and N, each while it is still in the cache.
    """

    def __init__(self) -> None:
        self.count = 0
        self.sums: list[Tensor] = []

    def add(self, part: Tensor) -> None:
        """Take in one more part, `[B, C, f, n]`."""
        self.count += part[0, 0].numel()
        self.sums.append(torch.stack([part.sum((2, 3)), part.square().sum((2, 3))]))

    def scale_and_shift(self, norm: nn.GroupNorm) -> tuple[Tensor, Tensor]:
        """What the norm multiplies channels by and then adds, two of `[B, C, 1, 1]`."""
        # In double precision: the difference below may be small against what it is taken of.
        sums = torch.stack(self.sums).double().sum(0)
        mean, square = sums.unflatten(2, (norm.num_groups, -1)).mean(-1, keepdim=True) / self.count
        scale = (square - mean.square()).clamp_min(0).add(norm.eps).rsqrt()
        scale = norm.weight.view(norm.num_groups, -1) * scale
        shift = norm.bias.view(norm.num_groups, -1) - mean * scale
        first, second = (value.float().flatten(1)[:, :, None, None] for value in (scale, shift))
        return first, second


def moments(parts: Iterable[Tensor]) -> Moments:
    """The statistics of what lies in memory already, in `parts`."""
    gathered = Moments()
    for part in parts:
        gathered.add(part)
    return gathered
