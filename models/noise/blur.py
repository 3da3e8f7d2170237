"""Marks on a square and their Gaussian blur, the two halves of a guide."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def mark_points(points: Tensor, size: int) -> Tensor:
    """A mark of weight 1 for each point `[T, K, 2]` (x, y in pixels): `[T, size, size]` in 0 … 1.

    A point between pixels is shared among its four neighbours, so that a slow movement does not
    jump. Where points meet, a pixel holds at most 1; points outside the square leave no mark.
    """
    corner = points.floor()
    share = points - corner
    marks = points.new_zeros(len(points), size * size)
    for right in (0, 1):
        for down in (0, 1):
            x, y = corner[..., 0].long() + right, corner[..., 1].long() + down
            across = share[..., 0] if right else 1 - share[..., 0]
            along = share[..., 1] if down else 1 - share[..., 1]
            inside = (x >= 0) & (x < size) & (y >= 0) & (y < size)
            index = y.clamp(0, size - 1) * size + x.clamp(0, size - 1)
            marks.scatter_add_(1, index, across * along * inside)
    return marks.clamp(max=1).view(-1, size, size)


def usual_sigma(kernel: int) -> float:
    """The standard deviation that image libraries take for a kernel of this many pixels."""
    return 0.3 * ((kernel - 1) / 2 - 1) + 0.8


def gaussian_blur(pictures: Tensor, kernel: int, sigma: float) -> Tensor:
    """`[T, H, W]` blurred, the border mirrored.

    Args:
        pictures: on any device.
        kernel: pixels, odd, less than twice the smaller side.
        sigma: standard deviation, pixels.
    """
    reach = kernel // 2
    distance = torch.arange(-reach, reach + 1, device=pictures.device, dtype=torch.float32)
    weights = torch.exp(-0.5 * (distance / sigma).square())
    weights = (weights / weights.sum()).to(pictures)
    padded = F.pad(pictures[:, None], (reach,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, weights[None, None, None]), weights[None, None, :, None])[:, 0]
