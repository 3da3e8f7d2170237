"""Frontal landmarks of a face model → landmarks in a picture: pose, scale and place of a head.

Stage 3, for MoDiTalker (Kim et al. 2024, section 3.3), whose motion is frontal and has to follow
the head of the driving frames. Upstream's chain of crops and shifts ends in one that puts the mean
of five points where the detector saw it, so all but rotation, scale and rounding cancel out; what
is left is `align`.

Face-model axes: x right, y up, z towards the viewer. Picture axes: pixels, y down.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..portrait.geometry import euler_to_matrix

CROP = 224  # side of the reconstruction network's picture, pixels
FACE = 102.0  # pixels of that picture per unit of the face model
HALF = CROP / 2
# Eyes, nose tip and mouth corners of the standard face, face-model units: the template that the
# crop was published with (`similarity_Lm3D_all.mat`).
STANDARD_FACE = (
    (-0.31148657, 0.29036078, 0.13377953),
    (0.30979887, 0.28972036, 0.13179526),
    (0.003253499, -0.046179324, 0.55244243),
    (-0.25216928, -0.38133916, 0.22405732),
    (0.24846620, -0.38128236, 0.22235769),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """The scaled projection that carries model points to picture points."""

    scale: Tensor  # [...] pixels per unit
    translation: Tensor  # [..., 2] pixels


def five_points(landmarks: Tensor) -> Tensor:
    """Both eyes, nose tip and both mouth corners of 68 landmarks, `[..., 68, C]` → `[..., 5, C]`.

    An eye is the mean of its two corners.
    """
    left, right = ((landmarks[..., i, :] + landmarks[..., i + 3, :]) / 2 for i in (36, 42))
    rest = (landmarks[..., i, :] for i in (30, 48, 54))
    return torch.stack([left, right, *rest], dim=-2)


def fit_projection(points: Tensor, model: Tensor | None = None) -> Fit:
    """Least squares of a projection without perspective (POS of DeMenthon & Davis 1995).

    Args:
        points: `[..., N, 2]`, picture points; the y axis may point either way for the scale.
        model: `[N, 3]`, the standard face's five points by default.
    """
    model = standard_face() if model is None else model
    places = torch.cat([model, torch.ones(len(model), 1)], dim=1).double()
    solved = torch.linalg.pinv(places) @ points.double()  # [..., 4, 2], a row per unknown
    scale = solved[..., :3, :].norm(dim=-2).mean(dim=-1)
    return Fit(scale=scale, translation=solved[..., 3, :])


def align(
    landmarks: Tensor,
    angles: Tensor,
    translation: Tensor,
    detected: Tensor,
    *,
    rounded: bool = True,
) -> Tensor:
    """Frontal landmarks with the pose, size and place of the driving frames.

    Args:
        landmarks: `[T, 68, 3]`, face-model units.
        angles: `[T, 3]`, the reconstruction's rotation, radians.
        translation: `[T, 3]`, the reconstruction's, face-model units; it matters to rounding only.
        detected: `[T, 68, 2]`, where a detector sees the landmarks of the driving frames, pixels.
        rounded: cut the crop's coordinates to whole pixels, as published; false is smoother.

    Returns:
        `[T, 68, 2]` pixels of the driving frames.
    """
    turned = landmarks @ reconstruction_rotation(angles) + translation[:, None]
    crop = HALF * turned[..., :2] + HALF
    crop = crop.trunc() if rounded else crop
    size = fit_projection(five_points(detected)).scale / FACE
    placed = crop * size[:, None, None].to(crop) * crop.new_tensor([1.0, -1.0])
    shift = five_points(detected).mean(-2) - five_points(placed).mean(-2)
    return placed + shift[:, None]


def reconstruction_rotation(angles: Tensor) -> Tensor:
    """`(Rz · Ry · Rx)ᵀ` of radians `[..., 3]`, for row vectors: `[..., 3, 3]`."""
    return euler_to_matrix(torch.rad2deg(angles)).mT


def standard_face() -> Tensor:
    """The five points of the standard face, `[5, 3]`, face-model units."""
    return torch.tensor(STANDARD_FACE)
