"""Kolmogorov–Arnold layers (Liu et al. 2024): a learned curve on every connection.

Each connection is a sigmoid linear unit plus a B-spline, both weighted; the layer adds up what
arrives (the "efficient" form: all splines of an input share one basis, so that the sum is a matrix
product). ATL-Diff's landmark generators end in two of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

START_NOISE = 0.1  # of the splines' coefficients before training, divided by the intervals


@dataclass(frozen=True, kw_only=True)
class KANConfig:
    """Two published layers; a curve is free in -1 … 1, fades to zero until ±2.2 and ends there."""

    widths: tuple[int, ...] = (68, 512, 68)
    intervals: int = 5
    order: int = 3  # of the splines: cubic

    @property
    def bases(self) -> int:
        """Basis functions per input."""
        return self.intervals + self.order


class KANLayer(nn.Module):
    """forward: […, inputs] → [… , outputs]."""

    def __init__(self, inputs: int, outputs: int, config: KANConfig) -> None:
        super().__init__()
        self.order = config.order
        self.base = nn.Parameter(torch.empty(outputs, inputs))
        self.spline = nn.Parameter(torch.empty(outputs, inputs, config.bases))
        self.scale = nn.Parameter(torch.empty(outputs, inputs))
        self.register_buffer("knots", uniform_knots(config).expand(inputs, -1).clone())
        nn.init.kaiming_uniform_(self.base, a=5**0.5)
        nn.init.uniform_(self.spline, -START_NOISE / 2, START_NOISE / 2)
        self.spline.data /= config.intervals
        nn.init.kaiming_uniform_(self.scale, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """The curves' sums."""
        curves = (self.spline * self.scale[..., None]).to(x).flatten(1)
        knots = self.get_buffer("knots").to(x)
        even = self.order == 3 and are_even(knots)
        bases = even_cubic_bases(x, knots) if even else spline_bases(x, knots, self.order)
        return F.linear(F.silu(x), self.base.to(x)) + F.linear(bases.flatten(-2), curves)


class KAN(nn.Module):
    """Layers one after the other: [… , widths[0]] → [… , widths[-1]]."""

    def __init__(self, config: KANConfig, operations: ModuleType | Any = nn) -> None:
        super().__init__()
        pairs = zip(config.widths, config.widths[1:], strict=False)
        self.layers = nn.ModuleList(KANLayer(*pair, config) for pair in pairs)

    def forward(self, x: Tensor) -> Tensor:
        """All layers."""
        for layer in self.layers:
            x = layer(x)
        return x


def uniform_knots(config: KANConfig) -> Tensor:
    """Knots of equal distance, `intervals` between -1 and 1 and `order` more to either side."""
    steps = torch.arange(-config.order, config.intervals + config.order + 1, dtype=torch.float32)
    return steps * (2 / config.intervals) - 1


def spline_bases(x: Tensor, knots: Tensor, order: int) -> Tensor:
    """The B-splines at `x` by the recursion of Cox and de Boor: `[… , C]` → `[… , C, bases]`.

    Args:
        x: one value per input.
        knots: `[C, bases + order + 1]`, ascending; outside them everything is zero.
        order: degree of the polynomials.
    """
    x = x[..., None]
    bases = ((x >= knots[:, :-1]) & (x < knots[:, 1:])).to(x)
    for k in range(1, order + 1):
        rising = (x - knots[:, : -k - 1]) / (knots[:, k:-1] - knots[:, : -k - 1])
        falling = (knots[:, k + 1 :] - x) / (knots[:, k + 1 :] - knots[:, 1:-k])
        bases = rising * bases[..., :-1] + falling * bases[..., 1:]
    return bases


def are_even(knots: Tensor) -> bool:
    """Whether knots `[C, K]` have one distance everywhere and are the same for all inputs."""
    steps = knots.diff(dim=-1)
    same = torch.allclose(knots, knots[:1], rtol=0, atol=1e-6)
    return same and torch.allclose(steps, steps[:1, :1], rtol=0, atol=1e-6)


def even_cubic_bases(x: Tensor, knots: Tensor) -> Tensor:
    """The same for cubic splines on even knots: one bump, moved along. Four times as fast."""
    distance = knots[0, 1] - knots[0, 0]
    away = ((x[..., None] - knots[0, 2:-2]) / distance).abs()  # from the middle of each bump
    outer, inner = (2 - away).clamp(min=0), (1 - away).clamp(min=0)
    return (outer * outer * outer - 4 * inner * inner * inner) / 6


def config_of(state: dict[str, Tensor], prefix: str) -> KANConfig:
    """The sizes of the layers below `prefix`, read off their weights."""
    count = len({key for key in state if key.startswith(prefix) and key.endswith(".base")})
    bases = [state[f"{prefix}layers.{i}.base"] for i in range(count)]
    functions = state[f"{prefix}layers.0.spline"].shape[-1]
    order = state[f"{prefix}layers.0.knots"].shape[-1] - functions - 1
    return KANConfig(
        widths=(bases[0].shape[1], *(base.shape[0] for base in bases)),
        intervals=functions - order,
        order=order,
    )
