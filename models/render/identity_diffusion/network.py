"""The identity diffusion U-Net of ATL-Diff (Nguyen et al. 2025, section 3.3), small.

Stage 5. Convolutions per frame, then over time; the features of the identity, from an encoder of
its own, are multiplied in after the way down, at every size. Beyond the paper it sees the landmarks
(`guidance.py`) and the identity moved along with them, and what it predicts of the clean frames is
in layers: where the identity moves, and what is painted over it. So skin and hair stay the
portrait's own, as sharp as the portrait is, and only what it does not show has to be painted.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from types import ModuleType
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ... import checkpoints
from ...motion.dual_domain import EMOTIONS
from . import process
from .guidance import LANDMARK_CHANNELS, moved_along

COLOURS = 3
GUIDE_CHANNELS = 1 + LANDMARK_CHANNELS  # mask, marks, open mouth, open eyes, shift
SHIFT_SEEN = 0.25  # what the network is told of a shift of one pixel
SHIFT_DRAWN = 2.0  # pixels that one of the network's answers shifts
PAINT_DRAWN = 4.0  # how strongly one of them paints
STRETCHED = (1.5, 3.0)  # enlargement from which on detail turns into streaks, and is all streaks
PAINTED = 0.1  # of the guide's mask: from there on all paint shows, and none where it is 0


@dataclass(frozen=True, kw_only=True)
class IdentityDiffusionConfig:
    """The bundled model's sizes."""

    channels: tuple[int, ...] = (32, 64, 128)  # per level, each half as large as the one before
    patch: int = 2  # pixels that share a place of the first level, both ways
    embedding: int = 64  # channels of timestep and emotion
    emotions: int = len(EMOTIONS)
    start: str = "guided"  # what it was trained to start from: "guided" or "plain" noise


@dataclass(frozen=True, kw_only=True, eq=False)
class Identity:
    """What all frames and steps of a portrait share."""

    picture: Tensor  # [B, 3, H, W] in -1 … 1
    features: list[Tensor]  # per level, [B, C, H / s, W / s]


@dataclass(frozen=True, kw_only=True, eq=False)
class Layers:
    """Clean frames, as what happens to the identity: it moves, fades, and is painted over."""

    shift: Tensor  # [B, T, 2, H, W], pixels to the right and down
    share: Tensor  # [B, T, 1, H, W], how much of the identity is gone
    paint: Tensor  # [B, T, 3, H, W], what is added, in -1 … 1

    def over(self, picture: Tensor) -> Tensor:
        """The frames of pictures `[B, 3, H, W]` in -1 … 1, `[B, T, 3, H, W]`."""
        return self._moved(picture) * (1 - self.share) + self.paint

    def over_finer(self, finer: Tensor, picture: Tensor) -> Tensor:
        """The same of finer pictures, so that what moves stays as sharp as they are.

        Only what is stretched, such as lips where they part, is no finer than the layers: it would
        be streaks, and the network painted over it without knowing them.

        Args:
            finer: `[B, 3, H', W']` in -1 … 1.
            picture: the same in the layers' size.
        """
        size, frames = finer.shape[-2:], self.shift.shape[1]
        coarse = torch.cat([self._moved(picture), self.share, self.paint, self.stretched()], dim=2)
        coarse = F.interpolate(coarse.flatten(0, 1), size, mode="bicubic", align_corners=False)
        coarse = coarse.unflatten(0, (-1, frames))
        blurred, share, paint, stretched = coarse.split([COLOURS, 1, COLOURS, 1], dim=2)
        moved = torch.lerp(self._moved(finer, "bicubic"), blurred, stretched.clamp(0, 1))
        return moved * (1 - share) + paint

    def stretched(self) -> Tensor:
        """1 where the identity is much enlarged, 0 where it is not: `[B, T, 1, H, W]`."""
        down, right = torch.gradient(self.shift, dim=(-2, -1))
        growth = torch.maximum(right[:, :, :1], down[:, :, 1:])  # 1 - 1 / enlargement
        limits = [1 - 1 / enlargement for enlargement in STRETCHED]
        share = ((growth - limits[0]) / (limits[1] - limits[0])).clamp(0, 1).flatten(0, 1)
        return F.max_pool2d(share, 3, 1, 1).unflatten(0, (-1, self.shift.shape[1]))

    def _moved(self, picture: Tensor, mode: str = "bilinear") -> Tensor:
        frames = self.shift.shape[1]
        pictures = picture.repeat_interleave(frames, 0)
        return moved_along(pictures, self.shift.flatten(0, 1), mode).unflatten(0, (-1, frames))

    def stacked(self) -> Tensor:
        """All in one tensor, `[B, T, 6, H, W]`."""
        return torch.cat([self.shift, self.share, self.paint], dim=2)

    @classmethod
    def unstacked(cls, stack: Tensor) -> Layers:
        """From what `stacked` made."""
        shift, share, paint = stack.split([2, 1, COLOURS], dim=2)
        return cls(shift=shift, share=share, paint=paint)


