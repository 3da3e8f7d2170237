"""Random numbers along time: the same seed draws the same ones, however long the sound is."""

from __future__ import annotations

from zlib import crc32

import torch
from torch import Tensor

_BLOCK = 64  # drawn at a time: torch's normal numbers depend on how many are asked for at once


def draws(seed: int, name: str, count: int) -> Tensor:
    """The first `count` numbers (uniform, 0 … 1) of the endless series `name` of a seed, `[N]`."""
    generator = torch.Generator().manual_seed((seed * 0x9E3779B1 + crc32(name.encode())) % 2**63)
    blocks = [torch.rand(_BLOCK, generator=generator) for _ in range(-(-count // _BLOCK))]
    return torch.cat(blocks)[:count] if blocks else torch.zeros(0)


def drift(times: Tensor, seed: int, name: str, rate: float) -> Tensor:
    """A smooth random curve at `times` (seconds, `[T]`): mean 0, deviation about 1, float32.

    A uniform cubic B-spline over random heights, `rate` of them a second: two continuous
    derivatives, nothing faster than about `rate / 2` Hz.
    """
    position = times.double() * rate
    cell = position.floor().long().clamp(min=0)
    t = (position - cell).float()
    last = int(cell.max()) if len(cell) else 0
    heights = (draws(seed, name, last + 4) - 0.5) * 12**0.5  # deviation 1
    basis = (
        (1 - t) ** 3 / 6,
        (3 * t**3 - 6 * t**2 + 4) / 6,
        (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
        t**3 / 6,
    )
    value = torch.stack([heights[cell + k] * weight for k, weight in enumerate(basis)]).sum(0)
    return 1.45 * value  # the spline averages its heights; this undoes the loss of deviation


def smooth_step(x: Tensor) -> Tensor:
    """0 up to x = 0, 1 from x = 1, with two continuous derivatives between."""
    x = x.clamp(0, 1)
    return x**3 * (10 - 15 * x + 6 * x**2)
