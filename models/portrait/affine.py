"""Square crops around a face, as affines, and cutting them out of a picture.

A crop is a 3 × 3 affine from source pixels to crop pixels. Pixel centres lie at integers: a picture
spans −½ … W − ½.
"""

from __future__ import annotations

from math import atan2, cos, sin

import torch
from torch import Tensor
from torch.nn import functional as F

CROP_SIZE = 512  # pixels
CROP_SCALE = 2.3  # side of the crop in face sizes, LivePortrait's default
OVERSAMPLING = 1.5  # how far one sample may stride, pixels: at 1 fine detail blurs, at 2 it aliases


def square_crop(
    landmarks: Tensor, *, scale: float = CROP_SCALE, size: int = CROP_SIZE, upright: bool = True
) -> Tensor:
    """The affine `[3, 3]` float64 from source pixels to a square of `size` pixels around a face.

    Args:
        landmarks: `[68, 2 or 3]`, source pixels.
        scale: side of the square in sizes of the face, which is the larger extent of the landmarks
            when the eyes are level.
        size: side of the crop, pixels.
        upright: turn the crop so that the eyes are level; otherwise it stays parallel to the
            picture.
    """
    points = landmarks[:, :2].double()
    across = points[42:48].mean(0) - points[36:42].mean(0)
    angle = atan2(float(across[1]), float(across[0]))
    level = points.new_tensor([[cos(angle), sin(angle)], [-sin(angle), cos(angle)]])
    turned = points @ level.T
    low, high = turned.amin(0), turned.amax(0)
    extent = float((high - low).max())
    # 68 landmarks end at the brows: a little higher than their middle is the middle of the head.
    centre = level.T @ ((low + high) / 2 - points.new_tensor([0.0, 0.125 * extent]))
    turn = level if upright else torch.eye(2, dtype=torch.float64)
    zoom = size / (scale * extent)
    affine = torch.eye(3, dtype=torch.float64)
    affine[:2, :2] = zoom * turn
    affine[:2, 2] = (size - 1) / 2 - zoom * turn @ centre
    return affine


def extract_crop(image: Tensor, crop: Tensor, size: int) -> Tensor:
    """Cut the square that `crop` describes out of a picture, borders repeated, antialiased.

    Args:
        image: `[H, W, 3]` uint8 or float (0 … 1), on any device.
        crop: `[3, 3]`, source pixels → crop pixels.
        size: side of the crop, pixels.

    Returns:
        `[size, size, 3]` float32 in 0 … 1, on the image's device.
    """
    affine = crop.to(torch.float64)
    region, affine = _around(image, affine, size)
    pixels = region.movedim(-1, 0)[None].float() / (255 if image.dtype == torch.uint8 else 1)
    shrink = 1 / float(torch.linalg.det(affine[:2, :2]).abs().sqrt())
    if shrink > OVERSAMPLING:  # source pixels per crop pixel
        pixels, affine = _reduce(pixels, affine, shrink / OVERSAMPLING)
    height, width = pixels.shape[-2:]
    grid = sampling_grid(torch.linalg.inv(affine), (size, size), (height, width)).to(pixels)
    cut = F.grid_sample(
        pixels, grid[None], mode="bicubic", padding_mode="border", align_corners=False
    )
    return cut[0].movedim(0, -1).clamp(0, 1)


def sampling_grid(affine: Tensor, size: tuple[int, int], source_size: tuple[int, int]) -> Tensor:
    """The grid `[H, W, 2]` float64 that makes `grid_sample` (align_corners=False) apply an affine.

    Args:
        affine: `[3, 3]`, pixels of the result → pixels of the source.
        size: height and width of the result.
        source_size: height and width of the source.
    """
    height, width = source_size
    points = mapped_pixels(affine, size)
    return (2 * points + 1) / points.new_tensor([width, height]) - 1


def mapped_pixels(affine: Tensor, size: tuple[int, int]) -> Tensor:
    """Where `affine` takes the pixels of a picture of `size` (height, width), `[H, W, 2]`."""
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in size), indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)], -1) @ affine[:2].T


def _reduce(pixels: Tensor, affine: Tensor, shrink: float) -> tuple[Tensor, Tensor]:
    """Shrink the picture with antialiasing, so that one sample per crop pixel is enough."""
    height, width = pixels.shape[-2:]
    small = (max(1, round(height / shrink)), max(1, round(width / shrink)))
    reduced = F.interpolate(pixels, small, mode="bicubic", antialias=True, align_corners=False)
    sy, sx = height / small[0], width / small[1]
    restore = torch.tensor(
        [[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]], dtype=torch.float64
    )
    return reduced, affine @ restore


def _around(image: Tensor, affine: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The part of a picture that a crop can see, with a margin, and the affine from that part."""
    ends = affine.new_tensor([[0, 0, 1], [0, size, 1], [size, 0, 1], [size, size, 1]])
    corners = (ends @ torch.linalg.inv(affine).T)[:, :2]
    margin = 8 / float(torch.linalg.det(affine[:2, :2]).abs().sqrt()) + 2
    limit = affine.new_tensor([image.shape[1], image.shape[0]])
    low = (corners.amin(0) - margin).floor().clamp(min=0).minimum(limit - 1)
    high = (corners.amax(0) + margin).ceil().maximum(low + 1).minimum(limit)
    (left, top), (right, bottom) = low.long().tolist(), high.long().tolist()
    shift = torch.eye(3, dtype=torch.float64)
    shift[:2, 2] = low
    return image[top:bottom, left:right], affine @ shift
