"""Rotations, similarity transforms and head pose, in the axes of `payloads.py` and for any batch.

Source of the closed form: Umeyama, "Least-squares estimation of transformation parameters" (1991),
equations 40 to 42.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .mapping import mean_landmarks

LEFT_EYE_CORNER, RIGHT_EYE_CORNER = 45, 36  # outer corners, the person's own sides (iBUG 68)

RIGID68 = (0, 16, 27, 28, 36, 39, 42, 45)
"""Landmarks that hardly move with the face: temples, nose bridge, eye corners."""

_POSE_POINTS = [*RIGID68, *range(29, 36)]  # the rest of the nose gives pitch and yaw a lever


def procrustes(
    points: Tensor, target: Tensor, weights: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The similarity that carries `points` onto `target` with the least squared error.

    `target ≈ scale · rotation @ points + translation` for column vectors.

    Args:
        points: `[..., K, 3]`, at least three of them not on a line.
        target: `[..., K, 3]`, any leading dimensions that broadcast with those of `points`.
        weights: `[K]`, how much each point counts; all alike by default.

    Returns:
        Rotation `[..., 3, 3]` (proper, never a reflection), scale `[...]`, translation `[..., 3]`.
    """
    if weights is None:
        weights = points.new_ones(points.shape[-2])
    share = (weights / weights.sum())[:, None]
    centre, target_centre = (share * points).sum(-2), (share * target).sum(-2)
    source, goal = points - centre[..., None, :], target - target_centre[..., None, :]
    covariance = (share * goal).mT @ source
    u, singular, vh = torch.linalg.svd(covariance)
    signs = torch.ones_like(singular)
    signs[..., 2] = torch.sign(torch.linalg.det(u @ vh))
    rotation = (u * signs[..., None, :]) @ vh
    scale = (singular * signs).sum(-1) / (share * source.square()).sum((-2, -1))
    translation = target_centre - scale[..., None] * (rotation @ centre[..., None])[..., 0]
    return rotation, scale, translation


def apply_similarity(
    points: Tensor, rotation: Tensor, scale: Tensor, translation: Tensor
) -> Tensor:
    """`scale · rotation @ points + translation`, for points `[..., K, 3]`."""
    return scale[..., None, None] * points @ rotation.mT + translation[..., None, :]


def euler_to_matrix(degrees: Tensor) -> Tensor:
    """`Rz(roll)·Ry(yaw)·Rx(pitch)` of pitch, yaw, roll in degrees, `[..., 3]` → `[..., 3, 3]`."""
    (sx, sy, sz), (cx, cy, cz) = (
        torch.deg2rad(degrees).sin().unbind(-1),
        torch.deg2rad(degrees).cos().unbind(-1),
    )
    rows = (
        (cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx),
        (sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx),
        (-sy, cy * sx, cy * cx),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def matrix_to_euler(rotation: Tensor) -> Tensor:
    """Pitch, yaw, roll in degrees of rotations `[..., 3, 3]` → `[..., 3]`; yaw within ±90°."""
    pitch = torch.atan2(rotation[..., 2, 1], rotation[..., 2, 2])
    yaw = torch.asin((-rotation[..., 2, 0]).clamp(-1, 1))
    roll = torch.atan2(rotation[..., 1, 0], rotation[..., 0, 0])
    return torch.rad2deg(torch.stack([pitch, yaw, roll], -1))


def interocular(landmarks: Tensor) -> Tensor:
    """Distance between the outer eye corners in three dimensions, `[..., 68, 3]` → `[...]`."""
    return (landmarks[..., LEFT_EYE_CORNER, :] - landmarks[..., RIGHT_EYE_CORNER, :]).norm(dim=-1)


def head_pose(landmarks: Tensor) -> Tensor:
    """Pitch, yaw, roll in degrees `[..., 3]` of `[..., 68, 3]`: how the mean face turns to fit.

    Zero is a face that looks straight at the viewer. Only points that expression leaves alone
    count (`RIGID68` and the nose).
    """
    return matrix_to_euler(head_placement(landmarks)[0])


def head_placement(landmarks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rotation, scale and translation that carry the mean face onto `[..., 68, 3]`.

    The scale is the inter-ocular distance of the mean face in the units of the landmarks.
    """
    mean = mean_landmarks().to(landmarks)
    return procrustes(mean[_POSE_POINTS], landmarks[..., _POSE_POINTS, :])


def lift_landmarks(points: Tensor) -> Tensor:
    """Flat landmarks `[68, 2]` (pixels) with the depth of the posed mean face: `[68, 3]`.

    x and y stay as they are; z is that of the mean face under scaled orthographic projection. The
    pose starts from the best affine camera and is refined by turns with the depth, as in POSIT
    (DeMenthon & Davis 1995). Only points that expression leaves alone decide on the pose.
    """
    mean = mean_landmarks().to(points)
    rigid, flat = mean[_POSE_POINTS], points[_POSE_POINTS]
    rotation = _affine_camera(rigid, flat)
    depth = interocular(mean) * (points[45] - points[36]).norm() * (rigid @ rotation[2])
    for _ in range(20):
        rotation, scale, shift = procrustes(rigid, torch.cat([flat, depth[:, None]], -1))
        depth = apply_similarity(rigid, rotation, scale, shift)[:, 2]
    posed = apply_similarity(mean, rotation, scale, shift)
    return torch.cat([points, posed[:, 2:]], -1)


def _affine_camera(points: Tensor, flat: Tensor) -> Tensor:
    """The rotation nearest to the 2 × 3 matrix that best projects `points` onto `flat`."""
    camera = torch.linalg.lstsq(points - points.mean(0), flat - flat.mean(0)).solution.mT
    u, _, vh = torch.linalg.svd(camera, full_matrices=False)
    right, down = u @ vh
    return torch.stack([right, down, torch.linalg.cross(right, down)])
