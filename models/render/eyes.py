"""The eyes: lids that close over the eyeball, and an iris that moves behind them.

An eye is repainted in the portrait's texture before the head moves it: skin above and below the
opening slides with the lids, and what lies between is the eyeball, whose white has been completed
where the iris and the lids hide it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..motion.arkit import INDEX
from ..payloads import Portrait
from .eyeball import LASHES, Eyeball, EyePatch, complete, find_iris, find_waterline
from .head import smoothstep
from .mouth import SAMPLES, read_table
from .texture import Texture

MEETING = 0.86  # where closed lids meet, from the upper (0) to the lower lid (1)
GAZE_ACROSS, GAZE_ALONG = 0.28, 0.40  # the iris' way up or down and sideways at weight 1
LASH_WIDTH = 0.08  # skin at a lid's edge that never stretches
CLEAN_LID = 0.85  # share of clean skin where a lid has unrolled; the rest keeps its folds
UNDER_EYE = 0.6  # of skin below the opening that may stretch
_CONTOURS_68 = (((36, 37, 38, 39), (36, 41, 40, 39)), ((42, 43, 44, 45), (42, 47, 46, 45)))
_CONTOURS_DENSE = (
    ((33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133)),
    ((362, 398, 384, 385, 386, 387, 388, 466, 263), (362, 382, 381, 380, 374, 373, 390, 249, 263)),
)
_IRISES = ((468, 469, 470, 471, 472), (473, 474, 475, 476, 477))  # centre, then four on the rim
_BROWS = ((17, 18, 19, 20, 21), (22, 23, 24, 25, 26))
_SIDES = ("Right", "Left")


@dataclass(frozen=True, eq=False)
class Eye:
    """One eye in a texture; lengths are half-widths of the eye in its own axes (`eyeball.py`)."""

    rows: slice
    columns: slice
    patch: EyePatch
    ball: Eyeball
    upper: Tensor  # [h, w], the upper lid's edge at rest
    lower: Tensor  # [h, w], the lower lid's
    between: Tensor  # [h, w], 1 between the corners
    room: float  # of skin above the opening that may stretch
    side: str  # "Right" or "Left", the person's

    @classmethod
    def of(cls, portrait: Portrait, texture: Texture, which: int) -> Eye:
        """The person's right (0) or left (1) eye."""
        edges = _contours(portrait, which)
        right, left = edges[0][0], edges[0][-1]
        half = float((left - right).norm() / 2)
        direction = (left - right) / (2 * half)
        axes = torch.stack((direction, torch.stack((-direction[1], direction[0]))))
        origin = (left + right) / 2
        upper, lower = (_lid((edge - origin) @ axes.T / half) for edge in edges)
        upper = upper.minimum(lower)
        brow = (portrait.landmarks[list(_BROWS[which]), :2] - origin) @ axes.T / half
        room = 0.9 * float((upper.min() - brow[:, 1].max()).clamp(0.35, 0.9))
        device = texture.pixels.device
        rows, columns = texture.patch(
            _box(origin, axes, half, (upper.min() - room - 0.1, lower.max() + 0.75))
        )
        points = texture.points(rows, columns) - origin.to(device).view(2, 1, 1)
        along, across = torch.einsum("ab,bhw->ahw", axes.to(device), points) / half
        source = texture.pixels[:, :, rows, columns].clone()
        patch = EyePatch(source, along, across, axes.to(device), half * texture.scale)
        lids = torch.stack((upper, lower)).to(device)
        lids[1] += find_waterline(patch, lids)
        iris = find_iris(patch, lids, *_iris_guess(portrait, which, origin, axes, half))
        edges_here = read_table(lids, along)
        return cls(
            rows,
            columns,
            patch,
            complete(patch, edges_here, iris),
            edges_here[0],
            edges_here[1],
            smoothstep((1 - along.abs()) / 0.04),
            room,
            _SIDES[which],
        )

    def paint(self, weights: Tensor) -> Tensor | None:
        """The patch `[3, h, w]` under ARKit weights `[52]`; None where nothing about this eye
        moves.
        """
        lowered, raised, gaze = self._lids_and_gaze(weights)
        if not (lowered or raised or any(gaze)):
            return None
        opening = self.lower - self.upper
        down, up = opening * (MEETING * lowered), opening * ((MEETING - 1) * raised)
        from_upper, from_lower = (
            self.upper + down - self.patch.across,
            self.patch.across - self.lower - up,
        )
        sharp = 0.7 / self.patch.half  # a lid's edge is about a texture pixel and a half wide
        above = (from_upper / sharp + 0.5).clamp(0, 1)
        below = (from_lower / sharp + 0.5).clamp(0, 1) * (1 - above)
        inside = (1 - above - below) * self.between
        under = self._read(self.patch.source, 0.0, -_stretch(from_lower, up, UNDER_EYE))
        # Landmarks of a lower lid may lie too high; whatever white they leave under a shut eye is
        # covered.
        rim = max(0.0, lowered - 0.6) / 0.4 * smoothstep((1.4 * LASHES - from_lower) / LASHES)
        under = torch.lerp(under, self.ball.lid[0], rim * self.between)
        skin = torch.where(from_upper > from_lower, self._upper_lid(from_upper, down), under)
        return torch.lerp(skin, self._eyeball(gaze, from_upper, down), inside)

    def _upper_lid(self, from_edge: Tensor, shift: Tensor) -> Tensor:
        """The upper lid `from_edge` above its edge: its lashes, clean skin where it unrolled, then
        the old skin.
        """
        stretched = self._read(self.patch.source, 0.0, _stretch(from_edge, -shift, self.room))
        unrolled = smoothstep((from_edge - 0.4 * LASHES) / LASHES)
        unrolled = unrolled * smoothstep((shift + 1.6 * LASHES - from_edge) / (1.2 * LASHES))
        return torch.lerp(
            stretched, self.ball.lid[0], CLEAN_LID * unrolled * smoothstep(shift / 0.12)
        )

    def _eyeball(self, gaze: tuple[float, float], from_upper: Tensor, shift: Tensor) -> Tensor:
        """The eyeball, its iris moved by `gaze`, in the shade of the upper lid."""
        moved = min(1.0, (gaze[0] ** 2 + gaze[1] ** 2) ** 0.5 / 0.04)
        iris = self._read(self.ball.iris, -gaze[0], -gaze[1])
        completed = torch.lerp(self.ball.white[0], iris[:3], iris[3])
        completed = completed * (0.65 + 0.35 * smoothstep(-from_upper / 0.25))
        # Without gaze only what a raised lid uncovers has to be invented.
        hidden = ((from_upper - shift) / 0.06 + 0.5).clamp(min=moved, max=1)
        return torch.lerp(self.patch.source[0], completed, hidden)

    def _lids_and_gaze(self, weights: Tensor) -> tuple[float, float, tuple[float, float]]:
        """How far the upper lid is lowered and the lower one raised (1: shut), and the way of the
        iris.
        """

        def weight(name: str) -> float:
            return min(max(float(weights[INDEX[f"{name}{self.side}"]]), 0.0), 1.0)

        blink, squint, wide = weight("eyeBlink"), weight("eyeSquint"), weight("eyeWide")
        up, down = weight("eyeLookUp"), weight("eyeLookDown")
        # Lids go with the gaze: they hide the white above an eye that looks down.
        lowered = blink + (1 - blink) * (0.18 * squint + 0.42 * down - 0.17 * wide - 0.10 * up)
        raised = blink + (1 - blink) * (2.2 * squint - 0.35 * down)
        outward = 1.0 if self.side == "Left" else -1.0
        sideways = (weight("eyeLookOut") - weight("eyeLookIn")) * outward
        return lowered, raised, (GAZE_ALONG * sideways, GAZE_ACROSS * (down - up))

    def _read(self, planes: Tensor, along: float, across: Tensor | float) -> Tensor:
        return self.patch.at(self.patch.along + along, self.patch.across + across, planes)