class ChannelNorm(nn.Module):
    """Every pixel's channels normalised: the same in small parts of a picture as in all of it."""

    def __init__(self, channels: int, operations: ModuleType | Any):
        super().__init__()
        self.norm = operations.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, H, W]`, fastest in `channels_last`."""
        return cast(Tensor, self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


class Block(nn.Module):
    """A convolution per frame, one over time, told timestep and emotion: `[B · T, C, H, W]`."""

    def __init__(
        self,
        before: int,
        after: int,
        config: IdentityDiffusionConfig,
        operations: ModuleType | Any,
    ):
        super().__init__()
        self.first_norm = ChannelNorm(before, operations)
        self.spatial = operations.Conv2d(before, after, 3, padding=1)
        self.modulate = operations.Linear(config.embedding, 2 * after)  # scale, then shift
        self.second_norm = ChannelNorm(after, operations)
        self.temporal = operations.Conv2d(after, after, (3, 1), padding=(1, 0))
        self.shortcut = operations.Conv2d(before, after, 1) if before != after else None

    def forward(self, x: Tensor, embedding: Tensor, frames: int) -> Tensor:
        """`embedding` is `[B, channels]`, activated."""
        y = self.second_norm(self.spatial(F.silu(self.first_norm(x))))
        modulation = self.modulate(embedding).repeat_interleave(frames, 0)
        scale, shift = modulation[:, :, None, None].chunk(2, dim=1)
        y = F.silu(y * (1 + scale) + shift)
        batch, channels, height, width = y.shape
        rows = y.permute(0, 2, 3, 1).reshape(-1, frames, height * width, channels)
        y = self.temporal(rows.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        y = y.reshape(batch, height, width, channels).permute(0, 3, 1, 2)
        return (x if self.shortcut is None else self.shortcut(x)) + y


class IdentityEncoder(nn.Module):
    """A picture and its landmarks become features of every level's size: `[B, 4, H, W]`."""

    def __init__(self, config: IdentityDiffusionConfig, operations: ModuleType | Any):
        super().__init__()
        self.patch = config.patch
        entering = (COLOURS + 1) * config.patch**2
        steps = zip((entering, *config.channels[:-1]), config.channels, strict=True)
        self.levels = nn.ModuleList(
            operations.Conv2d(before, after, 3, stride=1 if i == 0 else 2, padding=1)
            for i, (before, after) in enumerate(steps)
        )

    def forward(self, picture: Tensor, marks: Tensor) -> list[Tensor]:
        """Features per level, the finest first."""
        x = F.pixel_unshuffle(torch.cat([picture, marks], dim=1), self.patch)
        features = []
        for level in self.levels:
            x = F.silu(level(x))
            features.append(x)
        return features


class IdentityDiffusion(nn.Module):
    """Predicts the clean frames of a clip, in layers.

    noisy [B, T, 3, H, W], guide [B, T, 6, H, W], timestep [B], identity → `Layers`. Pictures are in
    -1 … 1; H and W are multiples of 8. Works for any T and any size; how large a face is in pixels
    is what matters, and it was trained on faces as they are in squares of 128 and of 256.
    """

    def __init__(
        self, config: IdentityDiffusionConfig | None = None, operations: ModuleType | Any = nn
    ):
        super().__init__()
        self.config = config = config or IdentityDiffusionConfig()
        widths, patch = config.channels, config.patch**2
        self.time_in = operations.Linear(config.embedding, config.embedding)
        self.time_out = operations.Linear(config.embedding, config.embedding)
        self.emotion = operations.Embedding(config.emotions, config.embedding)
        self.identity = IdentityEncoder(config, operations)
        self.enter = operations.Conv2d(
            (2 * COLOURS + GUIDE_CHANNELS) * patch, widths[0], 3, padding=1
        )
        steps = list(zip((widths[0], *widths[:-1]), widths, strict=True))
        self.down = nn.ModuleList(Block(a, b, config, operations) for a, b in steps)
        self.middle = Block(widths[-1], widths[-1], config, operations)
        self.up = nn.ModuleList(Block(b, a, config, operations) for a, b in reversed(steps))
        self.leave_norm = ChannelNorm(widths[0], operations)
        self.leave = operations.Conv2d(widths[0], 2 + (COLOURS + 1) * patch, 3, padding=1)
        with torch.no_grad():  # training begins with the identity, moved by the landmarks
            nn.init.zeros_(self.leave.weight)
            nn.init.zeros_(self.leave.bias)

    def recognise(self, picture: Tensor, marks: Tensor) -> Identity:
        """What all frames share, from pictures `[B, 3, H, W]` in -1 … 1 and marks at rest."""
        return Identity(picture=picture, features=self.identity(picture, marks))

    def forward(
        self,
        noisy: Tensor,
        timestep: Tensor,
        guide: Tensor,
        identity: Identity | tuple[Tensor, Tensor],
        emotion: Tensor | None = None,
    ) -> Layers:
        """The clean frames' layers.

        Args:
            noisy, timestep, guide: see above.
            identity: from `recognise`, or what that takes.
            emotion: indices into `EMOTIONS`, `[B]`; neutral where absent.
        """
        batch, frames = noisy.shape[:2]
        if not isinstance(identity, Identity):
            identity = self.recognise(*identity)
        embedding = self._embedding(timestep, emotion).expand(batch, -1)
        x = self._entering(noisy, timestep, guide, identity.picture)
        x = self.enter(x.contiguous(memory_format=torch.channels_last))
        kept = []
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else F.avg_pool2d(x, 2), embedding, frames)
            kept.append(x)
        features = [f.repeat_interleave(frames, 0) for f in identity.features]
        kept = [x * (1 + f) for x, f in zip(kept, features, strict=True)]
        x = self.middle(kept.pop(), embedding, frames)
        for block in self.up:
            x = block(x, embedding, frames)
            if kept:
                x = F.interpolate(x, scale_factor=2.0, mode="nearest") + kept.pop()
        x = self.leave(F.silu(self.leave_norm(x)))
        return self._layers(x.unflatten(0, (batch, frames)), guide)

    def _entering(self, noisy: Tensor, timestep: Tensor, guide: Tensor, picture: Tensor) -> Tensor:
        """What the first convolution sees, `[B · T, C, H / patch, W / patch]`."""
        frames = noisy.shape[1]
        shift = guide[:, :, -2:]
        pictures = picture.repeat_interleave(frames, 0)
        moved = moved_along(pictures, shift.flatten(0, 1))
        ground = picture[:, None] if self.config.start == "guided" else None
        quiet = process.quieted(noisy, ground, guide[:, :, :1], timestep)
        told = torch.cat([guide[:, :, :-2], SHIFT_SEEN * shift], dim=2)
        x = torch.cat([quiet.flatten(0, 1), told.flatten(0, 1), moved], dim=1)
        return F.pixel_unshuffle(x, self.config.patch)

    def _layers(self, found: Tensor, guide: Tensor) -> Layers:
        """From the last convolution, `[B, T, C, H / patch, W / patch]`."""
        batch, patch = found.shape[0], self.config.patch
        shift, rest = found[:, :, :2], found[:, :, 2:]
        more = F.interpolate(
            SHIFT_DRAWN * shift.flatten(0, 1), scale_factor=float(patch), mode="bilinear"
        )
        painted = F.pixel_shuffle(rest.flatten(0, 1), patch).unflatten(0, (batch, -1))
        painted = PAINT_DRAWN * painted * (guide[:, :, :1] / PAINTED).clamp(max=1)
        return Layers(
            shift=guide[:, :, -2:] + more.unflatten(0, (batch, -1)),
            share=painted[:, :, :1],
            paint=painted[:, :, 1:],
        )

    def _embedding(self, timestep: Tensor, emotion: Tensor | None) -> Tensor:
        waves = sinusoids(timestep, self.config.embedding).to(self.time_in.weight.dtype)
        time = self.time_out(F.silu(self.time_in(waves)))
        if emotion is None:
            emotion = torch.full_like(timestep, self.config.emotions - 1, dtype=torch.long)
        return F.silu(time + self.emotion(emotion))


def sinusoids(timesteps: Tensor, channels: int) -> Tensor:
    """`[sin(t · f), cos(t · f)]` of `[S]`, f from 1 down to 1/10000: `[S, channels]` float32."""
    half = channels // 2
    index = torch.arange(half, device=timesteps.device, dtype=torch.float32)
    angles = timesteps.float()[:, None] * torch.exp(index * (-log(1e4) / (half - 1)))
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def build(
    state: dict[str, Tensor], metadata: dict[str, str], operations: ModuleType | Any = nn
) -> nn.Module:
    """The empty network, as the weight file's metadata says.

    Raises:
        CheckpointError: the metadata does not say.
    """
    told = checkpoints.config_of(metadata)
    if "channels" not in told:
        raise checkpoints.CheckpointError(
            "The identity diffusion file has no configuration in its metadata. Use one that"
            " Soliloquy's own training wrote."
        )
    told["channels"] = tuple(cast(list[int], told["channels"]))
    return IdentityDiffusion(IdentityDiffusionConfig(**told), operations)
