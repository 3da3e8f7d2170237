"""Putting rendered squares back into the picture they were cut from, with a feathered edge.

Where the feather has faded to nothing, and where the portrait's mask is 0, the picture's own pixels
come out bit by bit.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..payloads import PayloadError, Portrait
from .affine import OVERSAMPLING, mapped_pixels, sampling_grid

FEATHER = 0.12  # width of the soft edge, sides of the square


class PasteBack:
    """Pastes batches of frames into one portrait's picture; the geometry is worked out once.

    Args:
        portrait: whose picture, crop and mask are used.
        feather: width of the soft edge in sides of the square, 0 (hard) to 0.5.
        device: where the work happens.

    Raises:
        PayloadError: a feather outside 0 … 0.5.
    """

    def __init__(
        self,
        portrait: Portrait,
        *,
        feather: float = FEATHER,
        device: torch.device | str = "cpu",
    ) -> None:
        if not 0 <= feather <= 0.5:
            raise PayloadError(f"The feather is {feather} of the square; 0 to 0.5 are possible.")
        self.portrait = portrait
        self.image = portrait.image.to(device)
        self.top, self.left, bottom, right = _covered(portrait)
        self.size = (bottom - self.top, right - self.left)
        shift = torch.eye(3, dtype=torch.float64)
        shift[0, 2], shift[1, 2] = self.left, self.top
        self.affine = portrait.crop @ shift  # pixels of the covered part → crop pixels
        weight = _fade(self.affine, self.size, portrait.crop_size, feather)
        if portrait.mask is not None:
            weight = weight * portrait.mask[self.top : bottom, self.left : right]
        self.weight = weight[..., None].to(device)

    def __call__(
        self, frames: Tensor, *, ground: Tensor | None = None, shown: Tensor | None = None
    ) -> Tensor:
        """Frames `[b, S, S, 3]`, uint8 or float in 0 … 1 → pictures `[b, H, W, 3]` of that type.

        S may differ from the portrait's crop size; the frames then cover the same square.

        Args:
            frames: what to paste.
            ground: `[b, H, W, 3]` of the frames' type, pasted into instead of the portrait.
            shown: `[b, S, S]` in 0 … 1, how much of each pixel of the frames is pasted.

        Raises:
            PayloadError: frames of another shape.
        """
        if frames.ndim != 4 or frames.shape[1] != frames.shape[2] or frames.shape[3] != 3:
            shape = " × ".join(map(str, frames.shape))
            raise PayloadError(f"Square colour frames [b, S, S, 3] are needed, not {shape}.")
        whole = frames.dtype == torch.uint8
        if ground is None:
            ground = self.image if whole else self.image.float() / 255
        result = ground.to(self.image.device).expand(len(frames), *self.image.shape).clone()
        rows = slice(self.top, self.top + self.size[0])
        columns = slice(self.left, self.left + self.size[1])
        below = result[:, rows, columns].float() / (255 if whole else 1)
        weight = self.weight
        if shown is not None:
            weight = weight * self._laid_out(shown[..., None].float())
        blended = torch.lerp(below, self._laid_out(frames), weight)
        if whole:
            blended = (blended * 255).round().to(torch.uint8)
        result[:, rows, columns] = blended
        return result.to(frames.dtype)

    def _laid_out(self, frames: Tensor) -> Tensor:
        """Frames `[b, S, S, C]` where they belong in the covered part, `[b, h, w, C]` in 0 … 1."""
        pixels = frames.to(self.image.device).movedim(-1, 1).float()
        if frames.dtype == torch.uint8:
            pixels = pixels / 255
        side = frames.shape[1]
        affine = _resized(self.affine, self.portrait.crop_size, side)
        shrink = float(torch.linalg.det(affine[:2, :2]).abs().sqrt())  # frame pixels per pixel
        if shrink > OVERSAMPLING:
            small = max(1, round(side * OVERSAMPLING / shrink))
            pixels = F.interpolate(pixels, (small, small), mode="bicubic", antialias=True)
            affine, side = _resized(affine, side, small), small
        grid = sampling_grid(affine, self.size, (side, side)).to(pixels)
        grid = grid.expand(len(pixels), *grid.shape)
        laid = F.grid_sample(
            pixels, grid, mode="bicubic", padding_mode="border", align_corners=False
        )
        return laid.movedim(1, -1).clamp(0, 1)


def paste_back(frames: Tensor, portrait: Portrait, *, feather: float = FEATHER) -> Tensor:
    """`PasteBack` for one batch, on the device of `frames`: `[b, S, S, 3]` → `[b, H, W, 3]`."""
    return PasteBack(portrait, feather=feather, device=frames.device)(frames)


def _covered(portrait: Portrait) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of the part of the picture under the crop; at least one pixel."""
    low, high = -0.5, portrait.crop_size - 0.5
    ends = [[low, low, 1], [low, high, 1], [high, low, 1], [high, high, 1]]
    corners = (portrait.crop.new_tensor(ends) @ torch.linalg.inv(portrait.crop).T)[:, :2]
    height, width = portrait.size
    limit = corners.new_tensor([width, height])
    start = corners.amin(0).floor().clamp(min=0).minimum(limit - 1)
    stop = (corners.amax(0).ceil() + 1).maximum(start + 1).minimum(limit)
    (left, top), (right, bottom) = start.long().tolist(), stop.long().tolist()
    return top, left, bottom, right


def _fade(affine: Tensor, size: tuple[int, int], side: int, feather: float) -> Tensor:
    """Weight of the square per pixel, `[h, w]`: 1 inside, a smooth step to 0 at its edge."""
    from_centre = (mapped_pixels(affine, size) - (side - 1) / 2).abs().amax(-1)
    to_edge = 0.5 - from_centre / side  # sides of the square
    ramp = (to_edge / max(feather, 1e-9)).clamp(0, 1)
    return (ramp.square() * (3 - 2 * ramp)).float()


def _resized(affine: Tensor, side: int, new_side: int) -> Tensor:
    """The affine whose target square of `side` pixels now has `new_side`."""
    factor = new_side / side
    scale = torch.diag(affine.new_tensor([factor, factor, 1.0]))
    scale[:2, 2] = (factor - 1) / 2
    return scale @ affine
