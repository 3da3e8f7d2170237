"""Displacement fields on a lattice: interpolation from landmarks, inversion, folds, and enlargement to pixels.

A warp is computed on a coarse lattice of whole-pixel cells and enlarged, so its cost hardly grows with the picture.
Coordinates are source pixels, pixel centres on whole numbers. Fields are channel-first, `[2, rows, columns]`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

NEWTON_STEPS = 4  # from any start within a cell of the truth the error falls below 0.01 pixel


@dataclass(frozen=True)
class Lattice:
    """Nodes at `(x0 + i · cell, y0 + j · cell)`; may reach beyond the picture."""

    x0: int
    y0: int
    cell: int  # pixels
    columns: int
    rows: int

    @classmethod
    def around(cls, box: tuple[float, float, float, float], cells: int) -> Lattice:
        """The lattice that covers `box` (x0, y0, x1, y1 in pixels) with at most `cells` cells along its longer side."""
        width, height = box[2] - box[0], box[3] - box[1]
        cell = max(1, -int(-max(width, height) // cells))
        columns, rows = (int(side // cell) + 2 for side in (width, height))
        return cls(int(box[0] // 1), int(box[1] // 1), cell, columns, rows)

    def nodes(self, device: torch.device | str = "cpu") -> Tensor:
        """Where the nodes are, `[2, rows, columns]`."""
        x = self.x0 + self.cell * torch.arange(self.columns, device=device, dtype=torch.float32)
        y = self.y0 + self.cell * torch.arange(self.rows, device=device, dtype=torch.float32)
        return torch.stack(torch.meshgrid(x, y, indexing="xy"))

    def window(self, box: tuple[float, float, float, float]) -> Lattice:
        """The part of this lattice whose cells touch `box`; at least one cell."""
        left, top = ((box[i] - (self.x0, self.y0)[i]) // self.cell for i in (0, 1))
        right, bottom = (-((box[i + 2] - (self.x0, self.y0)[i]) // -self.cell) for i in (0, 1))
        left = int(min(max(left, 0), self.columns - 2))
        top = int(min(max(top, 0), self.rows - 2))
        right = int(min(max(right, left + 1), self.columns - 1))
        bottom = int(min(max(bottom, top + 1), self.rows - 1))
        return Lattice(
            self.x0 + left * self.cell,
            self.y0 + top * self.cell,
            self.cell,
            right - left + 1,
            bottom - top + 1,
        )

    def slices(self, part: Lattice) -> tuple[slice, slice]:
        """Rows and columns of this lattice that `part`, a window of it, covers."""
        top, left = (part.y0 - self.y0) // self.cell, (part.x0 - self.x0) // self.cell
        return slice(top, top + part.rows), slice(left, left + part.columns)

    @property
    def pixels(self) -> tuple[int, int]:
        """Height and width of the pixel rectangle from the first node to the last, both included."""
        return (self.rows - 1) * self.cell + 1, (self.columns - 1) * self.cell + 1

    def normalise(self, points: Tensor) -> Tensor:
        """Pixel coordinates `[…, 2, rows, columns]` as the -1 … 1 that `grid_sample` wants over this lattice."""
        origin = points.new_tensor([self.x0, self.y0]).view(2, 1, 1)
        extent = points.new_tensor([self.columns - 1, self.rows - 1]).view(2, 1, 1) * self.cell
        return (points - origin) * (2 / extent) - 1

    def read(self, fields: Tensor, points: Tensor) -> Tensor:
        """Bilinear values of `fields [B, C, rows, columns]` at pixel coordinates `[B, 2, h, w]`."""
        grid = self.normalise(points).permute(0, 2, 3, 1)
        return F.grid_sample(fields, grid, padding_mode="border", align_corners=True)


def landmark_interpolator(
    centres: Tensor, points: Tensor, *, radius: float, ridge: float = 1e-3
) -> Tensor:
    """The matrix `[N, K]` that spreads values at `centres [K, 2]` smoothly over `points [N, 2]`.

    Wendland's C² kernel of compact support (Wendland 1995): exact at the centres but for the ridge, zero beyond
    `radius` of all of them. Work in inter-ocular units.
    """

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        r = (torch.cdist(a, b) / radius).clamp(max=1)
        return (1 - r) ** 4 * (4 * r + 1)

    centres, points = centres.double(), points.double()
    gram = kernel(centres, centres) + ridge * torch.eye(
        len(centres), dtype=torch.float64, device=centres.device
    )
    return torch.linalg.solve(gram, kernel(points, centres).T).T.float()


def jacobian(positions: Tensor, cell: float) -> Tensor:
    """Derivatives `[B, 4, rows, columns]` of maps `[B, 2, rows, columns]`: dx/dx, dx/dy, dy/dx, dy/dy."""
    padded = F.pad(positions, (1, 1, 1, 1), mode="replicate")
    along_x = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    along_y = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    along_x[..., 1:-1] *= 0.5  # central differences inside, one-sided at the rim
    along_y[:, :, 1:-1] *= 0.5
    both = torch.stack((along_x, along_y), dim=2) / cell
    return both.flatten(1, 2)


def determinant(derivatives: Tensor) -> Tensor:
    """Determinant `[B, rows, columns]` of what `jacobian` returns; a fold is where it is not positive."""
    xx, xy, yx, yy = derivatives.unbind(1)
    return xx * yy - xy * yx


def invert(lattice: Lattice, nodes: Tensor, moved: Tensor) -> Tensor:
    """Where the nodes come from: the inverse of the maps `moved [B, 2, rows, columns]`, in pixels, by Newton steps.

    A step is kept within two cells, so that nodes outside every image of the map come to rest at its edge.
    """
    forward = torch.cat((moved - nodes, jacobian(moved, lattice.cell)), dim=1)
    found = nodes - (moved - nodes)
    limit = 4.0 * lattice.cell
    for _ in range(NEWTON_STEPS):
        values = lattice.read(forward, found)
        error = found + values[:, :2] - nodes
        xx, xy, yx, yy = values[:, 2:].unbind(1)
        scale = 1 / (xx * yy - xy * yx).clamp(min=0.1)
        step_x = (yy * error[:, 0] - xy * error[:, 1]) * scale
        step_y = (xx * error[:, 1] - yx * error[:, 0]) * scale
        found = found - torch.stack((step_x, step_y), dim=1).clamp(-limit, limit)
    return found


def enlarge(field: Tensor, lattice: Lattice) -> Tensor:
    """A field `[C, rows, columns]` at every pixel between the first and the last node, `[1, C, height, width]`."""
    return F.interpolate(field[None], size=lattice.pixels, mode="bilinear", align_corners=True)
