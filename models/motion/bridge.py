"""ARKit weights ↔ LivePortrait's 21 keypoints: two linear maps, so that any motion drives that
renderer and its motion drives any other.

`training/bridge.py` fits them; `weights/bridge.md` says how well they do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from torch import Tensor

from .. import checkpoints

WEIGHTS = Path(__file__).resolve().parents[2] / "weights" / "bridge.safetensors"


@dataclass(frozen=True, eq=False)
class Bridge:
    """Both directions; zero motion is zero motion on the other side."""

    to_keypoints: Tensor  # [52, 63] keypoint offsets (21 × xyz) per unit of weight
    to_weights: Tensor  # [63, 52]


@cache
def load_bridge() -> Bridge:
    """The bundled bridge."""
    tensors, _ = checkpoints.read(WEIGHTS)
    return Bridge(to_keypoints=tensors["to_keypoints"], to_weights=tensors["to_weights"])


def arkit_to_liveportrait(weights: Tensor) -> Tensor:
    """Expression offsets `[T, 21, 3]` relative to the portrait's face, of weights `[T, 52]`."""
    return (weights @ load_bridge().to_keypoints.to(weights)).unflatten(-1, (21, 3))


def liveportrait_to_arkit(offsets: Tensor) -> Tensor:
    """Weights `[T, 52]` in 0 … 1 of expression offsets `[T, 21, 3]` relative to a face at rest."""
    return (offsets.flatten(1) @ load_bridge().to_weights.to(offsets)).clamp(0, 1)
