"""Frames of one-second segments as the published program of ATL-Diff joins them.

For the reference mode only: 30 frames of landmarks become 32, of 32 pictures 24 are kept, and they
are played at 24 frames per second, whatever the sound does. What our own renderer does instead has
overlapping windows and the frame rate of the timeline.
"""

from __future__ import annotations

import torch
from torch import Tensor

SEGMENT = 32  # frames
KEPT = slice(5, 29)  # of a segment
FPS = 24
FADE = 8  # last frames of a segment that fade …
TOWARDS = 3  # … to this kept frame of the next one


def lengthen(landmarks: Tensor) -> Tensor:
    """30 frames of a second `[30, …]` and the last two of them again: `[32, …]`."""
    return torch.cat([landmarks, landmarks[-2:]])


def assemble(segments: Tensor) -> Tensor:
    """Pictures of segments `[n, 32, …]` one after the other, `[24 n, …]`.

    The last eight frames fade to the fourth kept frame of the next segment, which then begins at
    its first: a jump back that belongs to the published result.
    """
    kept = segments[:, KEPT].clone()
    for back in range(FADE):
        share = 1 / (back + 1)
        fading = kept[:-1, -1 - back]
        kept[:-1, -1 - back] = (1 - share) * fading + share * kept[1:, TOWARDS]
    return kept.flatten(0, 1)
