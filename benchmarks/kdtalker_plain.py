"""KDTalker's denoiser written down as the paper has it, to measure and check the fast one against.

Its parameters carry upstream's names, so it loads a state dict without any table. Everything that
depends on the timestep or the speech is computed again in every step.
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor, nn

HEADS, HEAD_CHANNELS, TIME_CHANNELS = 12, 64, 256
BUCKETS, FARTHEST = 32, 128


class Norm(nn.Module):
    """Layer norm with the parameters' names and shapes of the published file."""

    def __init__(self, width: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, 1, width))
        self.beta = nn.Parameter(torch.zeros(1, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis."""
        mean = x.mean(dim=-1, keepdim=True)
        variance = x.var(dim=-1, unbiased=False, keepdim=True)
        return (x - mean) / (variance + 1e-5).sqrt() * self.gamma + self.beta


class Projection(nn.Module):
    """Linear, norm (in the first of a pair only), scale and shift, SiLU."""

    def __init__(self, width: int):
        super().__init__()
        self.proj = nn.Linear(width, width)
        self.norm = Norm(width)

    def forward(self, x: Tensor, modulation: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """One half of a residual block."""
        x = self.proj(x)
        if modulation is not None:
            scale, shift = modulation
            x = self.norm(x) * (scale + 1) + shift
        return nn.functional.silu(x)


class ResidualBlock(nn.Module):
    """Two projections, the first modulated by timestep and speech."""

    def __init__(self, width: int, condition: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(condition, 2 * width))
        self.block1 = Projection(width)
        self.block2 = Projection(width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """[B, T, width], [B, T, condition] → [B, T, width]."""
        modulation = self.mlp(condition).chunk(2, dim=-1)
        return x + self.block2(self.block1(x, modulation))


class Attention(nn.Module):
    """Attention over time with rotating channels and a bias per distance."""

    def __init__(self, width: int):
        super().__init__()
        inner = HEADS * HEAD_CHANNELS
        self.to_qkv = nn.Linear(width, 3 * inner, bias=False)
        self.proj = nn.Linear(inner, width)

    def forward(self, x: Tensor, bias: Tensor, angles: Tensor) -> Tensor:
        """[B, T, width] → [B, T, width]."""
        B, T, _ = x.shape
        q, k, v = (y.view(B, T, HEADS, -1).transpose(1, 2) for y in self.to_qkv(x).chunk(3, -1))
        q, k = rotate(q * HEAD_CHANNELS**-0.5, angles), rotate(k, angles)
        weights = (torch.einsum("bhid,bhjd->bhij", q, k) + bias).softmax(dim=-1)
        y = torch.einsum("bhij,bhjd->bhid", weights, v)
        return self.proj(y.transpose(1, 2).reshape(B, T, -1))


class NormThen(nn.Module):
    """A residual around a function of the norm."""

    def __init__(self, width: int):
        super().__init__()
        self.fn = nn.Module()
        self.fn.fn = Attention(width)
        self.fn.norm = Norm(width)

    def forward(self, x: Tensor, bias: Tensor, angles: Tensor) -> Tensor:
        """[B, T, width] → [B, T, width]."""
        return x + self.fn.fn(self.fn.norm(x), bias, angles)


class PlainKDTalker(nn.Module):
    """x [B, T, 70], timestep [B], context [B, T, 512] → noise [B, T, 70]."""

    def __init__(self, channels: int = 70, audio: int = 512, width: int = 768, depth: int = 6):
        super().__init__()
        condition = TIME_CHANNELS + audio
        self.width = width
        self.time_mlp = nn.Sequential(
            nn.Identity(),
            nn.Linear(width, TIME_CHANNELS),
            nn.SiLU(),
            nn.Linear(TIME_CHANNELS, TIME_CHANNELS),
        )
        self.input_projection = nn.Linear(channels, width)
        self.time_rel_pos_bias = nn.Module()
        self.time_rel_pos_bias.relative_attention_bias = nn.Embedding(BUCKETS, HEADS)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [ResidualBlock(width, condition), ResidualBlock(width, condition), NormThen(width)]
            )
            for _ in range(depth)
        )
        self.output_projection = nn.Linear(width, channels)

    def forward(self, x: Tensor, timestep: Tensor, context: Tensor) -> Tensor:
        """The noise in `x`."""
        half = self.width // 2
        index = torch.arange(half, device=x.device)
        waves = timestep[:, None].float() * torch.exp(index * -(log(10000) / (half - 1)))
        time = self.time_mlp(torch.cat([waves.sin(), waves.cos()], dim=-1))
        condition = torch.cat([time[:, None].expand(-1, x.shape[1], -1), context], dim=-1)
        positions = torch.arange(x.shape[1], device=x.device)
        bias, angles = self.distance_bias(positions), rotation_angles(positions)
        h = self.input_projection(x)
        for first, second, attention in self.layers:
            h = attention(second(first(h, condition), condition), bias, angles)
        return self.output_projection(h)

    def distance_bias(self, positions: Tensor) -> Tensor:
        """What is added to the attention between two frames, `[heads, T, T]`."""
        n = positions[:, None] - positions[None, :]
        side, n = (n < 0).long() * (BUCKETS // 2), n.abs()
        exact = BUCKETS // 4
        ratio = torch.log(n.float().clamp(min=1) / exact) / log(FARTHEST / exact)
        far = (exact + (ratio * exact).long()).clamp(max=BUCKETS // 2 - 1)
        bucket = side + torch.where(n < exact, n, far)
        return self.time_rel_pos_bias.relative_attention_bias(bucket).permute(2, 0, 1)


def rotation_angles(positions: Tensor) -> Tensor:
    """Radians by which each of the first 12 channels turns, `[T, 12]`."""
    powers = torch.arange(0, HEADS, 2, device=positions.device) / HEADS
    return (positions[:, None] * 10000.0**-powers).repeat_interleave(2, dim=-1)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """The first channels of `[B, heads, T, 64]` turned in pairs."""
    channels = angles.shape[-1]
    turning, rest = x[..., :channels], x[..., channels:]
    pairs = turning.unflatten(-1, (-1, 2))
    half_turned = torch.stack([-pairs[..., 1], pairs[..., 0]], dim=-1).flatten(-2)
    return torch.cat([turning * angles.cos() + half_turned * angles.sin(), rest], dim=-1)


def strip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """An upstream state dict without its prefix and its tables of constants."""
    prefix = "point_model.model."
    constants = ("rotary_emb.freqs", "freq_bands")
    return {k.removeprefix(prefix): v for k, v in state.items() if not k.endswith(constants)}
