"""Our variant of the tri-plane autoencoder: it sees the frames that hold the pose.

Stage 5. The published decoder paints whole squares, so that skin and background are no sharper than
the square. Here the planes say how the frames that hold the pose are to change: where each pixel of
the lower face is taken from, and what is painted over it, the inside of the mouth for example. Both
can be laid onto frames of any size (`painting.py`), and a network that changes nothing shows the
frames as they are. The encoder is shown how a video and its drawn landmarks differ from those
frames and theirs, so that the planes hold what is said and little else.

Shapes as in `autoencoder.py`. A change is [B · T, 5, H, W]: two channels of shift, pixels of the
square, towards where a pixel is taken from (x, y); three of paint, added in −1 … 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ...checkpoints import config_of
from ...payloads import PayloadError
from . import autoencoder
from .autoencoder import AutoencoderConfig, TriplaneAutoencoder

SHIFT = 2  # channels of shift, before those of paint
SHIFTED = 8.0  # pixels of shift for each 1 that the network says
PAINTED = 4.0  # of paint, likewise
DIFFERENCE = 4.0  # factor on what differs from the pose, which is little


@dataclass(frozen=True, kw_only=True)
class PosedConfig(AutoencoderConfig):
    """The bundled model."""

    side: int = 8
    patch: int = 12
    channels: int = 80
    depth: int = 2
    decoder_depth: int = 2
    heads: int = 4
    head_channels: int = 20
    hidden: int = 160
    linear_fold: bool = True
    detail: int = 16  # channels of the convolutions behind the patches
    crop_scale: float = 1.15  # of the square, sizes of the face
    crop_shift: float = 0.25  # how much lower than usual the square lies, sizes of the face


class PosedAutoencoder(TriplaneAutoencoder):
    """Windows of video as three planes; back with the help of frames that hold the pose.

    forward: video, pose [B, 3, T, H, W] in −1 … 1, marks [B, 1, T, H, W] -> the latent [B, 4, n]
    and the change [B · T, 5, H, W] from pose to video; without a pose the video is its own
    """

    config: PosedConfig

    def __init__(self, config: PosedConfig, operations: ModuleType | Any = nn):
        super().__init__(config, operations)
        detail = config.detail
        self.pose_in = operations.Linear(3 * config.patch**2, config.channels)
        self.marks_in = operations.Linear(config.patch**2, config.channels)
        self.pose_out = operations.Linear(3 * config.patch**2, config.channels)
        # Convolutions see two by two pixels as one with four times the channels, which is faster.
        half = config.patch // 2
        self.pixels = operations.ConvTranspose2d(config.channels, detail, half, half)
        self.mixed = operations.Conv2d(detail + 4 * (3 + 1), detail, 3, padding=1)
        self.refined = operations.Conv2d(detail, detail, 3, padding=1)
        self.change = operations.Conv2d(detail, 4 * (SHIFT + 3), 3, padding=1)
        for layer, seen in ((self.pixels, config.channels), (self.mixed, 0), (self.refined, 0)):
            nn.init.normal_(layer.weight, std=(2 / (seen or layer.weight[0].numel())) ** 0.5)
        nn.init.zeros_(self.change.weight)  # begins with the pose as it is
        nn.init.zeros_(self.change.bias)

    def forward(  # type: ignore[override]
        self,
        video: Tensor,
        pose: Tensor | None = None,
        marks: Tensor | None = None,
        noise: Tensor | None = None,
        mouth: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The latent and what it makes of the pose when `noise [B, 4, n]` is added to it."""
        latent = self.extract(video, pose, marks)
        pose = video if pose is None else pose
        return latent, self.changes(latent if noise is None else latent + noise, pose, mouth)

    def extract(
        self, video: Tensor, pose: Tensor | None = None, marks: Tensor | None = None
    ) -> Tensor:
        """The planes `[B, 4, n]` of video `[B, 3, T, H, W]`; of one that is its own pose without
        any, which holds that nothing changes.

        Args:
            video: in −1 … 1.
            pose: the frames that hold the pose.
            marks: `[B, 1, T, H, W]`, drawn landmarks of the video minus those of the pose.

        Raises:
            PayloadError: another number of frames or another size.
        """
        self.check(video)
        pose = video if pose is None else pose
        difference = self.patches(self.patched(DIFFERENCE * (video - pose)))
        volume = difference + self.pose_in(self.patched(pose))
        marks = torch.zeros_like(video[:, :1]) if marks is None else marks
        return self.folded(volume + self.marks_in(self.patched(marks)))

    def changes(self, latent: Tensor, pose: Tensor, mouth: Tensor | None = None) -> Tensor:
        """The change `[B · T, 5, H, W]` that planes `[B, 4, n]` make of pose `[B, 3, T, H, W]`.

        `mouth [B, 1, T, H, W]` is how much of each pixel lies between the lips, 0 … 1: there is
        something to paint, which the planes are too coarse to place. Without it the mouth is shut.
        """
        volume = self.volume(latent) + self.pose_out(self.patched(pose))
        decoded = self.decoder(volume)
        decoded = self.unpatched(F.layer_norm(decoded, decoded.shape[-1:]))
        mouth = torch.zeros_like(pose[:, :1]) if mouth is None else mouth
        seen = rearrange(torch.cat([pose, mouth], dim=1), "b c t h w -> (b t) c h w")
        x = F.silu(self.mixed(torch.cat([self.pixels(decoded), F.pixel_unshuffle(seen, 2)], dim=1)))
        change = F.pixel_shuffle(self.change(F.silu(x + self.refined(x))), 2)
        return torch.cat([SHIFTED * change[:, :SHIFT], PAINTED * change[:, SHIFT:]], dim=1)

    def decode_from_sample(
        self, latent: Tensor, pose: Tensor | None = None, mouth: Tensor | None = None
    ) -> Tensor:
        """Frames `[B · T, 3, H, W]` in −1 … 1 of planes `[B, 4, n]` and pose `[B, 3, T, H, W]`;
        `mouth` as in `changes`.

        Raises:
            PayloadError: no pose.
        """
        if pose is None:
            raise PayloadError(
                "This autoencoder decodes with the frames that hold the pose, but none were given."
            )
        frames = rearrange(pose, "b c t h w -> (b t) c h w")
        return changed(frames, self.changes(latent, pose, mouth)).clamp(-1, 1)


