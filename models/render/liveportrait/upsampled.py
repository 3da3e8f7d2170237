"""A 3 × 3 convolution over a picture enlarged by repeating pixels, computed before the enlarging.

Several of the nine taps then fall on the same pixel, so each of the factor² phases of the output is
a smaller convolution of the small picture: 16 instead of 36 taps at factor 2, 25 instead of 144 at
factor 4 (two of its phases see the same pixels in each direction). Exact up to rounding.
"""

from __future__ import annotations

from itertools import product
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

StateDict = dict[str, Tensor]

FIRST, INNER, LAST = ((0,), (1, 2)), ((0, 1, 2),), ((0, 1), (2,))
"""Which of three taps fall together for the first, an inner and the last phase of a pixel."""
PHASES = {2: (FIRST, LAST), 4: (FIRST, INNER, LAST)}
PHASE_OF = {2: (0, 1), 4: (0, 1, 1, 2)}  # for each output pixel of an input pixel
START = {FIRST: 0, INNER: 1, LAST: 1}  # where its taps begin in a picture padded by one


class UpsampledConv(nn.Module):
    """`conv(repeat(x, factor))`: [B, C, …, H, W] → [B, O, …, factor · H, factor · W].

    With `dims=3` depth is convolved by three taps and not enlarged.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        factor: int = 2,
        *,
        dims: int = 2,
        operations: ModuleType | Any = nn,
    ):
        super().__init__()
        self.factor = factor
        layer = operations.Conv2d if dims == 2 else operations.Conv3d
        depth, padding = ((3,), (1, 0, 0)) if dims == 3 else ((), 0)
        self.phases = nn.ModuleList(
            layer(inputs, outputs, (*depth, len(rows), len(columns)), padding=padding)
            for rows, columns in product(PHASES[factor], repeat=2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The large picture after ReLU, channels last in memory."""
        height, width = x.shape[-2:]
        padded = F.pad(x, (1, 1, 1, 1))
        kinds = list(product(PHASES[self.factor], repeat=2))
        parts = []
        for (rows, columns), convolution in zip(kinds, self.phases, strict=True):
            top, left = START[rows], START[columns]
            window = padded[
                ..., top : top + height + len(rows) - 1, left : left + width + len(columns) - 1
            ]
            parts.append(F.relu(convolution(window)).movedim(1, -1))
        return self._interleave(parts)

    def _interleave(self, parts: list[Tensor]) -> Tensor:
        *lead, height, width, channels = parts[0].shape
        factor, order = self.factor, PHASE_OF[self.factor]
        large = parts[0].new_empty(*lead, height, factor, width, factor, channels)
        for i, j in product(range(factor), repeat=2):
            large[..., i, :, j, :] = parts[order[i] * len(PHASES[factor]) + order[j]]
        return large.reshape(*lead, height * factor, width * factor, channels).movedim(-1, 1)


def phase_state(state: StateDict, source: str, target: str, factor: int = 2) -> StateDict:
    """The published 3 × 3 convolution `source` as the entries of an `UpsampledConv` `target`.

    Empty, with `source` left in the state, where it is absent or of another size.
    """
    weight, bias = state.get(f"{source}.weight"), state.get(f"{source}.bias")
    if weight is None or bias is None or weight.ndim < 4 or weight.shape[-2:] != (3, 3):
        return {}
    entries = {}
    for index, (rows, columns) in enumerate(product(PHASES[factor], repeat=2)):
        merged = _merge(_merge(weight.double(), rows, -2), columns, -1)
        entries[f"{target}.phases.{index}.weight"] = merged.float()
        entries[f"{target}.phases.{index}.bias"] = bias
    del state[f"{source}.weight"], state[f"{source}.bias"]
    return entries


def _merge(weight: Tensor, groups: tuple[tuple[int, ...], ...], dim: int) -> Tensor:
    parts = [weight.index_select(dim, torch.tensor(taps)).sum(dim) for taps in groups]
    return torch.stack(parts, dim)
