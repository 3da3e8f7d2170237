"""The inside of a mouth, drawn in the portrait's own tones: upper teeth on the skull, lower teeth
and tongue on the jaw.

The parts are painted once per portrait, larger than life, as colour and coverage in the mouth's
axes. A frame only looks them up: the upper teeth where the skull is, the rest where the jaw is.
Sizes are inter-ocular distances (90 mm): tooth widths after Wheeler's dental anatomy, an incisor's
crown 10 mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .head import smoothstep
from .mouth import Mouth
from .palette import LUMINANCE, Palette

# Half of a dental arch from the midline outwards: central and lateral incisor, canine, two
# premolars, molar.
UPPER_WIDTHS = (0.094, 0.073, 0.080, 0.075, 0.072, 0.10)
LOWER_WIDTHS = (0.058, 0.064, 0.074, 0.075, 0.075, 0.11)
ARCH_RADIUS = 0.27  # half the width of the dental arch
# Cutting edges below the lips' line, crowns upwards or downwards from there.
UPPER_EDGE, UPPER_CROWN = 0.068, 0.12
LOWER_EDGE, LOWER_CROWN = -0.022, 0.095
TONGUE_TOP, TONGUE_RISE = -0.06, 0.09
LEFT, RIGHT, TOP, BOTTOM = -0.42, 0.42, -0.16, 0.42  # what the drawing covers
TONGUE_FOLLOWS = 0.85  # of the jaw's way
SHADOW = 0.05  # inter-ocular distances under the upper lip over which its shadow falls


@dataclass(frozen=True, eq=False)
class Interior:
    """Painted parts `[1, 4, h, w]`: colour 0 … 255 and coverage 0 … 1 each, in the mouth's axes."""

    upper: Tensor
    lower: Tensor
    tongue: Tensor
    grain: Tensor  # [1, 1, h, w], 0 … 255 around 0
    dark: Tensor  # [3], the depth of an open mouth
    rim: Tensor  # [3], between lips that barely part
    slant: float

    @classmethod
    def paint(cls, palette: Palette, mouth: Mouth, device: torch.device | str = "cpu") -> Interior:
        """The parts for a portrait's mouth, at twice the portrait's resolution."""
        step = max(0.5 / mouth.interocular, 0.84 / 640)
        x = torch.arange(LEFT, RIGHT, step)
        y = torch.arange(TOP, BOTTOM, step)
        x, y = torch.meshgrid(x, y, indexing="xy")
        soft = max(step, 0.5 * palette.blur / mouth.interocular)
        upper = _teeth(x, y - UPPER_EDGE - 0.25 * (-(x**2)), UPPER_WIDTHS, UPPER_CROWN, soft)
        lower = _teeth(x, LOWER_EDGE - y + 0.12 * x**2, LOWER_WIDTHS, LOWER_CROWN, soft)
        parts = (
            _colour_teeth(*upper, palette, 1.0),
            _colour_teeth(*lower, palette, 0.8),
            _tongue(x, y, palette, soft),
        )
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        layers = [_soften(part[None], palette.blur / mouth.interocular / step) for part in parts]
        grain = _soften(noise[None, None], 0.5 / mouth.interocular / step)
        grain = grain / grain.std() * palette.grain
        painted = [layer.to(device) for layer in (*layers, grain)]
        dark, rim = palette.dark.to(device), palette.rim.to(device)
        return cls(painted[0], painted[1], painted[2], painted[3], dark, rim, palette.slant)

    def show(
        self, skull: Tensor, jaw: Tensor, below_upper: Tensor, gap: Tensor, tongue_out: float
    ) -> Tensor:
        """The inside of the mouth at the pixels of a window.

        Args:
            skull: `[2, h, w]`, where each pixel lies on the skull, mouth axes, inter-ocular
                distances.
            jaw: the same on the jaw.
            below_upper: `[h, w]`, distance below the upper lip's edge, same unit.
            gap: `[h, w]`, how far the lips are apart there.
            tongue_out: 0 … 1.

        Returns:
            `[3, h, w]`, 0 … 255.
        """
        lit = smoothstep(gap / 0.14)
        shadow = 0.58 + 0.42 * smoothstep(below_upper / SHADOW)
        falloff = (1 - (skull[0] / (ARCH_RADIUS * 1.25)) ** 2).clamp(0.25, 1)
        light = (0.68 + 0.36 * lit) * shadow * falloff * (1 + self.slant * skull[0] / 0.5)
        tongue_at = TONGUE_FOLLOWS * jaw + (1 - TONGUE_FOLLOWS) * skull
        tongue_at = tongue_at + tongue_at.new_tensor([0.0, 0.06 * tongue_out]).view(2, 1, 1)
        colour = torch.lerp(self.rim.view(3, 1, 1), self.dark.view(3, 1, 1), lit)
        for part, where, share in (
            (self.tongue, tongue_at, 0.9),
            (self.lower, jaw, 1),
            (self.upper, skull, 1),
        ):
            paint = _look_up(part, where)
            coverage = paint[3]
            colour = torch.lerp(colour, paint[:3] * (light * share), coverage)
        brightness = torch.einsum("c,chw->hw", colour.new_tensor(LUMINANCE), colour) / 128
        return colour + _look_up(self.grain, skull) * brightness.clamp(0.15, 1)


