"""The denoiser of MoDiTalker's second stage: a U-Net over the three planes of a window.

Stage 5. Every block runs over the planes xy, yt and xt with the same weights; an attention over all
their places then joins them. The planes yt and xt have the same shape and go through the blocks as
one batch. What a window's steps share is computed once: the first convolution of everything that
is not noise (`condition`), and what the timestep makes of every block (`modulations`).

The published file holds a second decoder that is never called; its keys are dropped on loading.

Shapes: B windows, C channels, n places of all planes, R side of xy and width of yt and xt, T their
height (frames), so that n = R² + 2·T·R.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from types import ModuleType
from typing import Any, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ...checkpoints import config_of
from ...payloads import PayloadError

StateDict = dict[str, Tensor]
SLOWEST = 1e4  # longest wavelength of the timestep's sinusoids, over 2π
FRAMES = 16  # height of the planes yt and xt


@dataclass(frozen=True, kw_only=True)
class TriplaneUNetConfig:
    """The published model: 207.7 M parameters, of which 132.2 M are used."""

    width: int = 128
    multipliers: tuple[int, ...] = (1, 2, 4, 4)  # of the width, per level
    attended: tuple[bool, ...] = (True, True, True, False)  # whether a level's planes attend
    blocks_per_level: int = 2
    heads: int = 8
    latent_channels: int = 4
    conditions: int = 3  # latents beside the noisy one: landmarks, masked frames, identity
    frames: int = FRAMES
    norm_groups: int = 32

    @property
    def in_channels(self) -> int:
        """Channels of everything the first convolution sees."""
        return self.latent_channels * (1 + self.conditions)


@dataclass(frozen=True, kw_only=True, eq=False)
class Planes:
    """Features of a window: xy [B, C, R, R]; yt and xt one after the other, [2 · B, C, T, R]."""

    xy: Tensor
    timed: Tensor

    @classmethod
    def of(cls, places: Tensor, frames: int) -> Planes:
        """From all places end to end, `[B, C, n]`."""
        side = plane_side(places.shape[-1], frames)
        xy, timed = places.split([side * side, 2 * frames * side], dim=-1)
        timed = rearrange(timed, "b c (p t r) -> (b p) c t r", p=2, t=frames)
        return cls(xy=xy.unflatten(-1, (side, side)), timed=timed)

    def places(self) -> Tensor:
        """All places end to end, `[B, C, n]`."""
        timed = rearrange(self.timed, "(b p) c t r -> b c (p t r)", p=2)
        return torch.cat([self.xy.flatten(2), timed], dim=-1)

    def joined(self, other: Planes) -> Planes:
        """The channels of both."""
        return Planes(
            xy=torch.cat([self.xy, other.xy], dim=1),
            timed=torch.cat([self.timed, other.timed], dim=1),
        )


class GroupNorm(nn.Module):
    """Group norm in float32 whatever comes in: [B, C, …] → the same."""

    def __init__(self, groups: int, channels: int, operations: ModuleType | Any):
        super().__init__()
        held = operations.GroupNorm(groups, channels)
        self.weight, self.bias, self.eps = held.weight, held.bias, held.eps
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Each group of channels normalised, each channel scaled and shifted."""
        weight, bias = self.weight.to(x.device).float(), self.bias.to(x.device).float()
        return F.group_norm(x.float(), self.groups, weight, bias, self.eps).to(x)


class ResidualBlock(nn.Module):
    """Two convolutions that the timestep modulates; optionally half or twice the size."""

    def __init__(
        self,
        config: TriplaneUNetConfig,
        channels: tuple[int, int],
        operations: ModuleType | Any,
        *,
        resize: str = "",
    ):
        super().__init__()
        self.resize = resize  # "", "down" or "up"
        inside, out = channels
        self.norm = GroupNorm(config.norm_groups, inside, operations)
        self.first = operations.Conv2d(inside, out, 3, padding=1)
        self.modulate = operations.Linear(4 * config.width, 2 * out)  # scale, then shift
        self.second_norm = GroupNorm(config.norm_groups, out, operations)
        self.second = operations.Conv2d(out, out, 3, padding=1)
        self.shortcut: nn.Module = nn.Identity()
        if out != inside:
            self.shortcut = operations.Conv2d(inside, out, 1)

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """One plane `[b, C, h, w]`, with the block's `modulation [b, 2 · out channels]`."""
        scale, shift = modulation[:, :, None, None].chunk(2, dim=1)
        y = self.first(self._resized(F.silu(self.norm(x))))
        y = self.second(F.silu(self.second_norm(y) * (1 + scale) + shift))
        return self.shortcut(self._resized(x)) + y

    def _resized(self, x: Tensor) -> Tensor:
        if self.resize == "down":
            return F.avg_pool2d(x, 2)
        return F.interpolate(x, scale_factor=2.0, mode="nearest") if self.resize else x