def changed(frames: Tensor, change: Tensor) -> Tensor:
    """Frames `[b, 3, H, W]` after a change `[b, 5, H, W]`."""
    return moved(frames, change[:, :SHIFT]) + change[:, SHIFT:]


def moved(frames: Tensor, shift: Tensor, mode: str = "bilinear") -> Tensor:
    """Frames `[b, C, H, W]` with each pixel taken from where `shift [b, 2, H, W]` points.

    The mode is `grid_sample`'s.
    """
    height, width = frames.shape[-2:]
    y, x = torch.meshgrid(
        *(torch.arange(n, device=frames.device, dtype=shift.dtype) for n in (height, width)),
        indexing="ij",
    )
    grid = torch.stack([x, y], dim=-1) + shift.movedim(1, -1)
    grid = (2 * grid + 1) / grid.new_tensor([width, height]) - 1
    return F.grid_sample(frames, grid, mode=mode, padding_mode="border", align_corners=False)


def build(
    state: Mapping[str, Tensor], metadata: Mapping[str, str], operations: ModuleType | Any
) -> TriplaneAutoencoder:
    """The autoencoder that a file of our recipes says it holds."""
    stated = config_of(metadata)
    if stated and "detail" in stated:
        return PosedAutoencoder(PosedConfig(**stated), operations)
    return autoencoder.build(state, metadata, operations)
