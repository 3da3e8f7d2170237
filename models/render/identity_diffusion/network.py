"""The identity diffusion U-Net of ATL-Diff (Nguyen et al. 2025, section 3.3), small.

Stage 5. Convolutions per frame, then over time; the features of the identity, from an encoder of
its own, are multiplied in after the way down, at every size. Beyond the paper it sees the landmarks
(`guidance.py`), and the identity moved along with them: it predicts the clean frames, as what they
add to that.
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
from .guidance import LANDMARK_CHANNELS, moved_along

COLOURS = 3
NOISE_GAIN = 0.05  # in the beginning; noise that the network has not learnt to remove would show
GUIDE_CHANNELS = 1 + LANDMARK_CHANNELS  # mask, marks, shift
EMOTIONS = (  # in the order of the paper's data; the last one is also the default
    "angry",
    "fear",
    "sad",
    "contempt",
    "happy",
    "surprised",
    "disgusted",
    "neutral",
)


@dataclass(frozen=True, kw_only=True)
class IdentityDiffusionConfig:
    """The bundled model's sizes."""

    channels: tuple[int, ...] = (32, 64, 128)  # per level, each half as large as the one before
    patch: int = 2  # pixels that share a place of the first level, both ways
    embedding: int = 64  # channels of timestep and emotion
    groups: int = 8  # of channels that are normalised together
    emotions: int = len(EMOTIONS)
    start: str = "guided"  # what it was trained to start from: "guided" or "plain" noise


@dataclass(frozen=True, kw_only=True, eq=False)
class Identity:
    """What all frames and steps of a portrait share."""

    picture: Tensor  # [B, 3, H, W] in -1 … 1
    features: list[Tensor]  # per level, [B, C, H / s, W / s]


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
        self.first_norm = operations.GroupNorm(config.groups, before)
        self.spatial = operations.Conv2d(before, after, 3, padding=1)
        self.modulate = operations.Linear(config.embedding, 2 * after)  # scale, then shift
        self.second_norm = operations.GroupNorm(config.groups, after)
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
    """Predicts the clean frames of a clip.

    noisy [B, T, 3, H, W], guide [B, T, 4, H, W], timestep [B], identity → [B, T, 3, H, W]. Pictures
    are in -1 … 1; H and W are multiples of 8. Works for any T; trained on windows of 30 and fewer.
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
        self.leave = operations.Conv2d(widths[0], COLOURS * patch, 3, padding=1)
        self.leave_norm = operations.GroupNorm(config.groups, widths[0])
        with torch.no_grad():
            nn.init.zeros_(self.leave.weight)  # training begins with the identity, moved …
            nn.init.zeros_(self.leave.bias)
            self.enter.weight[:, : COLOURS * patch] *= NOISE_GAIN  # … and barely sees the noise

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
    ) -> Tensor:
        """The clean frames.

        Args:
            noisy, timestep, guide: see above.
            identity: from `recognise`, or what that takes.
            emotion: indices into `EMOTIONS`, `[B]`; neutral where absent.
        """
        batch, frames = noisy.shape[:2]
        if not isinstance(identity, Identity):
            identity = self.recognise(*identity)
        embedding = self._embedding(timestep, emotion).expand(batch, -1)
        pictures = identity.picture.repeat_interleave(frames, 0)
        moved = moved_along(pictures, guide[:, :, -2:].flatten(0, 1))
        x = torch.cat([noisy.flatten(0, 1), guide.flatten(0, 1), moved], dim=1)
        x = F.pixel_unshuffle(x, self.config.patch)
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
        return (moved + F.pixel_shuffle(x, self.config.patch)).unflatten(0, (batch, frames))

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
