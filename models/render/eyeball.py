"""What the eyes of a still picture hide: the whole iris, the white behind it, and lids without
lashes.

Measured and completed once per portrait for `eyes.py`, in the eye's own axes: along from corner to
corner (-1 … 1), across downwards, both in half-widths of the eye.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .head import smoothstep

LASHES = 0.16  # how far the dark of the lashes reaches above the lid's edge
EDGE_STEP = 0.07  # over which the iris' rim is looked for
WATERLINE = 0.40  # how far below its landmarks a lower lid is looked for


@dataclass(frozen=True, eq=False)
class EyePatch:
    """A rectangle of a texture around one eye."""

    source: Tensor  # [1, 3, h, w], 0 … 255
    along: Tensor  # [h, w]
    across: Tensor  # [h, w]
    axes: Tensor  # [2, 2], rows: along and across in the picture
    half: float  # half-width of the eye, texture pixels

    def at(self, along: Tensor, across: Tensor, planes: Tensor | None = None) -> Tensor:
        """Values of `planes [1, C, h, w]` (the source) at positions in the eye's axes `[a, b]`:
        `[C, a, b]`.
        """
        planes = self.source if planes is None else planes
        height, width = planes.shape[-2:]
        step_along, step_across = along - self.along[0, 0], across - self.across[0, 0]
        x, y = (
            torch.einsum("ab,ahw->bhw", self.axes, torch.stack((step_along, step_across)))
            * self.half
        )
        grid = torch.stack((x * (2 / (width - 1)) - 1, y * (2 / (height - 1)) - 1), -1)[None]
        return F.grid_sample(planes, grid, padding_mode="border", align_corners=True)[0]


@dataclass(frozen=True, eq=False)
class Eyeball:
    """The completed parts of an eye, `[1, C, h, w]` over its patch."""

    white: Tensor  # without its iris, also under the lids
    iris: Tensor  # 4 channels: colour and coverage
    lid: Tensor  # skin without lashes and folds


def find_iris(
    patch: EyePatch, lids: Tensor, guess: tuple[float, float, float], reach: float
) -> tuple[float, float, float]:
    """Centre and radius of the iris near a guess, by the integro-differential operator of Daugman
    (1993).

    Args:
        patch: the eye.
        lids: `[2, N]`, edges of the upper and the lower lid between the corners.
        guess: along, across, radius.
        reach: how far the centre may be from the guess.
    """
    device = patch.source.device
    offsets = torch.linspace(-reach, reach, 7, device=device)
    x, y = (guess[0] + offsets).view(-1, 1, 1, 1), (guess[1] + 0.6 * offsets).view(1, -1, 1, 1)
    radii = guess[2] * torch.linspace(0.88, 1.6, 28, device=device)
    angle = torch.arange(48, device=device) * (2 * math.pi / 48)
    shape = (7, 7, 28, 48)
    rims = []
    for change in (-EDGE_STEP, EDGE_STEP):
        radius = (radii + change).view(1, 1, -1, 1)
        along, across = x + radius * angle.cos(), y + radius * angle.sin()
        along, across = along.expand(shape).flatten(1), across.expand(shape).flatten(1)
        rims.append((patch.at(along, across), along, across))
    seen = torch.ones(7, 7 * 28 * 48, dtype=torch.bool, device=device)
    for _, along, across in rims:
        upper, lower = _at(lids, along)
        seen &= (across > upper + 0.05) & (across < lower - 0.05) & (along.abs() < 0.92)
    seen = seen.view(shape)
    count = seen.sum(-1).clamp(min=1)
    contrast = ((rims[1][0] - rims[0][0]).view(3, *shape) * seen).sum(-1) / count
    # Whites are brighter than irises; the prior keeps a statue's blank eyes at their guess.
    score = contrast.sum(0) * (count >= 8)
    prior = torch.exp(-((radii / guess[2]).log() ** 2) / (2 * 0.45**2))
    distance = (offsets.view(-1, 1) ** 2 + offsets.view(1, -1) ** 2) / reach**2
    score = score * prior * torch.exp(-0.5 * distance)[..., None]
    best = int(score.argmax())
    if float(score.flatten()[best]) < 15.0:
        return guess
    i, j, k = best // (7 * 28), best // 28 % 7, best % 28
    return guess[0] + float(offsets[i]), guess[1] + 0.6 * float(offsets[j]), float(radii[k])


def find_waterline(patch: EyePatch, lids: Tensor) -> Tensor:
    """How far below its landmarks the lower lid begins, `[N]`: there the eyeball's colours turn
    into the skin's.
    """
    device = patch.source.device
    along = torch.linspace(-0.7, 0.7, 29, device=device)
    upper, lower = _at(lids, along)
    opening = lower - upper
    inside = patch.at(*torch.broadcast_tensors(along, (lower - 0.2 * opening)[None]))
    steps = torch.linspace(0, WATERLINE + 0.2, 31, device=device)[:, None]
    column = patch.at(*torch.broadcast_tensors(along, lower + steps))
    skin = column[:, -6:].mean(1, keepdim=True)
    # Below an iris the eyeball goes on in white, so the brightest colour of the opening counts as
    # eyeball too.
    opened = patch.at(*torch.broadcast_tensors(along, upper + opening * steps / steps[-1])).flatten(
        1
    )
    order = opened.sum(0).argsort()
    white = opened[:, order[int(0.85 * len(order)) :]].median(1).values.view(3, 1, 1)
    to_eye = torch.minimum((column - inside).norm(dim=0), (column - white).norm(dim=0))
    to_skin = (column - skin).norm(dim=0)
    eyelike = (to_eye < to_skin).int().cumprod(0).sum(0) * ((WATERLINE + 0.2) / 30)
    clear = torch.minimum((inside - skin).norm(dim=0)[0], (white - skin).norm(dim=0)[0]) > 30
    if int(clear.sum()) < 8:
        return torch.zeros(lids.shape[1], device=device)
    below = float(eyelike[clear].float().quantile(0.6).clamp(max=WATERLINE))
    return below * (1 - torch.linspace(-1, 1, lids.shape[1], device=device) ** 4).sqrt()


def complete(patch: EyePatch, lids: Tensor, iris: tuple[float, float, float]) -> Eyeball:
    """Paint what iris, lids and lashes hide. `lids [2, h, w]` are their edges at every pixel of the
    patch.
    """
    x, y, radius = iris
    along, across, source = patch.along, patch.across, patch.source
    margin = 0.07
    seen = smoothstep((across - lids[0] - margin) / 0.06) * smoothstep(
        (lids[1] - across - margin) / 0.06
    )
    seen = seen * (along.abs() < 0.94)
    distance = ((along - x) ** 2 + (across - y) ** 2).sqrt()
    white = fill(
        source, (seen * smoothstep((distance - 1.1 * radius) / 0.06))[None, None], patch.half
    )
    mirrored = patch.at(along, 2 * y - across, torch.cat((source, seen[None, None]), 1))[None]
    hidden = mirrored[:, 3:] * (1 - seen)
    share = seen + hidden
    both = (source * seen + mirrored[:, :3] * hidden) / share.clamp(min=1e-3)
    disc = fill(both, share * (distance < 1.05 * radius), 0.4 * patch.half)
    coverage = smoothstep((1.04 * radius - distance) / 0.12 + 0.5)
    bare = smoothstep((lids[0] - across - 1.4 * LASHES) / 0.05)
    bare = (bare + smoothstep((across - lids[1] - LASHES) / 0.05)).clamp(max=1)
    lid = fill(source, bare[None, None], patch.half) + _grain(patch, lids)
    return Eyeball(white, torch.cat((disc, coverage[None, None]), 1), lid.clamp(0, 255))


def _grain(patch: EyePatch, lids: Tensor) -> Tensor:
    """The fine structure of the skin below the eye, moved up to where a closed lid will be."""
    from kornia.filters import gaussian_blur2d

    width = max(0.07 * patch.half, 0.8)
    size = 2 * int(2.5 * width) + 1
    fine = patch.source - gaussian_blur2d(patch.source, (size, size), (width, width))
    limit = 2.5 * fine.abs().median()
    middle = patch.along.abs().argmin() % patch.along.shape[1]
    opening = float((lids[1] - lids[0])[:, middle].max())
    return patch.at(patch.along, patch.across + opening + 0.3, fine.clamp(-limit, limit))[None]


def fill(planes: Tensor, known: Tensor, half: float) -> Tensor:
    """`planes [1, C, h, w]` where `known [1, 1, h, w]`, elsewhere their known neighbourhood, near
    before far.
    """
    estimate, trust = torch.zeros_like(planes), torch.zeros_like(known)
    for sigma in (0.06, 0.15, 0.4, 1.0):
        both = _blur(torch.cat((planes * known, known), 1), sigma * half)
        colour, weight = both[:, :-1], both[:, -1:]
        share = (weight / 0.05).clamp(max=1) * (1 - trust)
        estimate = estimate + share * colour / weight.clamp(min=1e-4)
        trust = trust + share
    return torch.lerp(estimate / trust.clamp(min=1e-3), planes, known)


def _blur(planes: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur `sigma` pixels wide; a wide one works on a smaller copy."""
    from kornia.filters import gaussian_blur2d

    size = planes.shape[-2:]
    factor = max(1, int(sigma / 3))
    small = F.avg_pool2d(planes, factor, ceil_mode=True, count_include_pad=False)
    width = max(sigma / factor, 0.3)
    taps = min(2 * int(2.5 * width) + 1, 2 * ((min(small.shape[-2:]) - 1) // 2) - 1)
    taps = max(taps, 3)
    small = gaussian_blur2d(small, (taps, taps), (width, width))
    return small if factor == 1 else F.interpolate(small, size=size, mode="bilinear")


def _at(lids: Tensor, along: Tensor) -> Tensor:
    """Lid edges `[2, N]` at positions -1 … 1 of any shape: `[2, …]`."""
    count = lids.shape[1] - 1
    index = ((along + 1) * 0.5 * count).round().long().clamp(0, count)
    return lids[:, index]
