"""A head in depth behind a flat picture: where it is, how far it reaches, and how it turns.

The skull is an ellipsoid placed by the face's pose and size; the face's own landmarks add the
relief of nose, brows and jaw. Depth is smooth, its slope is bounded, and it is flat at the outline,
so that a turning head slides over itself by parallax instead of tearing. Around the head the motion
fades out through hair, neck and background.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..payloads import Portrait
from ..portrait.geometry import euler_to_matrix
from .field import landmark_interpolator

# In inter-ocular distances of an average adult (Farkas 1994: 90 mm outer eye corners, skull 195 mm
# long, 152 mm wide).
SKULL_BEHIND_EYES = 0.95
SKULL_DEPTH = 1.05
FADE = 2.25  # where the motion has died away, in radii of the head
REACH = 2.3  # what the lattice covers, in radii of the head
STEEPEST = 1.25  # of the depth; steeper surfaces would fold under the turns that talking heads make
RELIEF_RADIUS = 0.9  # inter-ocular distances over which a landmark's depth is felt


@dataclass(frozen=True, eq=False)
class Head:
    """The solid behind the face, in source pixels."""

    interocular: float
    centre: Tensor  # [3], of the skull
    radii: tuple[float, float]  # across and along the head, in the picture
    upright: Tensor  # [2, 2], rows: across and along, unit vectors in the picture
    pivot: Tensor  # [3], where the neck turns
    chin: float  # along the head from its centre

    @classmethod
    def of(cls, portrait: Portrait, device: torch.device | str = "cpu") -> Head:
        """The head of a portrait, from its 68 landmarks and its pose."""
        points = portrait.landmarks.to(device)
        unit = float(portrait.interocular)
        pose = euler_to_matrix(torch.tensor(portrait.rotation)).to(points)
        eyes = (points[36] + points[45]) / 2
        local = (points - eyes) @ pose  # the face seen from the front
        width = float(local[:17, 0].max() - local[:17, 0].min())
        drop = float(local[8, 1])
        centre = eyes + pose @ points.new_tensor([0.0, 0.02 * unit, SKULL_BEHIND_EYES * unit])
        roll = torch.deg2rad(points.new_tensor(portrait.rotation[2]))
        across = torch.stack((roll.cos(), roll.sin()))
        upright = torch.stack((across, torch.stack((-across[1], across[0]))))
        turned = abs(float(pose[0, 2]))
        radii = (width * (0.60 + 0.15 * turned), drop * 1.12)
        below = float((upright @ (points[8] - centre)[:2])[1])
        neck = upright.T @ points.new_tensor([0.0, below + 0.25 * unit])
        pivot = torch.cat((centre[:2] + neck, centre[2:]))
        return cls(unit, centre, radii, upright, pivot, below)

    def box(self) -> tuple[float, float, float, float]:
        """The part of the picture that can move: x0, y0, x1, y1 in pixels, possibly beyond the
        border.
        """
        half = torch.tensor([REACH * self.radii[0], REACH * self.radii[1]])
        reach = self.upright.abs().T.cpu() @ half
        x, y = self.centre[:2].tolist()
        return x - float(reach[0]), y - float(reach[1]), x + float(reach[0]), y + float(reach[1])

    def along_axes(self, points: Tensor) -> Tensor:
        """Points `[2, …]` in pixels as distances across and along the head, `[2, …]`."""
        origin = self.centre[:2].view(2, *[1] * (points.ndim - 1))
        return torch.einsum("ab,b...->a...", self.upright, points - origin)

    def attachment(self, points: Tensor) -> Tensor:
        """How far points `[2, …]` follow the skull: 1 on the head, 0 in the background and on the
        shoulders.
        """
        across, along = self.along_axes(points)
        radius = ((across / self.radii[0]) ** 2 + (along / self.radii[1]) ** 2).sqrt()
        around = smoothstep((FADE - radius) / (FADE - 1.0))
        neck = smoothstep((self.chin + 1.75 * self.interocular - along) / (2.0 * self.interocular))
        return around * neck

    def depth(self, points: Tensor, landmarks: Tensor) -> Tensor:
        """z of the surface at `points [2, rows, columns]`, in pixels; `landmarks [K, 3]` shape the
        face.
        """
        dome = self._dome(points)
        at_landmarks = self._dome(landmarks[:, :2].T)
        spread = landmark_interpolator(
            landmarks[:, :2] / self.interocular,
            points.flatten(1).T / self.interocular,
            radius=RELIEF_RADIUS,
            ridge=0.1,
        )
        relief = spread @ (landmarks[:, 2] - at_landmarks)
        spacing = float(points[0, 0, 1] - points[0, 0, 0])
        return limit_slope(dome + relief.view(points.shape[1:]), STEEPEST * spacing)

    def _dome(self, points: Tensor) -> Tensor:
        across, along = self.along_axes(points)
        radius = ((across / self.radii[0]) ** 2 + (along / self.radii[1]) ** 2).sqrt()
        height = torch.cos((radius / 1.3).clamp(max=1) * (torch.pi / 2)) ** 2
        return self.centre[2] - SKULL_DEPTH * self.interocular * height


def smoothstep(value: Tensor) -> Tensor:
    """0 below 0, 1 above 1, with a level start and end."""
    value = value.clamp(0, 1)
    return value * value * (3 - 2 * value)


def limit_slope(depth: Tensor, step: float) -> Tensor:
    """`depth [rows, columns]` with far parts brought nearer until neighbours differ by at most
    `step`, then smoothed.
    """
    for _ in range(max(depth.shape)):
        padded = F.pad(depth[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
        nearest = depth
        for down in range(3):
            for right in range(3):
                far = step * ((down - 1) ** 2 + (right - 1) ** 2) ** 0.5
                shifted = padded[down : down + depth.shape[0], right : right + depth.shape[1]]
                nearest = torch.minimum(nearest, shifted + far)
        if torch.equal(nearest, depth):
            break
        depth = nearest
    padded = F.pad(depth[None, None], (2, 2, 2, 2), mode="replicate")
    return F.avg_pool2d(F.avg_pool2d(padded, 3, 1), 3, 1)[0, 0]


@dataclass(frozen=True, eq=False)
class HeadMotion:
    """One frame's rigid motion: `P → scale · rotation · (P − pivot) + pivot + shift`."""

    linear: Tensor  # [3, 3], rotation times scale
    pivot: Tensor  # [3]
    shift: Tensor  # [3], pixels

    @classmethod
    def of(cls, head: Head, rotation: Tensor, translation: Tensor, scale: Tensor) -> HeadMotion:
        """From a motion's frame: degrees `[3]`, inter-ocular distances `[3]`, factor."""
        linear = euler_to_matrix(rotation.cpu()).to(head.pivot) * float(scale)
        return cls(linear, head.pivot, translation.to(head.pivot) * head.interocular)

    def offsets(self, points: Tensor, depth: Tensor) -> Tensor:
        """How far surface points `[2, rows, columns]` at `depth` move in the picture, `[2, rows,
        columns]`.
        """
        x = points[0] - self.pivot[0]
        y = points[1] - self.pivot[1]
        z = depth - self.pivot[2]
        a = self.linear.tolist()
        moved_x = (a[0][0] - 1) * x + a[0][1] * y + a[0][2] * z + self.shift[0]
        moved_y = a[1][0] * x + (a[1][1] - 1) * y + a[1][2] * z + self.shift[1]
        return torch.stack((moved_x, moved_y))

    def undo_on_plane(self, points: Tensor, depth: float) -> Tensor:
        """Where picture points `[2, …]` lie on the skull's frontal plane at `depth` before the
        motion.
        """
        a = self.linear.double()
        z = depth - float(self.pivot[2])
        flat = torch.linalg.inv(a[:2, :2].cpu()).to(points)
        offset = (self.pivot + self.shift)[:2] + a[:2, 2].to(points) * z
        centred = points - offset.view(2, *[1] * (points.ndim - 1))
        pivot = self.pivot[:2].view(2, *[1] * (points.ndim - 1))
        return torch.einsum("ab,b...->a...", flat, centred) + pivot
