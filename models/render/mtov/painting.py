"""Laying what our variant changes onto pictures of any size.

Stage 5. The networks see small squares. Where they only move the skin, the picture's own pixels
are moved, as sharp as they are; where they paint, the picture's fine detail fades, because it
belongs to what is painted over.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...payloads import Portrait
from ...portrait.affine import sampling_grid
from ...portrait.paste import PasteBack
from .posed import SHIFT, moved

FEATHER = 0.06  # width of the square's soft edge, sides of the square
ROOM = 0.05  # around the lower face, where skin moves along with it, sides of the square
FADES = 0.12, 0.4  # from how much paint, in 0 … 1, fine detail begins to fade, and is gone


class Painter:
    """Lays changes onto pictures like a portrait's; the geometry is worked out once.

    Args:
        portrait: whose crop is the networks' square, and whose mask is kept.
        device: where the work happens.
    """

    def __init__(self, portrait: Portrait, device: torch.device | str = "cpu") -> None:
        self.paste = PasteBack(portrait, feather=FEATHER, device=device)
        self.side = portrait.crop_size
        self.device = torch.device(device)
        grid = sampling_grid(self.paste.affine, self.paste.size, (self.side, self.side))
        self.grid = grid[None].float().to(self.device)
        # Pixels of the square → pixels of the picture.
        self.linear = torch.linalg.inv(self.paste.affine[:2, :2]).float().to(self.device)

    def __call__(self, pictures: Tensor, change: Tensor, shown: Tensor) -> Tensor:
        """Pictures `[b, H, W, 3]` uint8 that hold the pose → what the networks make of them.

        Args:
            pictures: on any device.
            change: `[b, 5, S, S]`, as `PosedAutoencoder.changes` returns it.
            shown: `[b, s, s]` in 0 … 1, how much of each place is taken from the networks.
        """
        result = pictures.to(self.device).clone()
        rows = slice(self.paste.top, self.paste.top + self.paste.size[0])
        columns = slice(self.paste.left, self.paste.left + self.paste.size[1])
        below = result[:, rows, columns].movedim(-1, 1).float() / 255
        share = F.interpolate(shown[:, None].to(change), (self.side, self.side), mode="area")
        room = round(ROOM * self.side)
        share = F.avg_pool2d(F.max_pool2d(share, 4 * room + 1, 1, 2 * room), 2 * room + 1, 1, room)
        layers = self._laid_out(torch.cat([change, share], dim=1))
        share = layers[:, -1:].clamp(0, 1) * self.paste.weight[..., 0]
        shift = torch.einsum("ij,bjhw->bihw", self.linear, layers[:, :SHIFT]) * share
        paint = layers[:, SHIFT:-1] / 2 * share
        painted = self._without_detail(moved(below, shift, "bicubic"), paint) + paint
        result[:, rows, columns] = (painted.clamp(0, 1) * 255).round().byte().movedim(1, -1)
        return result

    def _laid_out(self, layers: Tensor) -> Tensor:
        """Layers of the square `[b, C, S, S]` where they belong in the picture, `[b, C, h, w]`."""
        grid = self.grid.expand(len(layers), -1, -1, -1)
        return F.grid_sample(
            layers.to(self.device).float(),
            grid,
            mode="bicubic",
            padding_mode="border",
            align_corners=False,
        )

    def _without_detail(self, pictures: Tensor, paint: Tensor) -> Tensor:
        """Pictures as coarse as the square is where there is paint, `[b, 3, h, w]`."""
        height, width = pictures.shape[-2:]
        coarseness = float(torch.linalg.det(self.linear).abs().sqrt())  # pixels per square pixel
        if coarseness <= 1:
            return pictures
        small = max(1, round(height / coarseness)), max(1, round(width / coarseness))
        coarse = F.interpolate(pictures, small, mode="area")
        amount = F.interpolate(paint.abs().amax(1, keepdim=True), small, mode="area")
        amount = F.max_pool2d(amount, 3, 1, 1)
        fading = ((amount - FADES[0]) / (FADES[1] - FADES[0])).clamp(0, 1)
        coarse, fading = (
            F.interpolate(layer, (height, width), mode="bicubic") for layer in (coarse, fading)
        )
        return torch.lerp(pictures, coarse, fading.clamp(0, 1))
