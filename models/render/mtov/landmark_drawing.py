"""Landmarks as MToV is shown them: 68 white discs on black, and frames without their lower half.

Stage 5. Coordinates are cut to whole pixels in the frame and again on the drawing, and a disc has
the pixels that OpenCV's filled circle of radius 3 has, because the published networks learned from
those.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...payloads import PayloadError

DRAWING = 256  # side of the drawing, pixels
DISC = (0, 2, 2, 3, 2, 2, 0)  # how far the rows −3 … 3 of a disc reach to either side, pixels
MARGIN = len(DISC) // 2
NOSE_BASE = 33  # the landmark below which frames are black


def disc_offsets() -> Tensor:
    """The pixels of a disc around its centre, `[29, 2]` int64 (x, y)."""
    rows = [(x, y) for y, reach in enumerate(DISC, start=-MARGIN) for x in range(-reach, reach + 1)]
    return torch.tensor(rows)


def draw_landmarks(
    landmarks: Tensor, side: float = DRAWING, size: int = DRAWING, *, upside_down: bool = False
) -> Tensor:
    """Which pixels of the drawings are white: `[T, size, size]` bool.

    Args:
        landmarks: `[T, K, 2 or more]`, pixels of a square frame; what lies outside is cut off.
        side: of the frame, pixels.
        size: of the drawing, pixels.
        upside_down: turn the finished drawings over, as is done with landmarks whose y points up.

    Raises:
        PayloadError: landmarks of another shape.
    """
    if landmarks.ndim != 3 or landmarks.shape[-1] < 2:
        shape = " × ".join(map(str, landmarks.shape))
        raise PayloadError(f"Landmarks [T, K, 2] are needed for drawing, but {shape} was given.")
    points = landmarks[..., :2].detach().cpu().double().trunc()  # towards zero, as int() does
    centres = (points / side * size).trunc().clamp(-2 * MARGIN, size + 2 * MARGIN).long()
    # A margin on all sides takes what is cut off.
    room = 3 * MARGIN
    canvas = torch.zeros(len(centres), size + 2 * room + 1, size + 2 * room + 1, dtype=torch.bool)
    pixels = centres[:, :, None] + disc_offsets() + room
    frames = torch.arange(len(centres))[:, None, None]
    canvas[frames, pixels[..., 1], pixels[..., 0]] = True
    drawing = canvas[:, room : room + size, room : room + size]
    return drawing.flip(1) if upside_down else drawing.contiguous()


def from_normalised(landmarks: Tensor, side: int = DRAWING) -> Tensor:
    """Landmarks in −1 … 1 as pixels of a frame."""
    return landmarks.double() * side / 2 + side / 2


def drawing_video(drawings: Tensor) -> Tensor:
    """Drawings `[T, H, W]` bool as the networks take them: `[3, T, H, W]` float32, −1 or 1."""
    return (2.0 * drawings.float() - 1.0).expand(3, *drawings.shape)


def first_black_row(landmarks: Tensor, height: int) -> Tensor:
    """The row from which each frame is black: `[T]` int64, at most `height`.

    Args:
        landmarks: `[T, 68, 2 or more]`, pixels of the frames.
        height: of the frames.
    """
    return landmarks[:, NOSE_BASE, 1].detach().cpu().double().trunc().long().clamp(0, height)


def without_lower_half(frames: Tensor, landmarks: Tensor) -> Tensor:
    """Frames `[T, C, H, W]` with black (0) from the nose base of `landmarks [T, 68, 2]` down."""
    height = frames.shape[-2]
    rows = torch.arange(height, device=frames.device)
    kept = rows < first_black_row(landmarks, height).to(frames.device)[:, None]
    return frames * kept[:, None, :, None]
