"""Layers over large activations, a few frames or places at a time, for inference on CPUs.

A clip at full size takes tens of megabytes: whole, every operation would fetch it from the main
memory, and its result would go to pages that the system has to clear first, which takes longer
still. In parts, what lies between two operations stays in the cache, and its memory is used again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

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


def divided(x: Tensor, dim: int, widest: int | None = None) -> tuple[Tensor, ...]:
    """`x` in parts along `dim`, but at least one for every thread.

    Args:
        x: what is divided.
        dim: the axis.
        widest: numbers per index in the widest tensor that is made of it; as many as here, if None.
    """
    each = -(-x.shape[dim] // torch.get_num_threads())
    return x.split(min(each, part_size(widest or x.select(dim, 0).numel())), dim)


def side_by_side(function: Callable[..., Any], tasks: Iterable[tuple[Any, ...]]) -> list[Any]:
    """`[function(*task) for task in tasks]`, several at a time, each by one thread alone.

    All of PyTorch's threads in one small operation after the other would wait for each other more
    than they work, above all where other programs keep one of them from running. No gradients.
    """
    given = list(tasks)
    threads, inference = torch.get_num_threads(), torch.is_inference_mode_enabled()
    if min(threads, len(given)) < 2:
        return [function(*task) for task in given]

    def alone(task: tuple[Any, ...]) -> Any:
        with torch.inference_mode(inference), torch.no_grad():  # new threads know neither
            return function(*task)

    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(alone, given))
    finally:
        torch.set_num_threads(threads)  # some libraries count for all threads together


def in_parts(
    function: Callable[..., Tensor],
    inputs: tuple[Tensor, ...],
    dim: int,
    widest: int,
    *,
    into: Tensor,
) -> Tensor:
    """`function(*inputs)` of a function that treats indices of `dim` alike, a few at a time.

    Args:
        function: takes parts of all inputs and keeps that axis.
        inputs: they have that axis in common.
        dim: the axis.
        widest: numbers per index in the widest tensor inside the function.
        into: memory for the result, one of the inputs perhaps. It is returned.
    """

    def draw(whole: Tensor, *parts: Tensor) -> None:
        whole.copy_(function(*parts))

    tasks = zip(*(divided(value, dim, widest) for value in (into, *inputs)), strict=True)
    side_by_side(draw, tasks)
    return into


def sums(part: Tensor) -> Tensor:
    """Of `[B, C, f, n]` and of its squares, per channel: `[2, B, C]`."""
    return torch.stack([part.sum((2, 3)), part.square().sum((2, 3))])


def scale_and_shift(norm: nn.GroupNorm, parts: list[Tensor], count: int) -> tuple[Tensor, Tensor]:
    """What a group norm multiplies channels by and then adds, two of `[B, C, 1, 1]`.

    Args:
        norm: the group norm.
        parts: `sums` of all parts, in any division.
        count: numbers per channel in all of them together.
    """
    # In double precision: the difference below may be small against what it is taken of.
    whole = torch.stack(parts).double().sum(0).unflatten(2, (norm.num_groups, -1))
    mean, square = whole.mean(-1, keepdim=True) / count
    scale = (square - mean.square()).clamp_min(0).add(norm.eps).rsqrt()
    scale = norm.weight.view(norm.num_groups, -1) * scale
    shift = norm.bias.view(norm.num_groups, -1) - mean * scale
    first, second = (value.float().flatten(1)[:, :, None, None] for value in (scale, shift))
    return first, second
