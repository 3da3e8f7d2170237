"""LivePortrait's warping network: keypoints move the feature volume, once per frame.

Source: Guo et al. 2024, section 3.1; the dense motion estimation of face-vid2vid (Wang et al. 2021,
section 3.3) and of the first order motion model. Each keypoint proposes to shift the whole volume
by `kp_source − kp_driving`; an hourglass of 3-D convolutions weighs the proposals at every point.

What depends on the portrait alone is computed once, in `prepare`. Because the proposals are shifts,
they are made with three 1-D interpolations instead of one in three dimensions, and the Gaussians
around keypoints are products of three 1-D ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...folding import StateDict, fold_batch_norms
from . import fourier
from .keypoints import NUM_KEYPOINTS
from .upsampled import UpsampledConv, phase_state
from .winograd import convolve

GAUSSIAN_VARIANCE = 0.01
FEATURES, DEPTH, COMPRESSED = 32, 16, 4
HOURGLASS = (64, 128, 256, 512, 1024)  # widths on the way down
PROPOSALS = NUM_KEYPOINTS + 1  # the first stands for the background: nothing moves
NORMS = (
    (r"dense_motion_network\.norm", "dense_motion_network.compress"),
    (r"(.*)\.norm", r"\1.conv"),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class WarpingSource:
    """What the warping network needs of one portrait."""

    volume: Tensor  # [1, 32, 16, 64, 64] features
    compressed: Tensor  # [1, 4, 16, 64, 64]
    still: Tensor  # [1, 4, 16, 64, 64] the background proposal
    keypoints: Tensor  # [1, 21, 3] float32
    heat: Tensor  # [1, 21, 16, 64, 64] Gaussians around the keypoints


class Hourglass(nn.Module):
    """[B, C, D, H, W] → [B, 32 + C, D, H, W]; H and W are halved and doubled, D stays."""

    def __init__(self, inputs: int, widths: tuple[int, ...], operations: ModuleType | Any = nn):
        super().__init__()
        sizes = (inputs, *widths)
        self.down = nn.ModuleList(
            operations.Conv3d(a, b, 3, padding=1) for a, b in zip(sizes, widths, strict=False)
        )
        outputs = (*widths[-2::-1], widths[0] // 2)
        wide = (widths[-1], *(2 * width for width in outputs[:-1]))
        self.up = nn.ModuleList(
            UpsampledConv(a, b, dims=3, operations=operations)
            for a, b in zip(wide, outputs, strict=True)
        )
        channels = outputs[-1] + inputs
        self.last = operations.Conv3d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Features of proposals at every point of the volume."""
        skips = [x]
        for convolution in self.down:
            skips.append(halve(F.relu(convolve(convolution, skips[-1]))))
        x = skips.pop()
        for convolution in self.up:
            x = torch.cat([convolution(x), skips.pop()], 1)
        return F.relu(convolve(self.last, x))


class WarpingNetwork(nn.Module):
    """feature_3d [B, 32, 16, 64, 64], kp_source, kp_driving [B, 21, 3] → [B, 256, 64, 64]."""

    def __init__(self, operations: ModuleType | Any = nn, hourglass: tuple[int, ...] = HOURGLASS):
        super().__init__()
        channels = PROPOSALS * (1 + COMPRESSED)
        self.compress = operations.Conv3d(FEATURES, COMPRESSED, 1)
        self.hourglass = Hourglass(channels, hourglass, operations)
        channels += hourglass[0] // 2
        self.mask = operations.Conv3d(channels, PROPOSALS, 7, padding=3)
        self.occlusion = operations.Conv2d(channels * DEPTH, 1, 7, padding=3)
        self.third = operations.Conv2d(FEATURES * DEPTH, 256, 3, padding=1)
        self.fourth = operations.Conv2d(256, 256, 1)

    def forward(self, feature_3d: Tensor, kp_source: Tensor, kp_driving: Tensor) -> Tensor:
        """`prepare` and `warp` in one."""
        return self.warp(self.prepare(feature_3d, kp_source), kp_driving)

    def prepare(self, feature_3d: Tensor, kp_source: Tensor) -> WarpingSource:
        """What stays the same for every frame of a portrait."""
        compressed = F.relu(self.compress(feature_3d))
        shift = kp_source.new_zeros(len(kp_source), 1, 3, dtype=torch.float32)
        return WarpingSource(
            volume=feature_3d,
            compressed=compressed,
            still=shift_volume(compressed, shift)[:, 0],
            keypoints=kp_source.float(),
            heat=gaussians(kp_source.float(), compressed.shape[2:]).to(feature_3d),
        )

    def warp(self, source: WarpingSource, kp_driving: Tensor) -> Tensor:
        """The features as the driving keypoints `[B, 21, 3]` arrange them, `[B, 256, H, W]`."""
        deformation, occlusion = self.motion_field(source, kp_driving)
        volume = source.volume.expand(len(kp_driving), -1, -1, -1, -1)
        # Coordinates in float32: half precision has 1/16 of a voxel left at the rim.
        moved = F.grid_sample(volume.float(), deformation, align_corners=False).to(volume.dtype)
        x = moved.flatten(1, 2).contiguous(memory_format=torch.channels_last)
        x = F.leaky_relu(convolve(self.third, x), 0.01)
        return self.fourth(x) * occlusion

    def motion_field(self, source: WarpingSource, kp_driving: Tensor) -> tuple[Tensor, Tensor]:
        """Where each voxel comes from, `[B, D, H, W, 3]` float32 as `grid_sample` wants it, and
        how much of each pixel can be seen, `[B, 1, H, W]`."""
        kp_driving = kp_driving.float()
        shift = source.keypoints - kp_driving
        x = self.hourglass(self._proposals(source, kp_driving, shift))
        mask = fourier.convolve(self.mask, x).float().softmax(1)
        grid = identity_grid(mask.shape[2:], mask.device)
        # The masks add up to one, so the mixture of shifted grids is the grid plus mixed shifts.
        shifts = torch.einsum("bkdhw,bkc->bdhwc", mask[:, 1:], shift.expand(len(mask), -1, -1))
        return grid + shifts, self.occlusion(x.flatten(1, 2)).sigmoid()

    def _proposals(self, source: WarpingSource, kp_driving: Tensor, shift: Tensor) -> Tensor:
        """Per proposal a heat map and the shifted features, `[B, 22 · 5, D, H, W]`."""
        depth, height, width = size = source.compressed.shape[2:]
        batch = len(kp_driving)
        shape = (batch, depth, height, width, PROPOSALS, 1 + COMPRESSED)
        x = source.compressed.new_empty(shape)
        x[..., 0, 0] = 0
        x[..., 0, 1:] = source.still.movedim(1, -1)
        heat = gaussians(kp_driving, size).to(source.heat) - source.heat
        x[..., 1:, 0] = heat.movedim(1, -1)
        shifted = shift_volume(source.compressed.expand(batch, -1, -1, -1, -1), shift)
        x[..., 1:, 1:] = shifted.permute(0, 3, 4, 5, 1, 2)
        return x.flatten(-2).movedim(-1, 1)


