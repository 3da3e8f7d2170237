"""What the identity diffusion U-Net is told of the landmarks: where they are, how far they moved.

The mask of the guided noise says where the face moves, too coarsely for lips. Beside it go sharp
marks of the landmarks, where mouth and eyes are open, and how far what surrounds the landmarks has
moved, all in the square of the noise.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...noise.blur import gaussian_blur, mark_points

MARK_KERNEL, MARK_SIGMA = 5, 1.0  # pixels, at any size: as sharp as the square can show
# How far a landmark carries its surroundings, in inter-ocular distances, and with what weight: what
# is close to one moves exactly with it, and the face takes along what is around it.
REACHES = ((0.06, 10.0), (0.2, 0.3), (0.5, 0.02), (1.2, 0.005))
STEADY = 3e-3  # weight of not moving at all
COARSE = 2  # pixels of the square per node of the lattice on which the shift is computed
MOUTH, EYES = slice(60, 68), (slice(36, 42), slice(42, 48))  # outlines of what opens
SAMPLES = 16  # places on each edge of an outline
LANDMARK_CHANNELS = 5  # marks, open mouth, open eyes, shift to the right, shift down


def landmark_marks(points: Tensor, size: int) -> Tensor:
    """Small spots at landmarks `[T, 68, 2]` (pixels of a square of `size`): `[T, size, size]`.

    A lone landmark peaks at about 1.
    """
    marks = gaussian_blur(mark_points(points, size), MARK_KERNEL, MARK_SIGMA)
    return marks * (2 * torch.pi * MARK_SIGMA**2)


def filled(outline: Tensor, size: int) -> Tensor:
    """How much of each pixel lies in outlines `[T, K, 2]`, clockwise: `[T, size, size]` in 0 … 1.

    Nothing does where an outline is turned inside out, as where one lip lies over the other.
    """
    along = torch.arange(SAMPLES, device=outline.device, dtype=outline.dtype).add(0.5) / SAMPLES
    edges = outline.roll(-1, 1) - outline
    x, y = (outline[:, :, None] + along[:, None] * edges[:, :, None]).flatten(1, 2).unbind(-1)
    width = (edges[..., 0] / SAMPLES).repeat_interleave(SAMPLES, 1)  # of the columns it stands for
    area = outline.new_zeros(len(outline), size * size)
    for right in (0, 1):
        for down in (0, 1):
            column, row = x.floor() + right, y.floor() + down
            weight = width * (1 - (x - column).abs()) * (1 - (y - row).abs())
            weight = weight * ((column >= 0) & (column < size) & (row < size))
            index = row.clamp(0, size - 1) * size + column.clamp(0, size - 1)
            area.scatter_add_(1, index.long(), weight)
    rows = torch.arange(size, device=outline.device)
    above = (rows <= y.amax(1, keepdim=True) + 1)[:, :, None]  # below, columns do not add up to 0
    return area.view(-1, size, size).cumsum(1).clamp(0, 1) * above


def landmark_shift(points: Tensor, rest: Tensor, size: int) -> Tensor:
    """How far what is now at each pixel has moved since rest: `[T, 2, size, size]`.

    Right and down, in pixels. Close to a landmark it moves with it, around the face with the whole
    face, and far away hardly.

    Args:
        points: `[T, 68, 2]`, pixels of the square.
        rest: `[68, 2]`, of the portrait itself.
        size: side of the square, pixels.
    """
    count = -(-size // COARSE)
    nodes = (torch.arange(count, device=points.device, dtype=points.dtype) + 0.5) * COARSE - 0.5
    apart = [(nodes - points[..., axis, None]).square() for axis in (0, 1)]
    unit = (rest[45] - rest[36]).norm()
    moved = points - rest
    total = points.new_full((len(points), 1, count, count), STEADY)
    shift = points.new_zeros(len(points), 2, count, count)
    for reach, share in REACHES:
        across, down = (torch.exp(-0.5 * d / (reach * unit).square()) for d in apart)
        total = total + share * torch.einsum("tkx,tky->tyx", across, down)[:, None]
        shift = shift + share * torch.einsum("tkx,tky,tkc->tcyx", across, down, moved)
    return F.interpolate(shift / total, (size, size), mode="bilinear", align_corners=False)


def landmark_channels(points: Tensor, rest: Tensor, size: int) -> Tensor:
    """Marks, open mouth and eyes, and shift together, `[T, 5, size, size]`."""
    mouth = filled(points[:, MOUTH], size)
    eyes = torch.stack([filled(points[:, eye], size) for eye in EYES]).sum(0)
    near = torch.stack([landmark_marks(points, size), mouth, eyes], dim=1)
    return torch.cat([near, landmark_shift(points, rest, size)], dim=1)


def moved_along(pictures: Tensor, shift: Tensor, mode: str = "bilinear") -> Tensor:
    """Pictures `[N, C, H, W]` moved by a shift `[N, 2, H', W']` in its pixels, borders repeated.

    Pictures may be larger than the shift, which is then enlarged.

    Args:
        pictures, shift: see above.
        mode: of looking between pixels, "bilinear" or "bicubic".
    """
    height, width = pictures.shape[-2:]
    unit = 2 / torch.tensor(shift.shape[:-3:-1], device=shift.device)  # in shares of the half side
    if shift.shape[-2:] != (height, width):
        shift = F.interpolate(shift, (height, width), mode="bilinear", align_corners=False)
    y, x = (
        (2 * torch.arange(n, device=shift.device, dtype=shift.dtype) + 1) / n - 1
        for n in (height, width)
    )
    here = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    grid = here - shift.permute(0, 2, 3, 1) * unit
    return F.grid_sample(pictures, grid, mode=mode, padding_mode="border", align_corners=False)
