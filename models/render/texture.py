"""The portrait as a texture: the part of the picture that can move.

Small pictures are doubled in size by interpolation, because sampling between pixels softens a
picture by an amount that changes with every frame, and a face that keeps going soft and sharp
shimmers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

DOUBLE_UP_TO = 800 * 800  # pixels; larger pictures are fine enough as they are


@dataclass(frozen=True, eq=False)
class Texture:
    """Pixels `[1, 3, h, w]`, 0 … 255, whose first and last pixel centres lie at whole source
    pixels.
    """

    pixels: Tensor
    x0: int
    y0: int
    scale: int  # texture pixels per source pixel

    @classmethod
    def cut(
        cls, image: Tensor, box: tuple[int, int, int, int], device: torch.device | str
    ) -> Texture:
        """The part `box` (x0, y0, x1, y1, both ends included) of `image [H, W, 3]` uint8."""
        x0, y0, x1, y1 = box
        part = image[y0 : y1 + 1, x0 : x1 + 1].permute(2, 0, 1)[None].to(device, torch.float32)
        if part.shape[-1] * part.shape[-2] > DOUBLE_UP_TO:
            return cls(part.contiguous(), x0, y0, 1)
        return cls(_double(part).clamp(0, 255), x0, y0, 2)

    def normalise(self, points: Tensor) -> Tensor:
        """Source pixels `[2, …]` as the -1 … 1 that `grid_sample` wants over this texture."""
        height, width = self.pixels.shape[-2:]
        extent = points.new_tensor([width - 1, height - 1]) / self.scale
        origin = points.new_tensor([self.x0, self.y0])
        shape = (2, *[1] * (points.ndim - 1))
        return (points - origin.view(shape)) * (2 / extent).view(shape) - 1

    def sample(self, grid: Tensor) -> Tensor:
        """Colours `[3, h, w]` at normalised positions `[2, h, w]`."""
        where = grid.permute(1, 2, 0)[None]
        return F.grid_sample(self.pixels, where, padding_mode="border", align_corners=True)[0]

    def patch(self, box: tuple[float, float, float, float]) -> tuple[slice, slice]:
        """Rows and columns of the texture that cover `box` (x0, y0, x1, y1 in source pixels)."""
        height, width = self.pixels.shape[-2:]
        left = max(0, int((box[0] - self.x0) * self.scale))
        top = max(0, int((box[1] - self.y0) * self.scale))
        right = min(width, int((box[2] - self.x0) * self.scale) + 2)
        bottom = min(height, int((box[3] - self.y0) * self.scale) + 2)
        return slice(top, max(bottom, top + 2)), slice(left, max(right, left + 2))

    def points(self, rows: slice, columns: slice) -> Tensor:
        """Source pixels `[2, h, w]` of texture pixels."""
        device = self.pixels.device
        x = self.x0 + torch.arange(columns.start, columns.stop, device=device) / self.scale
        y = self.y0 + torch.arange(rows.start, rows.stop, device=device) / self.scale
        return torch.stack(torch.meshgrid(x, y, indexing="xy"))

    def paste(self, rows: slice, columns: slice, colours: Tensor) -> None:
        """Replace a rectangle by `colours [3, h, w]`, in place."""
        self.pixels[0, :, rows, columns] = colours


def _double(part: Tensor) -> Tensor:
    """Twice the resolution by six-point interpolation; the pixels stay exactly what they are."""
    for dim in (2, 3):
        size = part.shape[dim]
        index = torch.arange(-2, size + 2, device=part.device).clamp(0, size - 1)
        padded = part.index_select(dim, index)
        a, b, c, d, e, f = (padded.narrow(dim, k, size - 1) for k in range(6))
        between = (150 * (c + d) - 25 * (b + e) + 3 * (a + f)) / 256
        shape = list(part.shape)
        shape[dim] = 2 * size - 1
        doubled = part.new_empty(shape)
        doubled[(slice(None),) * dim + (slice(0, None, 2),)] = part
        doubled[(slice(None),) * dim + (slice(1, None, 2),)] = between
        part = doubled
    return part.contiguous()
