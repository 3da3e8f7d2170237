"""Displacement fields on a lattice: interpolation from landmarks, inversion, folds, and enlargement
to pixels.

A warp is computed on a coarse lattice of whole-pixel cells and enlarged, so its cost hardly grows
with the picture. Coordinates are source pixels, pixel centres on whole numbers. Fields are channel-
first, `[2, rows, columns]`.
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
    def around(cls, box: tuple[float, float, float, float], cell: int) -> Lattice:
        """The lattice that covers `box` (x0, y0, x1, y1 in pixels)."""
        columns, rows = (int((box[i + 2] - box[i]) // cell) + 2 for i in (0, 1))
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
        """Height and width of the rectangle of pixels from the first node to the last, included."""
        return (self.rows - 1) * self.cell + 1, (self.columns - 1) * self.cell + 1

    def normalise(self, points: Tensor) -> Tensor:
        """Pixel coordinates `[…, 2, rows, columns]` as the -1 … 1 that `grid_sample` wants over
        this lattice.
        """
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

    Wendland's C² kernel of compact support (Wendland 1995): exact at the centres but for the ridge,
    zero beyond `radius` of all of them. Work in inter-ocular units.
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
    """Derivatives `[B, 4, rows, columns]` of maps `[B, 2, rows, columns]`: dx/dx, dx/dy, dy/dx,
    dy/dy.
    """
    both = positions.new_empty(len(positions), 2, 2, *positions.shape[2:])
    for along, out in ((3, both[:, :, 0]), (2, both[:, :, 1])):
        last = positions.shape[along] - 1
        between = out.narrow(along, 1, last - 1)
        torch.sub(
            positions.narrow(along, 2, last - 1), positions.narrow(along, 0, last - 1), out=between
        )
        between *= 0.5  # central differences inside, one-sided at the rim
        out.select(along, 0).copy_(positions.select(along, 1) - positions.select(along, 0))
        out.select(along, last).copy_(
            positions.select(along, last) - positions.select(along, last - 1)
        )
    return (both / cell).flatten(1, 2)


def determinant(derivatives: Tensor) -> Tensor:
    """Determinant `[B, rows, columns]` of what `jacobian` returns; a fold is where it is not
    positive.
    """
    xx, xy, yx, yy = derivatives.unbind(1)
    return xx * yy - xy * yx


def invert(lattice: Lattice, nodes: Tensor, moved: Tensor, part: Lattice) -> Tensor:
    """Where nodes come from: the inverse of the maps `moved [B, 2, rows, columns]`, by Newton.

    A step is kept within four cells, so that nodes outside every image of the map come to rest at
    its edge.

    Args:
        lattice: the map's.
        nodes: `[2, rows, columns]`, its nodes.
        moved: where they go, source pixels.
        part: a window of the lattice, whose nodes are wanted.

    Returns:
        `[B, 2, part.rows, part.columns]` source pixels.
    """
    forward = torch.cat((moved - nodes, jacobian(moved, lattice.cell)), dim=1)
    rows, columns = lattice.slices(part)
    wanted = nodes[:, rows, columns]
    found = wanted - forward[:, :2, rows, columns]
    limit = 4.0 * lattice.cell
    for _ in range(NEWTON_STEPS):
        values = lattice.read(forward, found)
        error = found + values[:, :2] - wanted
        xx, xy, yx, yy = values[:, 2:].unbind(1)
        scale = 1 / (xx * yy - xy * yx).clamp(min=0.05)
        step_x = (yy * error[:, 0] - xy * error[:, 1]) * scale
        step_y = (xx * error[:, 1] - yx * error[:, 0]) * scale
        found = found - torch.stack((step_x, step_y), dim=1).clamp(-limit, limit)
    return found


def enlarge(field: Tensor, lattice: Lattice) -> Tensor:
    """A field `[C, rows, columns]` at every pixel between the first and the last node, `[1, C,
    height, width]`.
    """
    return F.interpolate(field[None], size=lattice.pixels, mode="bilinear", align_corners=True)
