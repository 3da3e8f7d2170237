"""A portrait's face at rest in the units of a landmark network, and the way back.

Stage 3, for AToM. The published network speaks of landmarks of the Basel face model: ten times
their way from the model's mean, x right, y up, z towards the viewer. With the user's own files of
that model they come from a reconstruction (`face_model.py`). Without them they come from the
portrait's own landmarks: both mean faces are laid on each other, and what makes this face differ
from ours is said to make it differ from Basel's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from ..payloads import Portrait
from ..portrait.geometry import procrustes
from .alignment import five_points, standard_face
from .face_model import UNITS, FaceReconstruction
from .rig import load_rig

FLIP = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # between Basel's axes and ours


@dataclass(frozen=True, kw_only=True, eq=False)
class Likeness:
    """What a network is told of a face, and what its residuals mean on this face."""

    first: Tensor  # [204] the network's units
    scale: Tensor  # [3, 3], residual · scale = inter-ocular distances in the rig's frame

    def offsets(self, residual: Tensor) -> Tensor:
        """How far the landmarks move: `[T, 204]` of the network → `[T, 68, 3]`."""
        return residual.unflatten(-1, (68, 3)) @ self.scale


def rig_likeness(portrait: Portrait | None) -> Likeness:
    """In the rig's own frame and unit: nothing changes on the way."""
    return Likeness(first=_neutral(portrait).flatten(), scale=torch.eye(3))


def basel_likeness(
    portrait: Portrait | None, reconstruction: FaceReconstruction | None = None
) -> Likeness:
    """In tenths of the Basel face model's unit, from its mean.

    Args:
        portrait: without one, the average face.
        reconstruction: the user's own files; without them the portrait's landmarks have to do.
    """
    neutral = _neutral(portrait)
    if reconstruction is None or portrait is None:
        scale = FLIP * unit_length() / UNITS
        first = (neutral - load_rig().mean_face) @ torch.linalg.inv(scale)
        return Likeness(first=first.flatten(), scale=scale)
    residual = reconstruction.residual(portrait)
    face = reconstruction.model.landmarks(residual) @ FLIP
    rotation, scale, _ = procrustes(face, neutral)
    return Likeness(first=residual.flatten(), scale=FLIP @ rotation.mT * scale / UNITS)


@cache
def unit_length() -> float:
    """Inter-ocular distances in a unit of the Basel face model.

    From the five standard points that its reconstruction is published with.
    """
    _, scale, _ = procrustes(standard_face() @ FLIP, five_points(load_rig().mean_face))
    return float(scale)


def _neutral(portrait: Portrait | None) -> Tensor:
    rig = load_rig()
    return rig.mean_face if portrait is None else rig.neutral_of(portrait)
