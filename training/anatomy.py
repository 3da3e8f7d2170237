"""What each ARKit weight does to the 68 landmarks, written down by hand: the prior of the rig.

The tracked clips cannot tell all 52 weights apart, and some never move in them. Where the clips are
silent, these numbers speak. Every entry says how far landmarks of the person's left half (the right
half of the picture) and of the middle move when the weight is 1: (x outward, y down, z away), in
hundredths of the inter-ocular distance, which is about 0.9 mm each.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..models.motion.arkit import ARKIT52, INDEX
from ..models.portrait.mapping import MIRROR_68

Move = tuple[float, float, float]

# Blinks and mouthClose are not here: they follow from what must touch (`rig.py`).
# Gaze to the side and the tongue move none of the 68 landmarks.
_PAIRED: dict[str, dict[int, Move]] = {
    "browDown": {22: (-2, 5, 0), 23: (-1, 5, 0), 24: (0, 4, 0), 25: (0, 2, 0), 26: (0, 1, 0)},
    "browOuterUp": {23: (0, -2, 0), 24: (0, -5, 0), 25: (0, -8, 0), 26: (0, -7, 0)},
    "cheekSquint": {46: (0, -1.5, 0), 47: (0, -1.5, 0), 54: (0.5, -1, 0), 64: (0.5, -1, 0)},
    "eyeLookDown": {43: (0, 4, 0), 44: (0, 4, 0), 46: (0, 1, 0), 47: (0, 1, 0)},
    "eyeLookUp": {43: (0, -1.5, 0), 44: (0, -1.5, 0), 46: (0, -0.7, 0), 47: (0, -0.7, 0)},
    "eyeSquint": {43: (0, 1, 0), 44: (0, 1, 0), 46: (0, -2.5, 0), 47: (0, -2.5, 0)},
    "eyeWide": {43: (0, -2.5, 0), 44: (0, -2.5, 0), 46: (0, 0.3, 0), 47: (0, 0.3, 0)},
    "mouthDimple": {
        53: (1.5, 0, 1), 54: (3, -0.5, 2), 55: (1.5, 0, 1),
        63: (1, 0, 0.5), 64: (3, -0.5, 2), 65: (1, 0, 0.5),
    },
    "mouthFrown": {
        53: (0, 2.5, 0), 54: (0.5, 5, 0), 55: (0.5, 3.5, 0),
        63: (0, 1, 0), 64: (0.5, 5, 0), 65: (0, 1.5, 0),
    },
    "mouthLowerDown": {
        54: (0, 0.7, 0), 55: (0.5, 4, 0), 56: (0, 5, 0), 57: (0, 2.7, 0),
        64: (0, 0.7, 0), 65: (0, 5, 0), 66: (0, 2.7, 0), 8: (0, 0.5, 0),
    },
    "mouthPress": {
        52: (0, 1.2, 0.5), 53: (0, 1, 0.5), 54: (1, 0, 0.5), 55: (0, -1, 0.5), 56: (0, -1.2, 0.5),
        63: (0, 0.8, 0.5), 64: (1, 0, 0.5), 65: (0, -0.8, 0.5),
        51: (0, 0.6, 0.2), 57: (0, -0.6, 0.2), 62: (0, 0.4, 0.2), 66: (0, -0.4, 0.2),
    },
    "mouthSmile": {
        51: (0, 0.3, 0.5), 52: (1.5, 0, 1), 53: (4, -2.5, 2), 54: (7, -6, 3.5),
        55: (4, -3, 2), 56: (1.5, -0.5, 1), 57: (0, 0, 0.5),
        63: (2.5, -1, 1), 64: (7, -6, 3.5), 65: (2.5, -1, 1), 46: (0, -0.7, 0), 47: (0, -0.5, 0),
    },
    "mouthStretch": {
        53: (2.5, 1, 1), 54: (6, 3, 2), 55: (3.5, 3, 1), 56: (1, 1.5, 0),
        63: (2, 0.7, 0.5), 64: (6, 3, 2), 65: (2, 1.5, 0.5),
    },
    "mouthUpperUp": {
        51: (0, -2.5, 0), 52: (0, -4.5, 0), 53: (0.5, -3.5, 0), 54: (0, -0.7, 0),
        62: (0, -2.5, 0), 63: (0, -4, 0), 64: (0, -0.7, 0), 34: (0, -0.7, 0), 35: (0.5, -1.2, 0),
    },
    "noseSneer": {
        33: (0, -1, 0), 34: (0.3, -2, 0), 35: (1, -3, 0), 51: (0, -0.8, 0), 52: (0, -2, 0),
        53: (0, -1.5, 0), 63: (0, -1, 0), 22: (-0.7, 1.5, 0), 23: (0, 1, 0),
    },
}  # fmt: skip

_SYMMETRIC: dict[str, dict[int, Move]] = {
    "browInnerUp": {22: (0, -8, 0), 23: (0, -7, 0), 24: (0, -4, 0), 25: (0, -1.5, 0)},
    "cheekPuff": {
        12: (2, 0, 0), 13: (1.5, 0, 0), 52: (0, 0, -1.5), 53: (-0.5, 0, -1.5), 54: (-1, 0, -1.5),
        55: (-0.5, 0, -1.5), 56: (0, 0, -1.5), 51: (0, 0, -1.5), 57: (0, 0, -1.5), 64: (-1, 0, -1),
    },
    "jawForward": {
        8: (0, 0, -9), 9: (0, 0, -9), 10: (0, 0, -8), 11: (0, 0, -6), 12: (0, 0, -4),
        54: (0, 0, -3), 55: (0, 0, -6), 56: (0, 0, -7), 57: (0, 0, -7),
        64: (0, 0, -3), 65: (0, 0, -6), 66: (0, 0, -6),
    },
    "jawOpen": {
        8: (0, 36, 14), 9: (0, 35, 14), 10: (0, 33, 13), 11: (0, 26, 11), 12: (-1, 14, 7),
        13: (-1, 6, 3), 51: (0, -0.5, 0), 53: (-1, 3, 1), 54: (-4, 14, 5), 55: (-3, 26, 8),
        56: (-1, 31, 9), 57: (0, 32, 9), 62: (0, -0.5, 0), 63: (-1, 0.5, 0), 64: (-4, 14, 5),
        65: (-2, 30, 9), 66: (0, 32, 9),
    },
    "mouthFunnel": {
        51: (0, -3, -6), 52: (-1, -3, -6), 53: (-3, -1.5, -5), 54: (-7, 0.5, -3), 55: (-3, 3, -5),
        56: (-1, 4.5, -6), 57: (0, 5, -6), 62: (0, -2.5, -5), 63: (-1, -2, -5), 64: (-7, 0.5, -3),
        65: (-1, 4, -5), 66: (0, 4.5, -5), 8: (0, 1, 0),
    },
    "mouthPucker": {
        51: (0, 0, -8), 52: (-3, 0, -8), 53: (-7, 0.3, -6), 54: (-11, 0.3, -4), 55: (-7, 0, -6),
        56: (-3, 0.3, -8), 57: (0, 0.5, -8), 62: (0, 0, -7), 63: (-4, 0, -7), 64: (-11, 0.3, -4),
        65: (-4, 0.3, -7), 66: (0, 0.3, -7),
    },
    "mouthRollLower": {
        55: (0, -2.5, 2), 56: (0, -3.5, 3), 57: (0, -3.5, 3), 65: (0, -0.5, 2.5), 66: (0, -0.5, 3),
    },
    "mouthRollUpper": {
        51: (0, 3.2, 3), 52: (0, 3.2, 3), 53: (0, 2, 2), 62: (0, 0.5, 3), 63: (0, 0.5, 2.5),
    },
    "mouthShrugLower": {
        8: (0, -3, 0), 9: (0, -2.5, 0), 55: (0, -2.5, -1), 56: (0, -4, -2), 57: (0, -4.5, -2),
        65: (0, -3, -1), 66: (0, -3.5, -1), 54: (0, 0.5, 0), 64: (0, 0.5, 0),
    },
    "mouthShrugUpper": {
        51: (0, -3, -2), 52: (0, -2.7, -2), 53: (0, -1.5, -1), 62: (0, -2.5, -1), 63: (0, -2, -1),
    },
}  # fmt: skip

# Sideways moves of the whole mouth or jaw, both halves alike: x towards the person's left.
_SIDEWAYS: dict[str, dict[int, Move]] = {
    "jaw": {
        8: (10, 0, 0), 9: (10, 0, 0), 10: (9, 0, 0), 11: (7, 0, 0), 12: (4, 0, 0), 13: (2, 0, 0),
        51: (1, 0, 0), 52: (1, 0, 0), 53: (2, 0, 0), 54: (4, 0, 0), 55: (7, 0, 0), 56: (8, 0, 0),
        57: (8, 0, 0), 62: (1, 0, 0), 63: (2, 0, 0), 64: (4, 0, 0), 65: (7, 0, 0), 66: (8, 0, 0),
    },
    "mouth": {
        51: (8, 0, 0), 52: (8, 0, 0), 53: (8, -0.5, 0.5), 54: (8, -1, 2), 55: (8, -0.5, 0.5),
        56: (8, 0, 0), 57: (8, 0, 0), 62: (8, 0, 0), 63: (8, 0, 0), 64: (8, -1, 2), 65: (8, 0, 0),
        66: (8, 0, 0), 33: (1, 0, 0), 8: (2, 0, 0), 9: (1.5, 0, 0),
    },
}  # fmt: skip


def mirror_names() -> list[int]:
    """For each weight the index of the weight that does the same to the other side."""
    swap = {"Left": "Right", "Right": "Left"}
    indices = []
    for name in ARKIT52:
        side = next((side for side in swap if name.endswith(side)), None)
        indices.append(INDEX[name[: -len(side)] + swap[side]] if side else INDEX[name])
    return indices


def mirror(moves: Tensor) -> Tensor:
    """Displacements `[..., 68, 3]` as a mirror shows them."""
    return moves[..., list(MIRROR_68), :] * moves.new_tensor([-1.0, 1.0, 1.0])


def prior_basis() -> Tensor:
    """The rig by hand, `[52, 68, 3]` in inter-ocular distances, exactly mirror-symmetric."""
    basis = torch.zeros(len(ARKIT52), 68, 3, dtype=torch.float64)
    for name, moves in _PAIRED.items():
        basis[INDEX[f"{name}Left"]] = _half(moves)
        basis[INDEX[f"{name}Right"]] = mirror(_half(moves))
    for name, moves in _SYMMETRIC.items():
        half = _half(moves)
        centre = half == mirror(half)  # landmarks of the middle line are in both halves
        basis[INDEX[name]] = torch.where(centre, half, half + mirror(half))
    for name, moves in _SIDEWAYS.items():
        half = _half(moves)
        other = half[list(MIRROR_68)]
        basis[INDEX[f"{name}Left"]] = torch.where(half.abs() > other.abs(), half, other)
        basis[INDEX[f"{name}Right"]] = mirror(basis[INDEX[f"{name}Left"]])
    return basis


def _half(moves: dict[int, Move]) -> Tensor:
    points = torch.zeros(68, 3, dtype=torch.float64)
    for index, move in moves.items():
        points[index] = torch.tensor(move, dtype=torch.float64) / 100
    return points


def support() -> Tensor:
    """Where each weight may act, bool `[52, 68]`: its part of the face, on its own side."""
    allowed = torch.zeros(len(ARKIT52), 68, dtype=torch.bool)
    right_half = [MIRROR_68[index] for index in _LEFT_HALF]
    for index, name in enumerate(ARKIT52):
        landmarks = next(part for prefix, part in _PARTS if name.startswith(prefix))
        for side, half in (("Left", _LEFT_HALF), ("Right", right_half)):
            if name.endswith(side) and name.removesuffix(side) not in _SIDEWAYS:
                landmarks = landmarks & set(half)
        allowed[index, list(landmarks)] = True
    return allowed


_LIPS, _JAW, _NOSE = set(range(48, 68)), set(range(2, 15)), set(range(31, 36))
_BROWS, _UPPER_LIDS, _LOWER_LIDS = set(range(17, 27)), {37, 38, 43, 44}, {40, 41, 46, 47}
_LEFT_HALF = (
    *range(8, 17), *range(22, 31), *range(33, 36), *range(42, 48),
    *(51, 52, 53, 54, 55, 56, 57, 62, 63, 64, 65, 66),
)  # fmt: skip
# The first prefix that fits says which landmarks a weight may move.
_PARTS: tuple[tuple[str, set[int]], ...] = (
    ("brow", _BROWS | _UPPER_LIDS),
    ("noseSneer", _NOSE | _LIPS | {20, 21, 22, 23}),
    ("cheekSquint", _LOWER_LIDS | _LIPS),
    ("eyeLookIn", set()),
    ("eyeLookOut", set()),
    ("eye", _UPPER_LIDS | _LOWER_LIDS),
    ("tongueOut", set()),
    ("mouthSmile", _LIPS | _JAW | _NOSE | _LOWER_LIDS),
    ("", _LIPS | _JAW | _NOSE),
)
