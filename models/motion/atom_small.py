"""AToM as we train it: small, and without the bottleneck of the published network.

Stage 3. What the paper (Kim et al. 2024, section 3.2) describes and Table 2 measures, one switch
each: residuals instead of landmarks, an embedding of the first landmarks, and a lip half that
listens while the upper half does not. Unlike the published weights (`atom.py`), every layer has its
residuals and its feed-forward part, the first landmarks are six different tokens instead of 156
equal ones and reach every frame, and only the lip half ever meets the speech.

Lengths are inter-ocular distances on a frontal face in the frame of the rig (`rig.py`), divided by
each coordinate's usual deviation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import checkpoints
from .kdtalker import sinusoids
from .rotary_attention import join_heads, modulated, split_heads

REGIONS = ((0, 17), (17, 27), (27, 36), (36, 48), (48, 60), (60, 68))  # jaw … inner lips
UPPER = slice(51, 144)  # channels of brows, nose and eyes among 68 × xyz
LIMIT = 6.0  # deviations a clean residual may have
# How steeply each head's attention falls off per frame, and around which frame: heads look at the
# present, a little back, a little ahead, and wide.
FRAME_HEADS = ((1.0, 0), (0.3, -2), (0.3, 2), (0.05, 0))
SPEECH_HEADS = ((2.0, 0), (0.5, -2), (0.5, 2), (0.15, 0))


@dataclass(frozen=True, kw_only=True)
class AToMSmallConfig:
    """Sizes, and the rungs of Table 2."""

    speech_channels: int = 64  # the starter's stream "expression", one row per frame
    frames: int = 100  # one window, 4 s at 25 fps
    width: int = 96
    depth: int = 3
    heads: int = 4
    reach: int = 10  # frames that lips hear before and after their own
    residual: bool = True  # predict the way from the first landmarks, not where landmarks are
    landmarks: bool = True  # see the first landmarks
    disentangled: bool = True  # two halves of which one listens, not one that does

    @property
    def halves(self) -> tuple[tuple[int, ...], ...]:
        """The channels of each half, the one that listens first."""
        every = range(204)
        if not self.disentangled:
            return (tuple(every),)
        upper = tuple(every[UPPER])
        return tuple(i for i in every if i not in upper), upper


class Attention(nn.Module):
    """[B, T, width] attend to [B, L, width], with a bias [heads, T, L] on the logits."""

    def __init__(self, width: int, heads: int, operations: ModuleType | Any):
        super().__init__()
        self.heads = heads
        self.queries = operations.Linear(width, width)
        self.keys_values = operations.Linear(width, 2 * width)
        self.out = operations.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor, bias: Tensor | None) -> Tensor:
        """What the frames gather."""
        keys, values = self.keys_values(memory).chunk(2, dim=-1)
        q, k, v = (split_heads(part, self.heads) for part in (self.queries(x), keys, values))
        return self.out(join_heads(F.scaled_dot_product_attention(q, k, v, attn_mask=bias)))


class Layer(nn.Module):
    """Attention to frames, attention to a memory, feed-forward: [B, T, width] → [B, T, width]."""

    def __init__(self, width: int, heads: int, operations: ModuleType | Any):
        super().__init__()
        self.norms = nn.ModuleList(operations.LayerNorm(width) for _ in range(3))
        self.film = operations.Linear(width, 6 * width)
        self.frames = Attention(width, heads, operations)
        self.memory = Attention(width, heads, operations)
        self.inner = operations.Linear(width, 2 * width)
        self.outer = operations.Linear(2 * width, width)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        time: Tensor,
        frame_bias: Tensor,
        memory_bias: Tensor | None,
    ) -> Tensor:
        """The half after the layer; `time [B, 1, width]` scales and shifts all three parts."""
        films = self.film(time).chunk(3, dim=-1)
        first, second, third = self.norms
        y = first(x)
        x = x + modulated(self.frames(y, y, frame_bias), films[0])
        x = x + modulated(self.memory(second(x), memory, memory_bias), films[1])
        return x + modulated(self.outer(F.gelu(self.inner(third(x)))), films[2])


class AToMSmall(nn.Module):
    """Predicts the clean window in a noisy one, standardised.

    noisy [B, T, 204], landmarks [B, 204] in inter-ocular distances, speech [B, T, channels],
    timestep [B], kept [B] bool (false: neither speech nor landmarks are known) → [B, T, 204]
    """

    def __init__(self, config: AToMSmallConfig, operations: ModuleType | Any = nn):
        super().__init__()
        self.config = config
        width, halves = config.width, config.halves
        self.mean = nn.Parameter(torch.zeros(204), requires_grad=False)
        self.deviation = nn.Parameter(torch.ones(204), requires_grad=False)
        self.face = nn.Parameter(torch.zeros(204), requires_grad=False)  # the average one
        self.time_in = operations.Linear(width, width)
        self.time_out = operations.Linear(width, width)
        self.noisy_in = nn.ModuleList(operations.Linear(len(half), width) for half in halves)
        self.clean_out = nn.ModuleList(operations.Linear(width, len(half)) for half in halves)
        self.norms = nn.ModuleList(operations.LayerNorm(width) for _ in halves)
        self.speech_in = operations.Linear(config.speech_channels, width)
        self.speech_norm = operations.LayerNorm(width)
        self.layers = nn.ModuleList(
            Layer(width, config.heads, operations) for _ in range(config.depth)
        )
        self.null_speech = nn.Parameter(torch.zeros(width))
        self.empty = nn.Parameter(torch.zeros(1, 1, width))  # to attend to where nothing is known
        if config.landmarks:
            self.regions_in = nn.ModuleList(
                operations.Linear(3 * (stop - start), width) for start, stop in REGIONS
            )
            self.landmarks_in = nn.ModuleList(operations.Linear(204, width) for _ in halves)
            self.null_landmarks = nn.Parameter(torch.zeros(len(REGIONS) + len(halves), width))

    def forward(
        self,
        noisy: Tensor,
        landmarks: Tensor,
        speech: Tensor,
        timestep: Tensor,
        kept: Tensor | None = None,
    ) -> Tensor:
        """The clean window."""
        kept = torch.ones_like(timestep, dtype=torch.bool) if kept is None else kept
        x = noisy.to(self.empty.dtype)
        time = self._time(timestep)
        heard = self._heard(speech.to(x), kept)
        tokens, added = self._identity(landmarks.to(x), kept)
        frame_bias, heard_bias = self._biases(x)
        clean = torch.empty_like(x)
        for i, half in enumerate(self.config.halves):
            listens = i == 0
            memory = torch.cat([tokens, heard], dim=1) if listens else tokens
            bias = F.pad(heard_bias, (tokens.shape[1], 0)) if listens else None
            h = self.noisy_in[i](x[..., list(half)]) + added[i]
            for layer in self.layers:
                h = layer(h, memory, time, frame_bias, bias)
            clean[..., list(half)] = self.clean_out[i](self.norms[i](h))
        return clean.to(noisy.dtype)

    def standardise(self, landmarks: Tensor, first: Tensor) -> Tensor:
        """Landmarks `[B, T, 204]` as the network speaks of them; `first [B, 204]` is its input."""
        way = landmarks - first[:, None] if self.config.residual else landmarks
        return (way - self.mean) / self.deviation

    def restore(self, clean: Tensor, first: Tensor) -> Tensor:
        """The landmarks that the network's output `[B, T, 204]` means."""
        way = clean * self.deviation + self.mean
        return way + first[:, None] if self.config.residual else way

    def _time(self, timestep: Tensor) -> Tensor:
        waves = sinusoids(timestep, self.config.width).to(self.empty.dtype)
        return F.silu(self.time_out(F.silu(self.time_in(waves))))[:, None]

    def _heard(self, speech: Tensor, kept: Tensor) -> Tensor:
        heard = self.speech_norm(self.speech_in(speech))
        return torch.where(kept[:, None, None], heard, self.null_speech.to(heard))

    def _identity(self, landmarks: Tensor, kept: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Tokens `[B, 1 or 7, width]`, and what is added to each frame of each half."""
        empty = self.empty.to(landmarks).expand(len(landmarks), -1, -1)
        if not self.config.landmarks:
            return empty, [landmarks.new_zeros(1) for _ in self.config.halves]
        shape = (landmarks - self.face.to(landmarks)) * 10
        points = shape.unflatten(-1, (68, 3))
        regions = [
            layer(points[:, start:stop].flatten(1))
            for layer, (start, stop) in zip(self.regions_in, REGIONS, strict=True)
        ]
        known = torch.stack([*regions, *(layer(shape) for layer in self.landmarks_in)], dim=1)
        known = torch.where(kept[:, None, None], known, self.null_landmarks.to(known))
        tokens, added = known[:, : len(REGIONS)], known[:, len(REGIONS) :]
        return torch.cat([empty, tokens], dim=1), [*added[:, :, None].unbind(1)]

    def _biases(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Frames attend to near frames, and lips hear the sound around them: `[heads, T, T]`."""
        place = torch.arange(x.shape[1], device=x.device, dtype=torch.float32)
        way = place - place[:, None]
        frames, speech = (
            torch.stack([-steep * (way - centre).abs() for steep, centre in heads])
            for heads in (FRAME_HEADS, SPEECH_HEADS)
        )
        speech = speech.masked_fill(way.abs() > self.config.reach, float("-inf"))
        repeats = self.config.heads // len(FRAME_HEADS), 1, 1
        return frames.repeat(repeats).to(x), speech.repeat(repeats).to(x)


def build(
    state: Mapping[str, Tensor], metadata: Mapping[str, str], operations: ModuleType | Any = nn
) -> nn.Module:
    """The empty network; its configuration stands in the file."""
    return AToMSmall(AToMSmallConfig(**checkpoints.config_of(metadata)), operations)