def _stretch(distance: Tensor, shift: Tensor, room: float) -> Tensor:
    """The way of skin at `distance` from a moved edge: all of `shift` at the edge itself, none
    beyond `room`.
    """
    fade = (distance - LASH_WIDTH) / (room + shift.abs() - LASH_WIDTH)
    return shift * (1 - smoothstep(fade))


def _box(
    origin: Tensor, axes: Tensor, half: float, across: tuple[Tensor, Tensor]
) -> tuple[float, float, float, float]:
    """The picture's rectangle around an eye that needs `across` from top to bottom."""
    corners = [
        axes.T @ torch.tensor([a, float(b)]) * half + origin for a in (-1.15, 1.15) for b in across
    ]
    low, high = torch.stack(corners).min(0).values, torch.stack(corners).max(0).values
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _contours(portrait: Portrait, which: int) -> tuple[Tensor, Tensor]:
    """Edges of the upper and the lower lid, each `[K, 2]` in source pixels, the picture's left
    corner first.
    """
    if portrait.dense is None:
        upper, lower = (portrait.landmarks[list(edge), :2] for edge in _CONTOURS_68[which])
    else:
        upper, lower = (portrait.dense[list(edge), :2] for edge in _CONTOURS_DENSE[which])
    return upper, lower


def _lid(points: Tensor) -> Tensor:
    """A lid's edge `[K, 2]` in the eye's axes as a function of the position along, `[SAMPLES]`."""
    from scipy.interpolate import PchipInterpolator

    along, across = points[:, 0].double(), points[:, 1].double()
    order = along.argsort()
    along, across = along[order], across[order]
    keep = torch.cat((torch.tensor([True]), along.diff() > 1e-3))
    curve = PchipInterpolator(along[keep].numpy(), across[keep].numpy())
    where = torch.linspace(-1, 1, SAMPLES, dtype=torch.float64).clamp(along[0], along[-1])
    return torch.from_numpy(curve(where.numpy())).float()


def _iris_guess(
    portrait: Portrait, which: int, origin: Tensor, axes: Tensor, half: float
) -> tuple[tuple[float, float, float], float]:
    """Centre and radius of the iris by the landmarks, half-widths, and how far off the centre may
    be.
    """
    if portrait.dense is not None:
        ring = (portrait.dense[list(_IRISES[which]), :2] - origin) @ axes.T / half
        radius = float((ring[1:] - ring[0]).norm(dim=1).mean())
        return (float(ring[0, 0]), float(ring[0, 1]), radius), 0.08
    lids = (torch.stack(_contours(portrait, which))[:, 1:-1].mean((0, 1)) - origin) @ axes.T / half
    return (float(lids[0]), float(lids[1]), 0.40), 0.30
