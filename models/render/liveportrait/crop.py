"""Where LivePortrait and KDTalker cut the face out of the picture.

Matrices are 3 × 3 float64 and carry pixel coordinates of the picture to those of the crop, pixel
centres at whole numbers, like `Portrait.crop`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...payloads import PayloadError

CROP_SIZE = 512  # pixels that the published generator paints
SCALE, VERTICAL_SHIFT = 2.3, -0.125  # of LivePortrait's source crop
# Landmarks whose means are the eyes (left and right in the picture) and the middle of the lips.
ANCHORS = {
    68: ((36, 39), (42, 45), (48, 54)),
    106: ((33, 35, 40, 39), (87, 89, 94, 93), (52, 61)),
    203: ((0, 6, 12, 18), (24, 30, 36, 42), (48, 66)),
}


@dataclass(frozen=True, kw_only=True)
class FaceRectangle:
    """A rectangle around a face, turned with it; pixels of the picture."""

    centre: tuple[float, float]
    size: float  # side of the square
    angle: float  # radians, clockwise on the screen


def face_rectangle(
    landmarks: Tensor, scale: float = SCALE, vertical_shift: float = VERTICAL_SHIFT
) -> FaceRectangle:
    """The square around all landmarks in the axes of the face, enlarged and shifted.

    Args:
        landmarks: `[68, 106 or 203, 2 or 3]`, pixels.
        scale: side of the square over the larger side of the landmarks' bounding box.
        vertical_shift: of its centre, over its side; negative is towards the forehead.

    Raises:
        PayloadError: another number of landmarks.
    """
    points = landmarks[:, :2].double()
    eyes, lips = _eyes_and_lips(points)
    down = lips - eyes
    length = float(down.norm())
    down = down / length if length > 1e-3 else down.new_tensor([0.0, 1.0])
    axes = torch.stack([torch.stack([down[1], -down[0]]), down])
    turned = (points - points.mean(0)) @ axes.mT
    low, high = turned.amin(0), turned.amax(0)
    size = float((high - low).max()) * scale
    middle = (low + high) / 2 + torch.tensor([0.0, vertical_shift * size])
    centre = points.mean(0) + middle @ axes
    angle = math.copysign(math.acos(max(-1.0, min(1.0, float(axes[0, 0])))), float(axes[0, 1]))
    return FaceRectangle(centre=(float(centre[0]), float(centre[1])), size=size, angle=angle)


def face_crop(
    landmarks: Tensor,
    *,
    size: int = CROP_SIZE,
    scale: float = SCALE,
    vertical_shift: float = VERTICAL_SHIFT,
    rotate: bool = True,
) -> Tensor:
    """LivePortrait's source crop, `[3, 3]`: the face rectangle on a square of `size` pixels."""
    rectangle = face_rectangle(landmarks, scale, vertical_shift)
    factor = size / rectangle.size
    angle = rectangle.angle if rotate else 0.0
    cosine, sine = factor * math.cos(angle), factor * math.sin(angle)
    x, y = rectangle.centre
    rows = (
        (cosine, sine, size / 2 - cosine * x - sine * y),
        (-sine, cosine, size / 2 + sine * x - cosine * y),
        (0.0, 0.0, 1.0),
    )
    return torch.tensor(rows, dtype=torch.float64)


@dataclass(frozen=True, kw_only=True)
class KDTalkerRectangle:
    """What KDTalker cuts: the picture resized, cut to `outer`, and that cut to `inner`."""

    resized: tuple[int, int]  # width, height
    outer: tuple[int, int, int, int]  # x0, y0, x1, y1 in the resized picture
    inner: tuple[float, float, float, float]  # x0, y0, x1, y1 in the outer cut

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1 of what is left, whole pixels of the resized picture."""
        x0, y0, x1, y1 = (int(value) for value in self.inner)
        left, top, right, bottom = self.outer
        return left + x0, top + y0, min(left + x1, right), min(top + y1, bottom)


def kdtalker_rectangle(landmarks: Tensor, height: int, width: int) -> KDTalkerRectangle:
    """The upright rectangle around FFHQ's tilted square, as KDTalker computes it from 68 landmarks.

    In general not square: the published program stretches it. Its lower edge is limited by the
    picture's width, not height, there too.
    """
    centre, x, y = _ffhq_square(landmarks[:, :2].double())
    quad = torch.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])
    side = 2 * float(x.norm())
    shrink = math.floor(side / CROP_SIZE * 0.5)
    if shrink > 1:
        width, height = round(width / shrink), round(height / shrink)
        quad, side = quad / shrink, side / shrink
    resized, border = (width, height), max(round(side * 0.1), 3)
    low, high = quad.amin(0).floor(), quad.amax(0).ceil()
    outer = (
        max(int(low[0]) - border, 0),
        max(int(low[1]) - border, 0),
        min(int(high[0]) + border, width),
        min(int(high[1]) + border, height),
    )
    if outer[2] - outer[0] < width or outer[3] - outer[1] < height:
        quad = quad - torch.tensor(outer[:2], dtype=quad.dtype)
        width = outer[2] - outer[0]
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = (quad + 0.5).tolist()
    inner = (
        max(min(x0, x1), 0.0),
        max(min(y0, y3), 0.0),
        min(max(x2, x3), width),
        min(max(y1, y2), width),
    )
    return KDTalkerRectangle(resized=resized, outer=outer, inner=inner)


def kdtalker_crop(landmarks: Tensor, height: int, width: int, size: int = CROP_SIZE) -> Tensor:
    """KDTalker's crop of a picture, `[3, 3]`; it stretches the rectangle to `size` × `size`."""
    rectangle = kdtalker_rectangle(landmarks, height, width)
    x0, y0, x1, y1 = rectangle.box
    along_x = size / (x1 - x0) * rectangle.resized[0] / width
    along_y = size / (y1 - y0) * rectangle.resized[1] / height
    left, top = size / (x1 - x0) * x0, size / (y1 - y0) * y0
    # Resizing keeps the corners of pixels, not their centres, in place.
    rows = (
        (along_x, 0.0, 0.5 * along_x - left - 0.5),
        (0.0, along_y, 0.5 * along_y - top - 0.5),
        (0.0, 0.0, 1.0),
    )
    return torch.tensor(rows, dtype=torch.float64)


def _eyes_and_lips(points: Tensor) -> tuple[Tensor, Tensor]:
    if len(points) not in ANCHORS:
        raise PayloadError(
            f"A crop needs 68, 106 or 203 landmarks, but {len(points)} were given."
            " Detect the landmarks again."
        )
    left, right, lips = (points[list(indices)].mean(0) for indices in ANCHORS[len(points)])
    return (left + right) / 2, lips


def _ffhq_square(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Centre and half sides of the tilted square of FFHQ (Karras et al. 2019, appendix A)."""
    left_eye, right_eye = points[36:42].mean(0), points[42:48].mean(0)
    eye, eye_to_eye = (left_eye + right_eye) / 2, right_eye - left_eye
    eye_to_mouth = (points[48] + points[54]) / 2 - eye
    quarter_turn = points.new_tensor([-1.0, 1.0])
    x = eye_to_eye - eye_to_mouth.flip(0) * quarter_turn
    x = x / x.norm() * max(2.0 * float(eye_to_eye.norm()), 1.8 * float(eye_to_mouth.norm()))
    return eye + 0.1 * eye_to_mouth, x, x.flip(0) * quarter_turn
