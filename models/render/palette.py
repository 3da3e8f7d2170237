"""What a picture is made of, measured around a face: its tones, its light, its sharpness and its
grain.

Whatever is drawn into a portrait (teeth, tongue, the dark of the mouth) takes its colours from
here, so that it looks photographed, printed or painted with the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..payloads import Portrait

LUMINANCE = (0.299, 0.587, 0.114)  # of sRGB values, Rec. 601
PARTED = 0.05  # inter-ocular distances between lips that show what is behind them
TEETH_TINT = 0.6  # share of the skin's hue in the teeth
_CHEEKS = (
    (1, 31),
    (3, 48),
    (15, 35),
    (13, 54),
)  # jaw and a point nearer the middle: skin lies between
_UPPER_LIP, _LOWER_LIP = (
    ((49, 61), (50, 61), (51, 62), (52, 63), (53, 63)),
    ((57, 66), (56, 65), (58, 67)),
)


@dataclass(frozen=True, eq=False)
class Palette:
    """Colours are `[3]`, 0 … 255."""

    skin: Tensor
    lips: Tensor
    teeth: Tensor
    tongue: Tensor
    gums: Tensor
    dark: Tensor  # the unlit depth of the mouth
    rim: Tensor  # the shadow between lips that barely part
    slant: float  # light from the right of the picture minus from the left, relative to the mean
    blur: float  # standard deviation of the picture's softest edge transition, pixels
    grain: float  # standard deviation of its noise, 0 … 255

    @classmethod
    def of(cls, portrait: Portrait) -> Palette:
        """Measured on the cheeks, the lips and the fine structure of the face."""
        image, points = portrait.image.float(), portrait.landmarks[:, :2]
        spot = max(1, round(0.03 * float(portrait.interocular)))
        cheeks = torch.stack([_spot(image, (points[a] + points[b]) / 2, spot) for a, b in _CHEEKS])
        lips = (
            torch.stack(
                [_spot(image, (points[a] + points[b]) / 2, 1) for a, b in _UPPER_LIP + _LOWER_LIP]
            )
            .median(0)
            .values
        )
        weights = torch.tensor(LUMINANCE)
        light = cheeks @ weights
        skin = cheeks.mean(0)
        face = _around(image, points)
        black = torch.quantile((face @ weights).flatten()[::7], 0.01)
        hue = skin / (skin @ weights).clamp(min=1)
        bright = float(light.max())
        teeth_light = min(0.95 * bright + 20, 235.0)
        own = _own_teeth(image, points, float(portrait.interocular))
        teeth_light = teeth_light if own is None else min(teeth_light, max(1.15 * own, 60.0))
        teeth = (teeth_light * (1 + TEETH_TINT * (hue - 1))).clamp(0, 245)
        depth = black.clamp(max=60)
        dark = 0.35 * depth + 0.14 * lips
        slant = float((light[2:].mean() - light[:2].mean()) / light.mean().clamp(min=1))
        blur, grain = _texture(face @ weights)
        return cls(
            skin,
            lips,
            teeth,
            tongue=0.68 * lips + 0.16 * skin,
            gums=0.55 * lips + 0.2 * skin,
            dark=dark,
            rim=dark + 0.22 * lips,
            slant=max(-0.6, min(0.6, slant)),
            blur=blur,
            grain=grain,
        )


def _own_teeth(image: Tensor, points: Tensor, unit: float) -> float | None:
    """Luminance of the brightest spot between parted lips, 0 … 255; None where they are closed."""
    if float((points[66] - points[62]).norm()) < PARTED * unit:
        return None
    spots = [
        _spot(image, torch.lerp(points[upper], points[lower], share), 0)
        for upper, lower in ((61, 67), (62, 66), (63, 65))
        for share in (0.25, 0.4, 0.55, 0.7)
    ]
    return float((torch.stack(spots) @ torch.tensor(LUMINANCE)).max())


def _spot(image: Tensor, where: Tensor, radius: int) -> Tensor:
    """Median colour of a small square."""
    height, width, _ = image.shape
    x = int(where[0].round().clamp(radius, max(radius, width - 1 - radius)))
    y = int(where[1].round().clamp(radius, max(radius, height - 1 - radius)))
    patch = image[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
    return patch.reshape(-1, 3).median(0).values


def _around(image: Tensor, points: Tensor) -> Tensor:
    """The part of the picture that the face covers."""
    x0, y0 = (int(v) for v in points.min(0).values.floor().clamp(min=0))
    x1, y1 = (int(v) for v in points.max(0).values.ceil())
    return image[y0 : y1 + 1, x0 : x1 + 1]


def _texture(luminance: Tensor) -> tuple[float, float]:
    """Blur (pixels) and noise of a grey picture `[h, w]`.

    The noise is the median absolute deviation of the Laplacian-like mask of Immerkær (1996). The
    blur follows from how much steeper than its own smoothed copy the steepest edges are.
    """
    from kornia.filters import gaussian_blur2d

    plane = luminance[None, None]
    mask = luminance.new_tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]])[None, None] / 6
    residual = torch.nn.functional.conv2d(plane, mask).abs()
    grain = float(residual.median()) / 0.6745
    soft = gaussian_blur2d(plane, (9, 9), (1.5, 1.5))
    steep = torch.quantile(_slope(plane)[::3], 0.995)
    steep_soft = torch.quantile(_slope(soft)[::3], 0.995).clamp(min=1e-3)
    ratio = float((steep / steep_soft).clamp(min=1.02))
    # An edge of width b blurred by 1.5 has width sqrt(b² + 1.5²), and its slope falls by that
    # ratio.
    return min(1.5 / (ratio**2 - 1) ** 0.5, 4.0), min(grain, 20.0)


def _slope(plane: Tensor) -> Tensor:
    across = plane[..., 1:-1, 2:] - plane[..., 1:-1, :-2]
    down = plane[..., 2:, 1:-1] - plane[..., :-2, 1:-1]
    return (across**2 + down**2).sqrt().flatten()
