"""Eyes that stay on the listener while the head turns."""

from __future__ import annotations

from torch import Tensor

from .arkit import INDEX
from .gestures import EYE_RANGE

STEADY = 0.7  # share of a turn of the head that the eyes make up for
_LEFT = ("eyeLookOutLeft", "eyeLookInRight")  # both eyes towards the person's left
_RIGHT = ("eyeLookInLeft", "eyeLookOutRight")
_UP, _DOWN = ("eyeLookUpLeft", "eyeLookUpRight"), ("eyeLookDownLeft", "eyeLookDownRight")


def hold_gaze(weights: Tensor, rotation: Tensor) -> Tensor:
    """ARKit weights whose eyes turn against the head.

    `hold_gaze(weights, -rotation)` undoes it, as long as no eye reached its limit.

    Args:
        weights: `[…, 52]`, eyes as they look relative to where the head points.
        rotation: `[…, 3]` pitch, yaw, roll in degrees.

    Returns:
        `[…, 52]`, a copy.
    """
    weights = weights.clone()
    # Yaw turns the nose to the person's right, so the eyes go to the left by as much.
    for (positive, negative), degrees in (
        ((_LEFT, _RIGHT), rotation[..., 1]),
        ((_UP, _DOWN), rotation[..., 0]),
    ):
        for one, other in zip(positive, negative, strict=True):
            look = weights[..., INDEX[one]] - weights[..., INDEX[other]]
            look = (look + STEADY * degrees / EYE_RANGE).clamp(-1, 1)
            weights[..., INDEX[one]] = look.clamp(min=0)
            weights[..., INDEX[other]] = (-look).clamp(min=0)
    return weights