def _look_up(painting: Tensor, where: Tensor) -> Tensor:
    middle = where.new_tensor([LEFT + RIGHT, TOP + BOTTOM]).view(2, 1, 1) / 2
    extent = where.new_tensor([RIGHT - LEFT, BOTTOM - TOP]).view(2, 1, 1) / 2
    grid = ((where - middle) / extent).permute(1, 2, 0)[None]
    return F.grid_sample(painting, grid, padding_mode="border", align_corners=True)[0]


def _teeth(
    x: Tensor, from_edge: Tensor, widths: tuple[float, ...], crown: float, soft: float
) -> tuple[Tensor, Tensor, Tensor]:
    """A row of teeth seen from the front, cutting edges at `from_edge` = 0 and roots at `-crown`.

    Returns coverage, brightness 0 … 1 and how much of it is gum, all `[h, w]`.
    """
    angle = torch.asin((x.abs() / ARCH_RADIUS).clamp(max=1))
    along = angle * ARCH_RADIUS * 1.15  # arc length from the midline
    ends = torch.tensor((0.0, *widths)).cumsum(0)
    index = torch.bucketize(along, ends[1:-1])
    centre = (ends[index] + ends[index + 1]) / 2
    half = (ends[index + 1] - ends[index]) / 2
    inside = 1 - ((along - centre) / half).abs()  # 1 in the middle of a tooth, 0 between two
    # Cutting edges are rounded at the corners, and canines and laterals differ a little in length.
    length = torch.tensor([0.0, 0.010, 0.003, 0.008, 0.012, 0.014])[index]
    corner = 0.016 * (1 - smoothstep(inside / 0.35))
    edge = -from_edge - length - corner
    coverage = smoothstep(edge / soft / 2 + 0.5)
    between = 1 - 0.22 * (1 - smoothstep(inside * half / (0.006 + soft)))
    depth = (-from_edge / crown).clamp(0, 1)
    body = 0.86 + 0.14 * smoothstep(depth / 0.35) - 0.12 * smoothstep((depth - 0.55) / 0.45)
    roundness = 0.9 + 0.1 * smoothstep(inside / 0.8)
    gum_line = -from_edge - crown + 0.02 * (1 - inside) - 0.01
    gum = smoothstep(gum_line / soft / 3 + 0.5)
    side = smoothstep((ARCH_RADIUS * 1.02 - x.abs()) / 0.05)
    return coverage * side, between * body * roundness, gum


def _colour_teeth(
    coverage: Tensor, brightness: Tensor, gum: Tensor, palette: Palette, share: float
) -> Tensor:
    teeth = palette.teeth.view(3, 1, 1) * brightness * share
    colour = torch.lerp(teeth, palette.gums.view(3, 1, 1).expand_as(teeth), gum)
    return torch.cat((colour, coverage[None]))


def _tongue(x: Tensor, y: Tensor, palette: Palette, soft: float) -> Tensor:
    """A low mound behind the lower teeth, brighter on its ridges than in its furrow."""
    top = TONGUE_TOP + TONGUE_RISE * (x / 0.2) ** 2 + 0.012 * torch.exp(-((x / 0.03) ** 2))
    below = y - top
    coverage = smoothstep(below / (2 * soft + 0.02))
    shade = 0.55 + 0.45 * smoothstep(below / 0.09) - 0.10 * torch.exp(-((x / 0.025) ** 2))
    return torch.cat((palette.tongue.view(3, 1, 1) * shade, coverage[None]))


def _soften(planes: Tensor, sigma: float) -> Tensor:
    if sigma < 0.3:
        return planes
    from kornia.filters import gaussian_blur2d

    size = 2 * int(3 * sigma + 0.5) + 1
    size = min(size, 2 * ((min(planes.shape[-2:]) - 1) // 2) - 1)
    return gaussian_blur2d(planes, (size, size), (sigma, sigma))
