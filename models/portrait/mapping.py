"""Which of MediaPipe's 478 mesh points stands for which of the 68 landmarks (iBUG order).

Both sets name the same places of a face, except along the cheeks, where iBUG's points slide along the visible outline and
MediaPipe's stay on the skin: there the table takes mesh points that divide the jaw line evenly.
"""

from __future__ import annotations

from torch import Tensor

# Each group from the left to the right of the picture, as iBUG counts.
_JAW = (127, 234, 93, 132, 58, 136, 149, 148, 152, 377, 378, 365, 288, 361, 323, 454, 356)
_BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
_NOSE = (168, 197, 5, 4, 98, 97, 2, 326, 327)
_EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
_OUTER_LIPS = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181)
_INNER_LIPS = (78, 81, 13, 311, 308, 402, 14, 178)

MEDIAPIPE_TO_68 = _JAW + _BROWS + _NOSE + _EYES + _OUTER_LIPS + _INNER_LIPS
"""The mesh point behind landmark i is `MEDIAPIPE_TO_68[i]`."""

MIRROR_68 = (
    *range(16, -1, -1),
    *range(26, 16, -1),
    *range(27, 31),
    *range(35, 30, -1),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
    *(64, 63, 62, 61, 60, 67, 66, 65),
)

"""Landmark i of a mirrored face is landmark `MIRROR_68[i]` of the face."""


def to_68(dense: Tensor) -> Tensor:
    """The 68 landmarks `[..., 68, C]` among mesh points `[..., 478, C]` (468 will do)."""
    return dense[..., list(MEDIAPIPE_TO_68), :]
