"""The lips: where they part, which side each landmark moves, and how far apart they are in a frame.

A mouth cannot open in one smooth field. The plane is cut along the lip line: the upper field
carries the upper lip with the skull, the lower field carries the lower lip with the jaw, and both
agree beyond the corners. Which of the two shows at a pixel is decided where the pixel comes from
(`warp.py`); what neither reaches is the inside of the mouth.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..motion.arkit import INDEX
from ..payloads import Portrait
from .field import landmark_interpolator
from .head import smoothstep

UPPER_LIP = (49, 50, 51, 52, 53, 61, 62, 63)
LOWER_LIP = (55, 56, 57, 58, 59, 65, 66, 67)
CORNERS = (48, 54, 60, 64)
UPPER_LIDS = (37, 38, 43, 44)  # left out of the fields: a moving brow takes some of the lid along
EYES = tuple(range(36, 48))  # lids have their own layer (`eyes.py`) and stay put in the fields
SAMPLES = 65  # along the lip line, from the right corner to the left
FIELD_RADIUS = 1.8  # inter-ocular distances over which one landmark pulls
RIDGE = (
    0.02  # keeps crowded landmarks, as on the far side of a turned face, from tearing at each other
)
CLOSING_REACH = (
    0.45  # inter-ocular distances from the lip line over which closing lips pull the skin
)
CORNER_ROUND = 0.5  # of half the mouth's width, over which an open mouth rounds towards its corners
# inter-ocular distances; lips stick together until they are pulled apart by about this much
CONTACT = 0.012
LIP_ON_TEETH = (
    0.65  # how much the lower lip tells of where the lower teeth are; the chin tells the rest
)
JAW_BONE = 1.3  # way of the jaw's bone in that of the chin's skin
SPEAKING = 0.12  # sum of the speaking weights from which a mouth has left its rest
SPOKEN_REST = 0.75  # share of the portrait's own opening that speech gives up
UPPER_SHARE = 0.3  # of a closing gap that the upper lip comes down by
_UPPER_EDGE = (60, 61, 62, 63, 64)
_LOWER_EDGE = (60, 67, 66, 65, 64)
# The inner lip contours of MediaPipe's mesh, from the right corner to the left.
_DENSE_UPPER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
_DENSE_LOWER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)


@dataclass(frozen=True, eq=False)
class Mouth:
    """The lip line of a portrait, in the mouth's own axes: along from corner to corner, across
    downwards.
    """

    origin: Tensor  # [2] pixels, midway between the corners
    axes: Tensor  # [2, 2], rows: along and across, unit vectors
    half: float  # pixels, from the origin to a corner
    upper: Tensor  # [SAMPLES] pixels across: lower edge of the upper lip
    lower: Tensor  # [SAMPLES] pixels across: upper edge of the lower lip
    interocular: float

    @classmethod
    def of(cls, portrait: Portrait, device: torch.device | str = "cpu") -> Mouth:
        """The lips of a portrait; its dense landmarks are used where known."""
        points = portrait.landmarks[:, :2]
        edges = points[list(_UPPER_EDGE)], points[list(_LOWER_EDGE)]
        if portrait.dense is not None:
            dense = portrait.dense[:, :2]
            edges = dense[list(_DENSE_UPPER)], dense[list(_DENSE_LOWER)]
        right, left = edges[0][0], edges[0][-1]
        along = (left - right) / (left - right).norm()
        axes = torch.stack((along, torch.stack((-along[1], along[0]))))
        origin = (right + left) / 2
        half = float((left - right).norm() / 2)
        upper, lower = (_edge((edge - origin) @ axes.T, half) for edge in edges)
        middle = (upper + lower) / 2
        upper, lower = torch.minimum(upper, middle), torch.maximum(lower, middle)
        return cls(
            origin.to(device),
            axes.to(device),
            half,
            upper.to(device),
            lower.to(device),
            float(portrait.interocular),
        )

    @property
    def opening(self) -> Tensor:
        """How far the lips are apart in the portrait, `[SAMPLES]` pixels."""
        return self.lower - self.upper

    def coordinates(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Points `[2, …]` as -1 … 1 along the lips and pixels across."""
        centred = points - self.origin.view(2, *[1] * (points.ndim - 1))
        along, across = torch.einsum("ab,b...->a...", self.axes, centred)
        return along / self.half, across

    def beyond_edges(self, points: Tensor) -> Tensor:
        """Signed distances of points `[2, …]` below the upper lip's edge and below the lower lip's,
        `[2, …]` pixels.
        """
        along, across = self.coordinates(points)
        edges = read_table(torch.stack((self.upper, self.lower)), along)
        return across - edges

    def teeth(self, points: Tensor, lip: Tensor) -> Tensor:
        """Points `[2, h, w]` in the mouth's axes from the middle of a lip's edge, inter-ocular
        distances.
        """
        along, across = self.coordinates(points)
        return torch.stack((along * self.half, across - lip[SAMPLES // 2])) / self.interocular

    def line(self) -> tuple[Tensor, Tensor]:
        """Points of both edges, each `[2, SAMPLES]` in source pixels."""
        along = torch.linspace(-self.half, self.half, SAMPLES, device=self.upper.device)
        base = self.origin[:, None] + self.axes[0, :, None] * along
        return (
            base + self.axes[1, :, None] * self.upper,
            base + self.axes[1, :, None] * self.lower,
        )


def _edge(points: Tensor, half: float) -> Tensor:
    """A lip's edge `[K, 2]` in mouth axes as a function of the position along, `[SAMPLES]`."""
    from scipy.interpolate import PchipInterpolator

    order = points[:, 0].argsort()
    along, across = points[order, 0].double().numpy(), points[order, 1].double().numpy()
    keep = [0] + [i for i in range(1, len(along)) if along[i] - along[i - 1] > 1e-3 * half]
    curve = PchipInterpolator(along[keep], across[keep])
    where = torch.linspace(-half, half, SAMPLES, dtype=torch.float64)
    values = torch.from_numpy(curve(where.clamp(float(along[0]), float(along[-1])).numpy())).float()
    return values * smoothstep((1 - torch.linspace(-1, 1, SAMPLES).abs()) / 0.08)


def read_table(tables: Tensor, along: Tensor) -> Tensor:
    """Linear interpolation of tables `[N, SAMPLES]` at positions -1 … 1 `[…]`, end values beyond:
    `[N, …]`.
    """
    position = ((along + 1) * 0.5 * (SAMPLES - 1)).clamp(0, SAMPLES - 1)
    left = position.long().clamp(max=SAMPLES - 2)
    share = position - left
    return torch.lerp(tables[:, left], tables[:, left + 1], share)


@dataclass(frozen=True, eq=False)
class LipFields:
    """The upper and the lower field of a portrait over given points: matrices from landmark
    offsets.
    """

    upper: Tensor  # [68, N]
    lower: Tensor  # [68, N]
    along: Tensor  # [N], position along the lips
    reach: Tensor  # [N], 1 at the lip line, 0 where closing lips pull no more
    edge_upper: Tensor  # [SAMPLES, 68], the fields on the lip edges themselves
    edge_lower: Tensor  # [SAMPLES, 68]

    @classmethod
    def over(cls, mouth: Mouth, points: Tensor, landmarks: Tensor) -> LipFields:
        """The fields over points `[2, N]`, for landmarks `[68, 2]`, all in source pixels."""
        upper, lower = _side_matrices(mouth, points, landmarks)
        line_upper, line_lower = mouth.line()
        along, _ = mouth.coordinates(points)
        above, below = mouth.beyond_edges(points)
        distance = torch.where(above < 0, -above, below.clamp(min=0)) / mouth.interocular
        beyond = (along.abs() - 1).clamp(min=0) * mouth.half / mouth.interocular
        nearness = 1 - (distance**2 + beyond**2).sqrt() / CLOSING_REACH
        return cls(
            upper.T.contiguous(),
            lower.T.contiguous(),
            along,
            smoothstep(nearness),
            _side_matrices(mouth, line_upper, landmarks)[0],
            _side_matrices(mouth, line_lower, landmarks)[1],
        )

    def displacements(
        self, offsets: Tensor, mouth: Mouth, control: LipControl
    ) -> tuple[Tensor, Tensor]:
        """The upper and the lower field of a frame, each `[3, N]` in pixels.

        Args:
            offsets: `[68, 3]`, how far the landmarks move, pixels.
            mouth: whose lips these are.
            control: how the lips are held.
        """
        upper, lower = offsets.T @ self.upper, offsets.T @ self.lower
        excess = self._excess_gap(offsets, mouth, control)
        pull = read_table(excess[None], self.along)[0] * self.reach
        down = mouth.axes[1, :, None]
        upper[:2] += UPPER_SHARE * pull * down
        lower[:2] -= (1 - UPPER_SHARE) * pull * down
        return upper, lower

    def teeth_shift(self, offsets: Tensor, mouth: Mouth, control: LipControl) -> Tensor:
        """How far the lower teeth move in the picture, `[2]` pixels: with the jaw and with the lip
        before them.

        The skin of the chin lags behind the bone, so the lip that rests on the teeth says more
        about them.
        """
        middle = SAMPLES // 2
        excess = self._excess_gap(offsets, mouth, control)[middle]
        lip = self.edge_lower[middle] @ offsets[:, :2]
        lip = lip - (1 - UPPER_SHARE) * excess * mouth.axes[1]
        chin = JAW_BONE * offsets[7:10, :2].mean(0)
        return torch.lerp(chin, lip, LIP_ON_TEETH)

    def _excess_gap(self, offsets: Tensor, mouth: Mouth, control: LipControl) -> Tensor:
        """By how much the landmarks alone would part the lips too far, `[SAMPLES]` pixels;
        negative: overlap.
        """
        parting = (self.edge_lower - self.edge_upper) @ offsets[:, :2] @ mouth.axes[1]
        rest = mouth.opening
        # A portrait with parted lips rests that way. When it speaks, weights say how far its lips
        # are apart, counted from closed ones.
        kept = rest * (1 - SPOKEN_REST * control.speaking)
        stick = CONTACT * mouth.interocular
        apart = (parting.clamp(min=0) ** 2 + stick**2).sqrt() - stick
        wider = (kept**2 + apart**2).sqrt()
        gap = torch.where(parting > 0, wider, (kept + parting).clamp(min=0))
        return rest + parting - gap * (1 - control.closing)


def _side_matrices(mouth: Mouth, points: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor]:
    """Both sides agree beyond the corners; between them the upper lip is an arch, the lower one a
    bow.
    """

    def spread(without: tuple[int, ...]) -> Tensor:
        own = [k for k in range(68) if k not in without and k not in UPPER_LIDS]
        matrix = points.new_zeros(points.shape[1], 68)
        matrix[:, own] = landmark_interpolator(
            landmarks[own] / mouth.interocular,
            points.T / mouth.interocular,
            radius=FIELD_RADIUS,
            ridge=RIDGE,
        )
        return matrix

    upper, lower = spread(LOWER_LIP), spread(UPPER_LIP)
    together = (upper + lower) / 2
    round_lower = (lower + spread(UPPER_LIP + CORNERS)) / 2
    along, _ = mouth.coordinates(points)
    apart = _rounded((0.95 - along.abs()) / CORNER_ROUND)[:, None]
    return torch.lerp(together, upper, apart), torch.lerp(together, round_lower, apart)


def _rounded(value: Tensor) -> Tensor:
    """0 below 0, 1 above 1, with the quarter circle between them that an opening mouth has at its
    corners.
    """
    value = value.clamp(0, 1)
    return (value * (2 - value)).sqrt()


@dataclass(frozen=True)
class LipControl:
    """What a frame wants of the lips beyond where landmarks go; both 0 … 1."""

    closing: float  # how firmly they are held together
    speaking: float  # how far the mouth has left its rest to speak

    @classmethod
    def of(cls, weights: Tensor) -> LipControl:
        """Read off ARKit `weights [52]`."""

        def weight(*names: str) -> Tensor:
            return weights[[INDEX[name] for name in names]].clamp(0, 1)

        jaw, close = weight("jawOpen", "mouthClose")
        pressed = weight("mouthPressLeft", "mouthPressRight").mean()
        rolled = weight("mouthRollLower", "mouthRollUpper").amin()
        closed = close / jaw.clamp(min=0.02).maximum(close)
        shut = smoothstep(close / 0.05) * smoothstep((closed - 0.5) / 0.5)
        firm = smoothstep(3.2 * pressed + 2 * rolled) * (1 - smoothstep((jaw - close) / 0.25))
        spoken = weight("jawOpen", "mouthClose", "mouthFunnel", "mouthPucker").sum()
        spoken = spoken + pressed + weight("mouthStretchLeft", "mouthStretchRight").mean()
        return cls(float(torch.maximum(firm, shut)), float(smoothstep(spoken / SPEAKING)))