def halve(x: Tensor) -> Tensor:
    """Means of 2 × 2 pixels of `[…, H, W]`, in any precision on any device."""
    rows = x[..., ::2, :] + x[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) / 4


def identity_grid(size: torch.Size | tuple[int, ...], device: torch.device) -> Tensor:
    """Coordinates (x, y, z) of every voxel of a `[D, H, W]` volume, −1 … 1, `[D, H, W, 3]`."""
    z, y, x = torch.meshgrid(*(_axis(n, device) for n in size), indexing="ij")
    return torch.stack([x, y, z], -1)


def gaussians(keypoints: Tensor, size: torch.Size | tuple[int, ...]) -> Tensor:
    """`exp(−½ |g − kp|² / 0.01)` around keypoints `[B, K, 3]` in a volume, `[B, K, D, H, W]`."""
    bells = []
    for column, n in zip((2, 1, 0), size, strict=True):
        distance = _axis(n, keypoints.device) - keypoints[..., column, None]
        bells.append(torch.exp(-0.5 / GAUSSIAN_VARIANCE * distance.square()))
    depth, height, width = bells
    plane = height[..., :, None] * width[..., None, :]
    return depth[..., None, None] * plane[..., None, :, :]


def shift_volume(volume: Tensor, shift: Tensor) -> Tensor:
    """A volume `[B, C, D, H, W]` read at shifted coordinates, for each of `shift` `[B, K, 3]`:
    `[B, K, C, D, H, W]`.

    The same as trilinear `grid_sample(align_corners=False)` with zeros outside on the grid of
    `identity_grid`. That grid belongs to `align_corners=True`: the published weights were trained
    with the mismatch, so even no shift resamples a little.
    """
    depth, height, width = volume.shape[2:]
    along_x, along_y, along_z = (
        _interpolation(n, shift[..., column]).to(volume)
        for column, n in enumerate((width, height, depth))
    )
    x = volume.flatten(1, 3)[:, None]
    x = (x @ along_x.mT).unflatten(2, (-1, height))  # [B, K, C·D, H, W]
    x = along_y[:, :, None] @ x
    x = x.unflatten(2, (-1, depth)).flatten(-2)  # [B, K, C, D, H·W]
    return (along_z[:, :, None] @ x).unflatten(-1, (height, width))


def _interpolation(n: int, shift: Tensor) -> Tensor:
    """Matrices that read n samples linearly at shifted positions, `[…]` → `[…, n, n]`."""
    index = torch.arange(n, device=shift.device, dtype=shift.dtype)
    position = index * (n / (n - 1)) - 0.5 + shift[..., None] * (n / 2)
    return (1 - (position[..., None] - index).abs()).clamp_min(0)


def _axis(n: int, device: torch.device) -> Tensor:
    return torch.arange(n, device=device, dtype=torch.float32) * (2 / (n - 1)) - 1


def prepare(state: StateDict) -> StateDict:
    """Published weights with folded batch norms and the hourglass's way up split into phases."""
    folded = fold_batch_norms(state, NORMS)
    decoder = "dense_motion_network.hourglass.decoder.up_blocks"
    for index in range(len(HOURGLASS)):
        folded.update(phase_state(folded, f"{decoder}.{index}.conv", f"{decoder}.{index}"))
    return folded


def build(state: StateDict, metadata: dict[str, str], operations: ModuleType | Any) -> nn.Module:
    """The empty network."""
    return WarpingNetwork(operations)
