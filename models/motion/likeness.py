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

INNER_UPPER, INNER_LOWER = [61, 62, 63], [67, 66, 65]
OUTER_UPPER, OUTER_LOWER = [50, 51, 52], [58, 57, 56]
BESIDE, CHIN = [59, 55], slice(5, 12)  # next to the outer lower lip; the middle of the jaw line
BELOW = 0.7  # share of the gap that the lower lip and the jaw close
EXTREME = 0.04  # inter-ocular distances
OPEN = 0.1  # gap of lips that are open, inter-ocular distances
FLIP = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # between Basel's axes and ours


@dataclass(frozen=True, kw_only=True, eq=False)
class Likeness:
    """What a network is told of a face, and what its residuals mean on this face."""

    first: Tensor  # [204] the network's units
    scale: Tensor  # [3, 3], residual · scale = inter-ocular distances in the rig's frame
    shutting: Tensor | None = None  # [68, 3] what the portrait does to shut its lips

    def offsets(self, landmarks: Tensor) -> Tensor:
        """How far landmarks `[T, 204]` of the network are from the portrait's: `[T, 68, 3]`.

        Lips that meet are shut on this face, too; of a gap that it shows at rest, half adds to what
        the network opens.
        """
        moved = (landmarks - self.first).unflatten(-1, (68, 3)) @ self.scale
        if self.shutting is None:
            return moved
        gap = (moved[:, 66, 1] - moved[:, 62, 1]).clamp(min=0)
        share = 1 - (gap / OPEN).clamp(max=1) / 2
        return moved + share[:, None, None] * self.shutting


def rig_likeness(portrait: Portrait | None) -> Likeness:
    """In the rig's own frame and unit.

    The network is told a moderate version of the face with its lips shut. A broad smile with teeth
    would else be taken for somebody who is saying "a", and hardly move.
    """
    neutral = _neutral(portrait)
    shut = with_lips_shut(neutral)
    return Likeness(first=moderate(shut).flatten(), scale=torch.eye(3), shutting=shut - neutral)


def with_lips_shut(face: Tensor) -> Tensor:
    """The face `[68, 3]` with the gap of its inner lips closed, mostly from below."""
    shut = face.clone()
    gap = (face[INNER_LOWER, 1] - face[INNER_UPPER, 1]).clamp(min=0)
    for rows in (INNER_UPPER, OUTER_UPPER):
        shut[rows, 1] += (1 - BELOW) * gap
    for rows in (INNER_LOWER, OUTER_LOWER):
        shut[rows, 1] -= BELOW * gap
    shut[BESIDE, 1] -= BELOW * 0.6 * gap.mean()
    shut[CHIN, 1] -= BELOW * gap.max() * torch.hann_window(9)[1:8]
    return shut


def moderate(face: Tensor) -> Tensor:
    """The face `[68, 3]` no further than `EXTREME` from the average one anywhere."""
    mean = load_rig().mean_face
    away = face - mean
    size = away.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    return mean + away * (EXTREME * torch.tanh(size / EXTREME) / size)


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
