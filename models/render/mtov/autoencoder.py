"""Video ↔ three planes: the autoencoder of MoDiTalker's second stage (Kim et al. 2024).

Stage 5. A window of 16 frames becomes patches that attend along time and over the picture (a
TimeSformer); three small transformers then fold away time, height and width, which leaves the
planes xy, yt and xt (PVDM; Yu et al. 2023). The decoder adds the planes up to a volume again and
attends over it the same way. The same class encodes pictures and drawn landmarks.

The published network keeps two oddities that its weights rely on: along time the rotary
frequencies are laid out in halves but applied to neighbouring channels, and of each folded sequence
the first element is read, not the token appended for it. Only what is read is computed here.

Shapes: B windows, T frames of a window, S patches along a side, C channels, n = S² + 2·T·S.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log2, pi
from types import ModuleType
from typing import Any, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ...checkpoints import config_of
from ...payloads import PayloadError

PLANES = ("xy", "yt", "xt")
AXES = {  # volume [B, T, S, S, C] → [B, rows, columns, the axis that a plane lacks, C], and back
    "xy": ((0, 2, 3, 1, 4), (0, 3, 1, 2, 4)),
    "yt": ((0, 1, 3, 2, 4), (0, 1, 3, 2, 4)),
    "xt": ((0, 1, 2, 3, 4), (0, 1, 2, 3, 4)),
}
SLOWEST = 1e4  # longest wavelength of the rotation along time, over 2π, frames
GENTLE = 0.15  # on what is folded by a linear map, so that its planes do not rush to −1 and 1
FINEST = 5.0  # highest frequency of the rotation over the picture, half turns per half side


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """The published model, 62.1 M parameters."""

    side: int = 32  # patches along a side of the picture
    patch: int = 8  # pixels along a side of a patch
    frames: int = 16
    channels: int = 384
    latent_channels: int = 4
    depth: int = 8  # blocks of the encoder
    decoder_depth: int = 8
    heads: int = 8
    head_channels: int = 64
    hidden: int = 1536  # of the blocks' feed-forward layers
    pool_depth: int = 4
    pool_heads: int = 4
    pool_head_channels: int = 48
    pool_hidden: int = 512
    linear_fold: bool = False  # ours: one linear map folds an axis away, and learns faster

    @property
    def resolution(self) -> int:
        """Side of the picture, pixels."""
        return self.side * self.patch

    @property
    def plane_shapes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of the planes xy, yt and xt."""
        return (self.side, self.side), (self.frames, self.side), (self.frames, self.side)

    @property
    def latent_length(self) -> int:
        """n, the length of a latent: 2048 for 256 pixels and 16 frames."""
        return sum(height * width for height, width in self.plane_shapes)


class RotaryAttention(nn.Module):
    """Self-attention with a norm before it and rotated queries and keys: [B, L, C] → [B, L, C]."""

    def __init__(self, config: AutoencoderConfig, operations: ModuleType | Any):
        super().__init__()
        inner = config.heads * config.head_channels
        self.heads = config.heads
        self.norm = operations.LayerNorm(config.channels)
        self.qkv = operations.Linear(config.channels, 3 * inner, bias=False)
        self.out = operations.Linear(inner, config.channels)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        """Attend along the second axis; `turn` is `[L, head channels]` cosine and signed sine."""
        qkv = rearrange(self.qkv(self.norm(x)), "b l (n h d) -> b l n h d", n=3, h=self.heads)
        q, k = rearrange(rotated(qkv[:, :, :2], turn), "b l n h d -> n b h l d")
        seen = F.scaled_dot_product_attention(q, k, qkv[:, :, 2].transpose(1, 2))
        return self.out(rearrange(seen, "b h l d -> b l (h d)"))


class GatedFeedForward(nn.Module):
    """Norm, widen, gate by a GELU, narrow: [..., C] → [..., C]."""

    def __init__(self, config: AutoencoderConfig, operations: ModuleType | Any):
        super().__init__()
        self.norm = operations.LayerNorm(config.channels)
        self.widen = operations.Linear(config.channels, 2 * config.hidden)
        self.narrow = operations.Linear(config.hidden, config.channels)

    def forward(self, x: Tensor) -> Tensor:
        """One step of every position."""
        value, gate = self.widen(self.norm(x)).chunk(2, dim=-1)
        return self.narrow(value * F.gelu(gate))


