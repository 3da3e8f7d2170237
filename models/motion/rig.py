"""ARKit weights ↔ 68 landmarks: a linear face rig with lips and lids that can touch.

The basis says how far each weight moves each landmark, in inter-ocular distances, on a frontal
face. `training/rig.py` fits it; `weights/rig.md` says how well it does. The 68 landmarks hold no
iris and no tongue, so gaze to the side and `tongueOut` move nothing here; looking up and down
moves the lids.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from .. import checkpoints
from ..payloads import Portrait
from ..portrait.geometry import euler_to_matrix
from .arkit import ARKIT52, INDEX

WEIGHTS = Path(__file__).resolve().parents[2] / "weights" / "rig.safetensors"

LID_PAIRS = ((37, 41), (38, 40), (43, 47), (44, 46))  # upper lid, the lower lid below it
LIP_PAIRS = ((61, 67), (62, 66), (63, 65))  # inner edge of the upper lip, of the lower lip
_UPPER = [upper for upper, _ in LID_PAIRS + LIP_PAIRS]
_LOWER = [lower for _, lower in LID_PAIRS + LIP_PAIRS]
INVERSE_RIDGE = 1e-3  # squared inter-ocular distances per unit of weight
UPPER_LID_SHARE = 0.87  # of the way to a closed eye; the lower lid comes up by the rest
_BLINKS = tuple(INDEX[f"eyeBlink{side}"] for side in ("Right", "Right", "Left", "Left"))
_OPEN, _CLOSE = INDEX["jawOpen"], INDEX["mouthClose"]
_UNSEEN = tuple(
    INDEX[name] for name in ARKIT52 if name.startswith("eyeLook") or name == "tongueOut"
)


@dataclass(frozen=True, eq=False)
class Rig:
    """A linear face, `mean_face + weights · basis`, whose lips and lids stop where they meet."""

    basis: Tensor  # [52, 68, 3] inter-ocular distances per unit of weight
    mean_face: (
        Tensor  # [68, 3] inter-ocular distances, frontal, origin between the outer eye corners
    )

    def offsets(self, weights: Tensor, neutral: Tensor | None = None) -> Tensor:
        """How far each landmark moves, on a frontal face.

        Lids travel as far as this face's eyes are open, so that a blink of 1 closes them exactly.
        `mouthClose` closes what `jawOpen` opened and no more. Lips and lids stop where they meet.

        Args:
            weights: `[T, 52]`, 0 … 1; what lies outside is extrapolated.
            neutral: `[68, 3]`, the face at rest in the frame of `mean_face`, which is the default.

        Returns:
            `[T, 68, 3]` in inter-ocular distances. Zero weights give exact zeros.
        """
        neutral = self.mean_face if neutral is None else neutral
        weights = weights.clone()
        weights[:, _CLOSE] = torch.minimum(weights[:, _CLOSE], weights[:, _OPEN])
        offsets = torch.einsum("tj,jkc->tkc", weights, self.basis)
        upper, lower = _UPPER[:4], _LOWER[:4]
        opening = self.mean_face[lower] - self.mean_face[upper]
        excess = weights[:, list(_BLINKS), None] * (neutral[lower] - neutral[upper] - opening)
        offsets[:, upper] += UPPER_LID_SHARE * excess
        offsets[:, lower] -= (1 - UPPER_LID_SHARE) * excess
        return _keep_apart(offsets, neutral)

    def keep_apart(self, offsets: Tensor, neutral: Tensor) -> Tensor:
        """Offsets `[T, 68, 3]`, from wherever they come, with lips and lids that stop where they
        meet on the face `neutral [68, 3]`.
        """
        return _keep_apart(offsets.clone(), neutral)

    def landmarks(self, weights: Tensor, neutral: Tensor | None = None) -> Tensor:
        """Where the landmarks are, `[T, 68, 3]`: `offsets` on top of `neutral` or the mean face."""
        return (self.mean_face if neutral is None else neutral) + self.offsets(weights, neutral)

    def neutral_of(self, portrait: Portrait) -> Tensor:
        """The portrait's own face at rest in the rig's frame, `[68, 3]`, for `offsets`."""
        middle = (portrait.landmarks[36] + portrait.landmarks[45]) / 2
        frontal = (portrait.landmarks - middle) @ euler_to_matrix(torch.tensor(portrait.rotation))
        return frontal / portrait.interocular

    def place(self, offsets: Tensor, portrait: Portrait) -> Tensor:
        """Landmarks of the portrait after `offsets [T, 68, 3]`: `[T, 68, 3]` in source pixels."""
        turned = offsets @ euler_to_matrix(torch.tensor(portrait.rotation)).mT
        return portrait.landmarks + turned * portrait.interocular

    def displaced(self, landmarks: Tensor, portrait: Portrait) -> Tensor:
        """The offsets that `place` brings to `landmarks [T, 68, 3]`, source pixels."""
        turned = (landmarks - portrait.landmarks) / portrait.interocular
        return turned @ euler_to_matrix(torch.tensor(portrait.rotation))

    def weights_from_landmarks(self, offsets: Tensor, neutral: Tensor | None = None) -> Tensor:
        """The weights in 0 … 1 that explain `offsets [T, 68, 3]` best: `[T, 52]`.

        Ridge regression in a box, by accelerated projected gradient (Beck & Teboulle 2009), all
        frames at once. Gaze and tongue cannot be seen in 68 landmarks and stay 0. With `neutral`,
        lids are measured by how far this face's eyes are open.
        """
        offsets = offsets.clone()
        if neutral is not None:
            opening = self.mean_face[_LOWER[:4], 1] - self.mean_face[_UPPER[:4], 1]
            own = (neutral[_LOWER[:4], 1] - neutral[_UPPER[:4], 1]).clamp(min=opening.min() / 4)
            offsets[:, _UPPER[:4]] *= (opening / own)[:, None]
            offsets[:, _LOWER[:4]] *= (opening / own)[:, None]
        basis = self.basis.flatten(1).clone()
        basis[list(_UNSEEN)] = 0
        gram = basis @ basis.T + INVERSE_RIDGE * torch.eye(len(basis))
        target = offsets.flatten(1) @ basis.T
        step = 1 / torch.linalg.eigvalsh(gram)[-1]
        weights = torch.linalg.solve(gram, target.T).T.clamp(0, 1)
        ahead, momentum = weights, 1.0
        for _ in range(120):
            better = (ahead - step * (ahead @ gram - target)).clamp(0, 1)
            following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            ahead = better + (momentum - 1) / following * (better - weights)
            weights, momentum = better, following
        return weights


@cache
def load_rig() -> Rig:
    """The bundled rig."""
    tensors, _ = checkpoints.read(WEIGHTS)
    return Rig(basis=tensors["basis"], mean_face=tensors["mean_face"])


def _keep_apart(offsets: Tensor, neutral: Tensor) -> Tensor:
    """Where a lower lid or lip would rise above the upper one, both stop half-way."""
    rest = neutral[_LOWER, 1] - neutral[_UPPER, 1]
    gap = rest + offsets[:, _LOWER, 1] - offsets[:, _UPPER, 1]
    overlap = (rest.clamp(max=0) - gap).clamp(min=0) / 2
    offsets[:, _UPPER, 1] -= overlap
    offsets[:, _LOWER, 1] += overlap
    return offsets
