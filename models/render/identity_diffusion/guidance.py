"""What the identity diffusion U-Net is told of the landmarks: where they are, how far they moved.

The mask of the guided noise says where the face moves, too coarsely for lips. Beside it go sharp
marks of the landmarks, and how far what surrounds them has moved, both in the square of the noise.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...noise.blur import gaussian_blur, mark_points

MARK_KERNEL, MARK_SIGMA = 5, 1.0  # pixels, at any size: as sharp as the square can show
NEAR, FAR = 0.14, 0.9  # how far a landmark carries its surroundings, inter-ocular distances
FAR_SHARE = 0.02  # weight of what is carried far, against 1 for what is near
STEADY = 1e-2  # weight of not moving at all
COARSE = 2  # pixels of the square per node of the lattice on which the shift is computed
UNIT = 0.01  # of the square's side: in what the shift is given
LANDMARK_CHANNELS = 3  # marks, shift to the right, shift down


def landmark_marks(points: Tensor, size: int) -> Tensor:
    """Small spots at landmarks `[T, 68, 2]` (pixels of a square of `size`): `[T, size, size]`.

    A lone landmark peaks at about 1.
    """
    marks = gaussian_blur(mark_points(points, size), MARK_KERNEL, MARK_SIGMA)
    return marks * (2 * torch.pi * MARK_SIGMA**2)


def landmark_shift(points: Tensor, rest: Tensor, size: int) -> Tensor:
    """How far what is now at each pixel has moved since rest: `[T, 2, size, size]`.

    Right and down, in hundredths of the square's side. Close to a landmark it moves with it, around
    the face with the whole face, and far away not at all.

    Args:
        points: `[T, 68, 2]`, pixels of the square.
        rest: `[68, 2]`, of the portrait itself.
        size: side of the square, pixels.
    """
    count = -(-size // COARSE)
    nodes = (torch.arange(count, device=points.device, dtype=points.dtype) + 0.5) * COARSE - 0.5
    apart = [(nodes - points[..., axis, None]).square() for axis in (0, 1)]
    unit = (rest[45] - rest[36]).norm()
    moved = (points - rest) / (UNIT * size)
    total = points.new_full((len(points), 1, count, count), STEADY)
    shift = points.new_zeros(len(points), 2, count, count)
    for reach, share in ((NEAR, 1.0), (FAR, FAR_SHARE)):
        across, down = (torch.exp(-0.5 * d / (reach * unit).square()) for d in apart)
        total = total + share * torch.einsum("tkx,tky->tyx", across, down)[:, None]
        shift = shift + share * torch.einsum("tkx,tky,tkc->tcyx", across, down, moved)
    return F.interpolate(shift / total, (size, size), mode="bilinear", align_corners=False)


def landmark_channels(points: Tensor, rest: Tensor, size: int) -> Tensor:
    """Marks and shift together, `[T, 3, size, size]`."""
    marks = landmark_marks(points, size)[:, None]
    return torch.cat([marks, landmark_shift(points, rest, size)], dim=1)


def moved_along(pictures: Tensor, shift: Tensor) -> Tensor:
    """Pictures `[N, C, H, W]` moved by a shift `[N, 2, H', W']` in that unit, borders repeated.

    Pictures may be larger than the shift, which is then enlarged.
    """
    height, width = pictures.shape[-2:]
    if shift.shape[-2:] != (height, width):
        shift = F.interpolate(shift, (height, width), mode="bilinear", align_corners=False)
    y, x = (
        (2 * torch.arange(n, device=shift.device, dtype=shift.dtype) + 1) / n - 1
        for n in (height, width)
    )
    here = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    grid = here - 2 * UNIT * shift.permute(0, 2, 3, 1)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
