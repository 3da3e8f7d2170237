"""The two ways to name the points of a face: iBUG's 68 and MediaPipe's 478.

iBUG's 68 (Sagonas et al. 2013) are what the field's models speak; MediaPipe's mesh is what most
detectors give and renderers want. "Right" and "left" are the person's own: the right eye is on the
left of the picture.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

ASSETS = Path(__file__).resolve().parents[2] / "assets"

JAW = tuple(range(17))  # from the right ear over the chin (8) to the left ear
RIGHT_BROW = tuple(range(17, 22))
LEFT_BROW = tuple(range(22, 27))
NOSE_BRIDGE = tuple(range(27, 31))  # from between the eyes to the tip (30)
NOSE_BASE = tuple(range(31, 36))
RIGHT_EYE = tuple(range(36, 42))  # outer corner, two above, inner corner, two below
LEFT_EYE = tuple(range(42, 48))  # inner corner, two above, outer corner, two below
OUTER_LIPS = tuple(range(48, 60))  # right corner (48), upper edge, left corner (54), lower edge
INNER_LIPS = tuple(range(60, 68))  # right corner (60), upper edge, left corner (64), lower edge
REGIONS = {
    "jaw": JAW,
    "right_brow": RIGHT_BROW,
    "left_brow": LEFT_BROW,
    "nose": NOSE_BRIDGE + NOSE_BASE,
    "right_eye": RIGHT_EYE,
    "left_eye": LEFT_EYE,
    "outer_lips": OUTER_LIPS,
    "inner_lips": INNER_LIPS,
}

# For each of the 68 the vertex of the mesh that lies closest to where iBUG's annotators put it: on
# lips and lids as far along the contour as in iBUG's mean shape, on the jaw at even steps (there
# iBUG's points slide along the visible outline, while the mesh stays on the skin). Symmetric.
# fmt: off
MEDIAPIPE_TO_68 = (
    127, 234, 132, 58, 172, 136, 150, 176, 152, 400, 379, 365, 397, 288, 361, 454, 356,  # jaw
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,  # brows
    168, 197, 5, 4, 98, 97, 2, 326, 327,  # nose
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,  # eyes
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,  # outer lips
    78, 82, 13, 312, 308, 317, 14, 87,  # inner lips
)
MIRROR_68 = (
    16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0,
    26, 25, 24, 23, 22, 21, 20, 19, 18, 17,
    27, 28, 29, 30, 35, 34, 33, 32, 31,
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55,
    64, 63, 62, 61, 60, 67, 66, 65,
)
# fmt: on
"""Landmark i of a mirrored face is landmark `MIRROR_68[i]` of the face."""


def to_68(dense: Tensor) -> Tensor:
    """The 68 landmarks `[..., 68, C]` among mesh points `[..., 478, C]` (468 will do)."""
    return dense[..., list(MEDIAPIPE_TO_68), :]


def mean_face() -> Tensor:
    """The mean neutral face as a mesh, `[478, 3]` float32: frontal, symmetric, lips closed.

    Axes x right, y down, z away; the unit is the inter-ocular distance and the origin lies midway
    between the outer eye corners. `assets/mean_face.json` says what it is the mean of.
    """
    return _mean_face()[0].clone()


def mean_landmarks() -> Tensor:
    """The mean neutral face as 68 landmarks, `[68, 3]` float32, in the frame of `mean_face`."""
    return to_68(_mean_face()[0])


def open_face() -> Tensor:
    """The mean face with mouth and eyes wide open, `[478, 3]`, in the frame of `mean_face`."""
    return _mean_face()[2].clone()


def mirror_478() -> Tensor:
    """For each point of the mesh the index of the one across the face, `[478]` int64."""
    return _mean_face()[1].clone()


@cache
def _mean_face() -> tuple[Tensor, Tensor, Tensor]:
    stored = json.loads((ASSETS / "mean_face.json").read_text(encoding="utf-8"))
    closed, opened = (torch.tensor(stored[name]).float() for name in ("points", "open"))
    return closed, torch.tensor(stored["mirror"]), opened
