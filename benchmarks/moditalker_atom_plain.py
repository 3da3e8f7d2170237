"""AToM's denoiser written down step by step, to measure and check the fast one against.

Its parameters carry upstream's names, so it loads a state dict without any table; the weights that
upstream never applies are not here. Speech and landmarks are encoded again in every step, and
guidance runs the network twice.
"""

from __future__ import annotations

from math import log
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

DEAD = (
    "face_mlp.", "to_face_cond.", "to_face_tokens.", "input_projection.", "pos_encoder.",
    "pos_projection.", "non_attn_pos_projection.",
)  # fmt: skip


def turned(x: Tensor) -> Tensor:
    """Pairs of neighbouring channels of `[B, L, C]`, rotated in proportion to the place."""
    channels, places = x.shape[-1], torch.arange(x.shape[1], device=x.device)
    frequencies = 1 / 10000 ** (torch.arange(0, channels, 2, device=x.device).float() / channels)
    angles = (places[:, None] * frequencies).repeat_interleave(2, dim=-1)
    pairs = x.unflatten(-1, (-1, 2))
    quarter = torch.stack([-pairs[..., 1], pairs[..., 0]], dim=-1).flatten(-2)
    return x * angles.cos() + quarter * angles.sin()


class EncoderLayer(nn.Module):
    """Attention, then a feed-forward layer, each behind a norm."""

    def __init__(self, width: int, hidden: int, heads: int):
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, width] → [B, L, width]."""
        y = self.norm1(x)
        x = x + self.self_attn(turned(y), turned(y), y, need_weights=False)[0]
        return x + self.linear2(functional.gelu(self.linear1(self.norm2(x))))


class Film(nn.Module):
    """Scale and shift, from the timestep."""

    def __init__(self, width: int):
        super().__init__()
        self.block = nn.Sequential(nn.Mish(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """`[B, T, width]` modulated by `[B, width]`."""
        scale, shift = self.block(time)[:, None].chunk(2, dim=-1)
        return (scale + 1) * x + shift


class DecoderLayer(nn.Module):
    """Lips and upper half with shared weights, then both together."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.multihead_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.linear3 = nn.Linear(width, 2 * width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.film1, self.film2, self.film3 = (Film(width) for _ in range(3))

    def forward(self, x: Tensor, memory: Tensor, face_memory: Tensor, time: Tensor) -> Tensor:
        """[B, T, 2 · width] → [B, T, 2 · width]."""
        lips, face = x.chunk(2, dim=-1)
        face = face + self.film1(self.attend(self.norm1(face)), time)
        lips = lips + self.film1(self.attend(self.norm1(lips)), time)
        seen = self.attend(self.norm2(face))
        lips = lips + self.film2(self.attend(self.norm2(lips), memory), time)
        face = face + self.film2(seen, time)
        joined = self.attend(self.norm3(face + lips), face_memory)
        joined = joined + self.film3(joined, time)
        return self.linear3(joined)

    def attend(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """Self-attention, or attention to a memory."""
        layer = self.self_attn if memory is None else self.multihead_attn
        memory = x if memory is None else memory
        return layer(turned(x), turned(memory), memory, need_weights=False)[0]


class PlainAToM(nn.Module):
    """noisy [B, T, 204], landmarks [B, T, 204], audio [B, 2T, 1024], timestep [B] → [B, T, 204]."""

    def __init__(
        self,
        width: int = 512,
        frames: int = 156,
        hidden: int = 1024,
        depth: int = 8,
        heads: int = 8,
        audio: int = 1024,
    ):
        super().__init__()
        self.width = width
        self.null_cond_embed = nn.Parameter(torch.randn(1, 2 * frames, width))
        self.null_cond_hidden = nn.Parameter(torch.randn(1, width))
        self.face_null_cond_embed = nn.Parameter(torch.randn(1, frames, width))
        self.time_mlp = nn.Sequential(nn.Identity(), nn.Linear(width, 4 * width), nn.Mish())
        self.to_time_cond = nn.Sequential(nn.Linear(4 * width, width))
        self.to_time_tokens = nn.Sequential(nn.Linear(4 * width, 2 * width))
        self.norm_cond = nn.LayerNorm(width)
        self.input_projection_lip = nn.Linear(111, width)
        self.input_projection_wo_lip = nn.Linear(93, width)
        self.cond_projection = nn.Linear(audio, width)
        self.face_projection = nn.Linear(204, width)
        self.cond_encoder, self.face_encoder = (
            nn.Sequential(*(EncoderLayer(width, hidden, heads) for _ in range(2))) for _ in range(2)
        )
        self.non_attn_cond_projection, self.non_attn_face_projection = (
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)
            )
            for _ in range(2)
        )
        stack = nn.ModuleList(DecoderLayer(width, heads) for _ in range(depth))
        self.seqTransDecoder = nn.ModuleDict({"stack": stack})
        self.final_layer = nn.Linear(2 * width, 204)

    def forward(
        self, x: Tensor, face: Tensor, audio: Tensor, timestep: Tensor, *, dropped: bool = False
    ) -> Tensor:
        """The clean residual; `dropped` takes the conditions away after encoding them."""
        heard = self.cond_encoder(self.cond_projection(audio))
        seen = self.face_encoder(self.face_projection(face.expand_as(x)))
        hidden = self.non_attn_cond_projection(heard.mean(1))
        if dropped:
            heard, hidden = self.null_cond_embed.expand_as(heard), self.null_cond_hidden
            seen = self.face_null_cond_embed.expand_as(seen)
        waves = self.time_mlp(sinusoids(timestep, self.width))
        time = self.to_time_cond(waves) + 2 * self.non_attn_face_projection(seen.mean(1)) + hidden
        tokens = self.to_time_tokens(waves).unflatten(-1, (2, -1))
        memory = self.norm_cond(torch.cat([heard, tokens, seen], dim=1))
        face_memory = self.norm_cond(torch.cat([tokens, seen], dim=1))
        points = x.unflatten(-1, (68, 3))
        lower = torch.cat([points[:, :, :17], points[:, :, 48:]], dim=2).flatten(2)
        halves = (
            self.input_projection_lip(lower),
            self.input_projection_wo_lip(points[:, :, 17:48].flatten(2)),
        )
        h = torch.cat(halves, dim=-1)
        for layer in cast(nn.ModuleList, self.seqTransDecoder["stack"]):
            h = layer(h, memory, face_memory, time)
        return self.final_layer(h)

    def guided(
        self, x: Tensor, face: Tensor, audio: Tensor, timestep: Tensor, guidance: float
    ) -> Tensor:
        """Once without the conditions, once with them."""
        without = self(x, face, audio, timestep, dropped=True)
        return without + (self(x, face, audio, timestep) - without) * guidance


def sinusoids(timestep: Tensor, width: int) -> Tensor:
    """`[B]` → `[B, width]`."""
    half = width // 2
    index = torch.arange(half, device=timestep.device)
    waves = timestep[:, None] * torch.exp(index * -(log(10000) / (half - 1)))
    return torch.cat([waves.sin(), waves.cos()], dim=-1)


def alive(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """An upstream state dict without the weights that are never applied."""
    return {
        key: value
        for key, value in state.items()
        if not key.startswith(DEAD)
        and not key.endswith("rotary.freqs")
        and not ("stack." in key and (".linear1." in key or ".linear2." in key))
    }