class TimeSformerBlock(nn.Module):
    """Attention along time, attention over the picture, feed-forward (Bertasius et al. 2021)."""

    def __init__(self, config: AutoencoderConfig, operations: ModuleType | Any):
        super().__init__()
        self.time = RotaryAttention(config, operations)
        self.space = RotaryAttention(config, operations)
        self.feed = GatedFeedForward(config, operations)

    def forward(
        self, x: Tensor, in_time: tuple[Tensor, Tensor], in_space: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Volume `[B, T, S², C]` → `[B, T, S², C]`."""
        batch, frames = x.shape[:2]
        along = rearrange(x, "b t s c -> (b s) t c")
        x = x + rearrange(self.time(along, in_time), "(b s) t c -> b t s c", b=batch)
        x = x + self.space(x.flatten(0, 1), in_space).unflatten(0, (batch, frames))
        return x + self.feed(x)


class TimeSformer(nn.Module):
    """Blocks over a volume of patches: [B, T, S², C] → [B, T, S², C]."""

    def __init__(self, config: AutoencoderConfig, depth: int, operations: ModuleType | Any):
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(TimeSformerBlock(config, operations) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        """All blocks in turn."""
        channels = self.config.head_channels
        in_time = time_rotation(self.config.frames, channels)
        in_space = picture_rotation(self.config.side, channels)
        turns = [tuple(part.to(x) for part in turn) for turn in (in_time, in_space)]
        for block in self.blocks:
            x = block(x, *turns)
        return x


class PoolBlock(nn.Module):
    """Attention and feed-forward of the transformers that fold an axis away."""

    def __init__(self, config: AutoencoderConfig, operations: ModuleType | Any):
        super().__init__()
        inner = config.pool_heads * config.pool_head_channels
        self.heads = config.pool_heads
        self.norm = operations.LayerNorm(config.channels)
        self.qkv = operations.Linear(config.channels, 3 * inner, bias=False)
        self.out = operations.Linear(inner, config.channels)
        self.feed_norm = operations.LayerNorm(config.channels)
        self.widen = operations.Linear(config.channels, config.pool_hidden)
        self.narrow = operations.Linear(config.pool_hidden, config.channels)

    def forward(self, x: Tensor, read: int) -> Tensor:
        """`[B, L, C]` → its first `read` elements after the block, `[B, read, C]`."""
        qkv = rearrange(self.qkv(self.norm(x)), "b l (n h d) -> n b h l d", n=3, h=self.heads)
        seen = F.scaled_dot_product_attention(qkv[0][:, :, :read], qkv[1], qkv[2])
        x = x[:, :read] + self.out(rearrange(seen, "b h l d -> b l (h d)"))
        return x + self.narrow(F.gelu(self.widen(self.feed_norm(x))))


class AxisPool(nn.Module):
    """Folds one axis of `length` elements away, squeezes the rest into a plane's channels."""

    def __init__(self, config: AutoencoderConfig, length: int, operations: ModuleType | Any):
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, config.channels))
        self.position = nn.Parameter(torch.randn(1, length + 1, config.channels))
        self.blocks = nn.ModuleList(PoolBlock(config, operations) for _ in range(config.pool_depth))
        self.squeeze = operations.Conv2d(config.channels, config.latent_channels, 1)
        self.expand = operations.Conv2d(config.latent_channels, config.channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, rows, columns, length, C]` → the plane `[B, latent channels, rows, columns]`."""
        batch, rows = x.shape[:2]
        x = x.flatten(0, 2)
        token, position = self.token.to(x), self.position.to(x)
        x = torch.cat([x, token.expand(len(x), -1, -1)], dim=1) + position
        for i, block in enumerate(self.blocks):
            x = block(x, read=1 if i == len(self.blocks) - 1 else x.shape[1])
        folded = rearrange(x[:, 0], "(b r c) d -> b d r c", b=batch, r=rows)
        return torch.tanh(self.squeeze(folded))

    def unfolded(self, plane: Tensor) -> Tensor:
        """A plane `[B, latent channels, rows, columns]` → `[B, rows, columns, 1, C]`."""
        return rearrange(self.expand(plane), "b d r c -> b r c 1 d")


class AxisFold(nn.Module):
    """Does what `AxisPool` does by one linear map, and unfolds by another."""

    def __init__(self, config: AutoencoderConfig, length: int, operations: ModuleType | Any):
        super().__init__()
        self.squeeze = operations.Linear(length * config.channels, config.latent_channels)
        self.expand = operations.Linear(config.latent_channels, length * config.channels)
        self.length = length

    def forward(self, x: Tensor) -> Tensor:
        """`[B, rows, columns, length, C]` → the plane `[B, latent channels, rows, columns]`."""
        normed = GENTLE * F.layer_norm(x, x.shape[-1:])
        return torch.tanh(self.squeeze(normed.flatten(3))).permute(0, 3, 1, 2)

    def unfolded(self, plane: Tensor) -> Tensor:
        """A plane `[B, latent channels, rows, columns]` → `[B, rows, columns, length, C]`."""
        return self.expand(plane.permute(0, 2, 3, 1)).unflatten(-1, (self.length, -1))


class TriplaneAutoencoder(nn.Module):
    """Windows of video as three planes, and back.

    forward: video [B, 3, T, H, W] in −1 … 1 -> the same video after both ways
    """

    def __init__(self, config: AutoencoderConfig, operations: ModuleType | Any = nn):
        super().__init__()
        self.config = config
        lengths = {"xy": config.frames, "yt": config.side, "xt": config.side}
        self.patches = operations.Linear(3 * config.patch**2, config.channels)
        self.encoder = TimeSformer(config, config.depth, operations)
        fold = AxisFold if config.linear_fold else AxisPool
        self.pools = nn.ModuleDict(
            {name: fold(config, lengths[name], operations) for name in PLANES}
        )
        self.decoder = TimeSformer(config, config.decoder_depth, operations)
        self.pixels = operations.ConvTranspose2d(config.channels, 3, config.patch, config.patch)

    def forward(self, video: Tensor) -> Tensor:
        """What is left of a video, `[B, 3, T, H, W]`."""
        frames = self.decode_from_sample(self.extract(video))
        return rearrange(frames, "(b t) c h w -> b c t h w", b=len(video))

    def extract(self, video: Tensor) -> Tensor:
        """The planes of video `[B, 3, T, H, W]` in −1 … 1, end to end: `[B, 4, n]` in −1 … 1.

        Raises:
            PayloadError: another number of frames or another size.
        """
        self.check(video)
        return self.folded(self.patches(self.patched(video)))

    def check(self, video: Tensor) -> None:
        """Refuse windows that the network cannot encode.

        Raises:
            PayloadError: another number of frames or another size.
        """
        config = self.config
        wanted = (3, config.frames, config.resolution, config.resolution)
        if tuple(video.shape[1:]) != wanted:
            raise PayloadError(
                f"This autoencoder takes windows of {wanted} (colours, frames, height, width), but"
                f" {tuple(video.shape[1:])} was given. Cut and resize the video."
            )

    def folded(self, volume: Tensor) -> Tensor:
        """The planes `[B, 4, n]` of embedded patches `[B, T, S², C]`."""
        side = self.config.side
        volume = self.encoder(volume).unflatten(2, (side, side))
        planes = [self.pools[name](volume.permute(AXES[name][0])) for name in PLANES]
        return torch.cat([plane.flatten(2) for plane in planes], dim=-1)

    def decode_from_sample(self, latent: Tensor) -> Tensor:
        """Frames `[B · T, 3, H, W]` in −1 … 1 of planes `[B, 4, n]`."""
        decoded = self.unpatched(self.decoder(self.volume(latent)))
        return 2 * torch.sigmoid(self.pixels(decoded)) - 1

    def patched(self, video: Tensor) -> Tensor:
        """The pixels of each patch of video `[B, 3, T, H, W]`: `[B, T, S², 3 · patch²]`."""
        p = self.config.patch
        return rearrange(video, "b c t (h p) (w q) -> b t (h w) (p q c)", p=p, q=p)

    def volume(self, latent: Tensor) -> Tensor:
        """The sum of the planes `[B, 4, n]`, each wide along the axis that it lacks:
        `[B, T, S², C]`."""
        planes = zip(PLANES, split_planes(latent, self.config.plane_shapes), strict=True)
        parts = [
            cast(AxisPool, self.pools[name]).unfolded(plane).permute(AXES[name][1])
            for name, plane in planes
        ]
        return (parts[0] + parts[1] + parts[2]).flatten(2, 3)

    def unpatched(self, volume: Tensor) -> Tensor:
        """`[B, T, S², C]` → `[B · T, C, S, S]`."""
        return rearrange(volume, "b t (h w) c -> (b t) c h w", h=self.config.side)


def split_planes(latent: Tensor, shapes: tuple[tuple[int, int], ...]) -> list[Tensor]:
    """`[B, C, n]` → the planes `[B, C, height, width]` of these shapes.

    Raises:
        PayloadError: the planes do not fill the latent.
    """
    sizes = [height * width for height, width in shapes]
    if sum(sizes) != latent.shape[-1]:
        raise PayloadError(
            f"Planes of {shapes} have {sum(sizes)} places, but the latent has {latent.shape[-1]}."
        )
    parts = latent.split(sizes, dim=-1)
    return [part.unflatten(-1, shape) for part, shape in zip(parts, shapes, strict=True)]


def rotated(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Neighbouring channels `(a, b)` of x `[B, L, …, D]` → `(a, b) · cosine + (b, a) · sine`."""
    cosine, sine = (part.view(len(part), *[1] * (x.ndim - 3), -1) for part in turn)
    swapped = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return torch.addcmul(x * cosine, swapped, sine)


def time_rotation(frames: int, channels: int) -> tuple[Tensor, Tensor]:
    """Cosine and signed sine `[T, channels]` of the angles along time, laid out in halves as
    published."""
    frequencies = SLOWEST ** (-torch.arange(0, channels, 2).float() / channels)
    angles = torch.arange(frames).float()[:, None] * frequencies
    return _turn(torch.cat([angles, angles], dim=-1))


def picture_rotation(side: int, channels: int) -> tuple[Tensor, Tensor]:
    """Cosine and signed sine `[S², channels]`: rows turn the first half of the channels, columns
    the second."""
    scales = torch.logspace(0.0, log2(FINEST), channels // 4, base=2)
    angles = torch.linspace(-1.0, 1.0, side)[:, None] * scales * pi
    rows = angles[:, None].expand(-1, side, -1)
    columns = angles[None].expand(side, -1, -1)
    both = torch.cat([rows, columns], dim=-1).flatten(0, 1).repeat_interleave(2, dim=-1)
    return _turn(both)


def _turn(angles: Tensor) -> tuple[Tensor, Tensor]:
    """`(a, b)` becomes `(a cos − b sin, b cos + a sin)`: the sine of every first channel is
    negative."""
    sine = angles.sin()
    sine[..., ::2] *= -1
    return angles.cos(), sine


def build(
    state: Mapping[str, Tensor], metadata: Mapping[str, str], operations: ModuleType | Any
) -> TriplaneAutoencoder:
    """The network whose sizes a renamed state dict has; a file of ours states them."""
    if stated := config_of(metadata):
        return TriplaneAutoencoder(AutoencoderConfig(**stated), operations)
    channels, patch_channels = state["patches.weight"].shape
    pool_inner = state["pools.xy.blocks.0.qkv.weight"].shape[0] // 3
    head_channels = AutoencoderConfig.head_channels
    config = AutoencoderConfig(
        side=state["pools.xt.position"].shape[1] - 1,
        patch=round((patch_channels / 3) ** 0.5),
        frames=state["pools.xy.position"].shape[1] - 1,
        channels=channels,
        latent_channels=state["pools.xy.squeeze.weight"].shape[0],
        depth=_count(state, "encoder.blocks."),
        decoder_depth=_count(state, "decoder.blocks."),
        heads=state["encoder.blocks.0.time.out.weight"].shape[1] // head_channels,
        hidden=state["encoder.blocks.0.feed.narrow.weight"].shape[1],
        pool_depth=_count(state, "pools.xy.blocks."),
        pool_head_channels=pool_inner // AutoencoderConfig.pool_heads,
        pool_hidden=state["pools.xy.blocks.0.narrow.weight"].shape[1],
    )
    return TriplaneAutoencoder(config, operations)


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    return len({key[len(prefix) :].split(".")[0] for key in state if key.startswith(prefix)})