class PlaceAttention(nn.Module):
    """Every place attends to every other and is added to what came: [B, C, L] → the same."""

    def __init__(self, config: TriplaneUNetConfig, channels: int, operations: ModuleType | Any):
        super().__init__()
        self.heads = config.heads
        self.norm = GroupNorm(config.norm_groups, channels, operations)
        self.qkv = operations.Linear(channels, 3 * channels)  # per head: q, k, v
        self.out = operations.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Attention over the last axis."""
        qkv = rearrange(self.qkv(self.norm(x).mT), "b l (h n d) -> n b h l d", h=self.heads, n=3)
        seen = F.scaled_dot_product_attention(*qkv)
        return x + self.out(rearrange(seen, "b h l d -> b l (h d)")).mT


class PlaneBlock(nn.Module):
    """What happens at one place of the U: each plane by itself, then all planes together."""

    def __init__(
        self,
        config: TriplaneUNetConfig,
        channels: tuple[int, int],
        operations: ModuleType | Any,
        *,
        attended: bool = False,
        resize: str = "",
        after: str | None = None,
    ):
        super().__init__()
        out = channels[1]
        self.residual = ResidualBlock(config, channels, operations, resize=resize)
        self.attention = PlaceAttention(config, out, operations) if attended else None
        self.after = None
        if after is not None:
            self.after = ResidualBlock(config, (out, out), operations, resize=after)
        self.across = PlaceAttention(config, out, operations)

    def modulations(self, time: Tensor) -> list[Tensor]:
        """What the timestep makes of each residual block, `[B, 2 · channels]` each."""
        blocks = [self.residual] if self.after is None else [self.residual, self.after]
        return [block.modulate(time) for block in blocks]

    def forward(self, planes: Planes, modulations: list[Tensor]) -> Planes:
        """The block over all planes."""
        both = [modulation.repeat_interleave(2, dim=0) for modulation in modulations]
        timed = self._alone(planes.timed, both)
        alone = Planes(xy=self._alone(planes.xy, modulations), timed=timed)
        return Planes.of(self.across(alone.places()), frames=timed.shape[2])

    def _alone(self, plane: Tensor, modulations: list[Tensor]) -> Tensor:
        plane = self.residual(plane, modulations[0])
        if self.attention is not None:
            plane = self.attention(plane.flatten(2)).view_as(plane)
        return plane if self.after is None else self.after(plane, modulations[1])


class TriplaneUNet(nn.Module):
    """Predicts the noise in the latent of a window.

    forward: x (B, 4, n) noisy latent, cond (B, 8, n) landmarks and masked frames, image_cond
    (B, 4, R² or n) identity, of which only the plane xy is seen, t (B,) -> (B, 4, n)
    """

    def __init__(self, config: TriplaneUNetConfig, operations: ModuleType | Any = nn):
        super().__init__()
        self.config = config
        width = config.width
        self.time_in = operations.Linear(width, 4 * width)
        self.time_out = operations.Linear(4 * width, 4 * width)
        stem = operations.Conv2d(config.in_channels, width, 3, padding=1)
        descent, skips = _descent(config, operations)
        self.down = nn.ModuleList([stem, *descent])
        deepest = skips[-1]
        self.middle = PlaneBlock(config, (deepest, deepest), operations, attended=True, after="")
        self.up = nn.ModuleList(_ascent(config, skips, operations))
        self.out_norm = GroupNorm(config.norm_groups, width, operations)
        self.out = operations.Conv2d(width, config.latent_channels, 3, padding=1)

    @property
    def stem(self) -> nn.Conv2d:
        """The first convolution, which sees the noisy latent and all conditions."""
        return cast(nn.Conv2d, self.down[0])

    def forward(self, x: Tensor, cond: Tensor, image_cond: Tensor, t: Tensor) -> Tensor:
        """The noise, `[B, 4, n]`."""
        return self.step(x, self.condition(cond, image_cond), self.modulations(t))

    def condition(self, cond: Tensor, image_cond: Tensor) -> Planes:
        """The first convolution of all that is not noise, which the steps of a window share.

        Raises:
            PayloadError: conditions whose length or number of channels does not fit.
        """
        config = self.config
        length = cond.shape[-1]
        identity = image_cond[..., : plane_side(length, config.frames) ** 2]
        identity = F.pad(identity, (0, length - identity.shape[-1])).to(cond)
        given = torch.cat([cond, identity], dim=1)
        wanted = config.in_channels - config.latent_channels
        if given.shape[1] != wanted:
            raise PayloadError(
                f"The U-Net is conditioned on {wanted} channels, but {given.shape[1]} were given."
            )
        weight = self.stem.weight.to(given)[:, config.latent_channels :]
        bias = cast(Tensor, self.stem.bias).to(given)
        return _convolved(Planes.of(given, config.frames), weight, bias)

    def modulations(self, t: Tensor) -> list[list[Tensor]]:
        """What timesteps `t [B]` make of every block, in the order of the blocks."""
        waves = timestep_waves(t, self.config.width)
        time = F.silu(self.time_out(F.silu(self.time_in(waves))))
        return [block.modulations(time) for block in (*self.down[1:], self.middle, *self.up)]

    def step(self, x: Tensor, condition: Planes, modulations: list[list[Tensor]]) -> Tensor:
        """`forward` from what can be prepared."""
        config = self.config
        weight = self.stem.weight.to(x)[:, : config.latent_channels]
        noisy = _convolved(Planes.of(x, config.frames), weight)
        planes = Planes(xy=noisy.xy + condition.xy, timed=noisy.timed + condition.timed)
        of_block = iter(modulations)
        passed = [planes]
        for block in self.down[1:]:
            planes = block(planes, next(of_block))
            passed.append(planes)
        planes = self.middle(planes, next(of_block))
        for block in self.up:
            planes = block(planes.joined(passed.pop()), next(of_block))
        return Planes(xy=self._head(planes.xy), timed=self._head(planes.timed)).places()

    def _head(self, plane: Tensor) -> Tensor:
        return self.out(F.silu(self.out_norm(plane)))


def _descent(
    config: TriplaneUNetConfig, operations: ModuleType | Any
) -> tuple[list[PlaneBlock], list[int]]:
    """The blocks on the way down after the first convolution, and the channels of all skips."""
    blocks, skips = [], [config.width]
    for level, factor in enumerate(config.multipliers):
        for _ in range(config.blocks_per_level):
            channels = (skips[-1], factor * config.width)
            attended = config.attended[level]
            blocks.append(PlaneBlock(config, channels, operations, attended=attended))
            skips.append(channels[1])
        if level < len(config.multipliers) - 1:
            blocks.append(PlaneBlock(config, (skips[-1], skips[-1]), operations, resize="down"))
            skips.append(skips[-1])
    return blocks, skips


def _ascent(
    config: TriplaneUNetConfig, skips: list[int], operations: ModuleType | Any
) -> list[PlaneBlock]:
    """The blocks on the way up; each sees what the way down left for it as well."""
    blocks, left, channels = [], list(skips), skips[-1]
    for level, factor in reversed(list(enumerate(config.multipliers))):
        for i in range(config.blocks_per_level + 1):
            sizes = (channels + left.pop(), factor * config.width)
            after = "up" if level and i == config.blocks_per_level else None
            blocks.append(
                PlaneBlock(config, sizes, operations, attended=config.attended[level], after=after)
            )
            channels = sizes[1]
    return blocks


def _convolved(planes: Planes, weight: Tensor, bias: Tensor | None = None) -> Planes:
    xy, timed = (F.conv2d(part, weight, bias, padding=1) for part in (planes.xy, planes.timed))
    return Planes(xy=xy, timed=timed)


def plane_side(length: int, frames: int = FRAMES) -> int:
    """R of a latent of `length` = R² + 2 · T · R places: 32 for 2048.

    Raises:
        PayloadError: no three planes have so many places.
    """
    side = round((frames**2 + length) ** 0.5) - frames
    if side * (side + 2 * frames) != length:
        raise PayloadError(
            f"A latent of {length} places is not three planes of {frames} frames; 2048 would be,"
            " for 256 pixels."
        )
    return side


def timestep_waves(t: Tensor, channels: int) -> Tensor:
    """Cosines, then sines, of timesteps `[B]` at falling frequencies: `[B, channels]`."""
    half = channels // 2
    falling = torch.arange(half, dtype=torch.float32, device=t.device) / half
    angles = t[:, None].float() * torch.exp(-log(SLOWEST) * falling)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def prepare(state: StateDict) -> StateDict:
    """The convolutions of width 1 around the published attentions as the matrices that they are."""
    ends = ("qkv.weight", "proj_out.weight")
    return {key: value.squeeze(-1) if key.endswith(ends) else value for key, value in state.items()}


def build(
    state: Mapping[str, Tensor], metadata: Mapping[str, str], operations: ModuleType | Any
) -> TriplaneUNet:
    """The network whose sizes a renamed state dict has: published, for long videos, or another."""
    if stated := config_of(metadata):
        tuples = {key: tuple(stated[key]) for key in ("multipliers", "attended")}
        return TriplaneUNet(TriplaneUNetConfig(**{**stated, **tuples}), operations)
    width, channels = state["down.0.weight"].shape[:2]
    blocks = TriplaneUNetConfig.blocks_per_level
    levels = sum(key.endswith("residual.first.weight") for key in state if key[:5] == "down.")
    firsts = range(1, levels + 1, blocks + 1)  # of each level
    latent_channels = state["out.weight"].shape[0]
    config = TriplaneUNetConfig(
        width=width,
        multipliers=tuple(
            state[f"down.{i}.residual.first.weight"].shape[0] // width for i in firsts
        ),
        attended=tuple(f"down.{i}.attention.qkv.weight" in state for i in firsts),
        latent_channels=latent_channels,
        conditions=channels // latent_channels - 1,
    )
    return TriplaneUNet(config, operations)
