"""Speech to LivePortrait motion by diffusion: the denoiser of KDTalker (Yang et al. 2025).

Stage 3. A transformer over time: 2 reference tokens (the canonical keypoints, the motion just
before the window) and 64 noisy frames of standardised motion. `kdtalker_motion.py` samples with it.

Every block is told the timestep and the speech by one linear layer over both. What it makes of the
speech is the same in all steps of a window, what it makes of the timestep the same for all frames
and windows; so `condition` and `time_table` compute each once, and `step` adds them. The same goes
for linear layers with nothing between them, at both ends of the network: they become one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import log
from types import ModuleType
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

StateDict = dict[str, Tensor]
SLOWEST = 1e4  # longest wavelength of the sinusoids, over 2π, in steps of the timestep or in frames


@dataclass(frozen=True, kw_only=True)
class KDTalkerConfig:
    """The published model, 42.9 M parameters."""

    motion_channels: int = 70  # scale, yaw, pitch, roll, translation (3), expression (21 × xyz)
    audio_channels: int = 512  # one Wav2Lip embedding per frame
    time_channels: int = 256
    width: int = 768
    depth: int = 6
    heads: int = 12
    head_channels: int = 64
    buckets: int = 32  # of distances between frames, half of them for each direction
    farthest: int = 128  # frames; all distances beyond share a bucket

    @property
    def rotary_channels(self) -> int:
        """Channels of each head that rotate with time: published as many as there are heads."""
        return 2 * (min(32, self.heads) // 2)


@dataclass(frozen=True, kw_only=True, eq=False)
class Conditioning:
    """What the steps of one window share."""

    speech: list[Tensor]  # per block [B, T, 2 · width]
    distance: Tensor  # [1, heads, T, T], added to the attention logits
    turn: Tensor  # [T, rotary channels, rotary channels], how far the heads' channels rotate
    entrance: tuple[Tensor, Tensor]  # weight and bias: frames → (first block's input, its inner)
    exit: tuple[Tensor, Tensor]  # (last attention's input, what it attended to) → noise


class ModulatedBlock(nn.Module):
    """Two linear layers around a norm that timestep and speech scale and shift: [B, T, width]."""

    def __init__(self, config: KDTalkerConfig, operations: ModuleType | Any):
        super().__init__()
        width = config.width
        self.time_channels = config.time_channels
        self.modulate = operations.Linear(
            config.time_channels + config.audio_channels, 2 * width
        )  # scale, then shift
        self.inner = operations.Linear(width, width)
        self.norm = operations.LayerNorm(width)
        self.outer = operations.Linear(width, width)

    def time_modulation(self, time: Tensor) -> Tensor:
        """The timestep's part of scale and shift, `[…, 2 · width]`."""
        weight, bias = self.modulate.weight.to(time), self.modulate.bias.to(time)
        part = F.linear(F.silu(time), weight[:, : self.time_channels], bias)
        scale, shift = part.chunk(2, dim=-1)
        return torch.cat([scale + 1, shift], dim=-1)

    def speech_modulation(self, speech: Tensor) -> Tensor:
        """The speech's part of scale and shift, `[B, T, 2 · width]`."""
        weight = self.modulate.weight.to(speech)
        return F.linear(F.silu(speech), weight[:, self.time_channels :])

    def forward(self, x: Tensor, modulation: Tensor, inner: Tensor | None = None) -> Tensor:
        """The block and its input, summed; `inner` is `self.inner(x)` where that exists already."""
        inner = self.inner(x) if inner is None else inner
        scale, shift = modulation.chunk(2, dim=-1)
        y = F.silu(torch.addcmul(shift, self.norm(inner), scale))
        return x + F.silu(self.outer(y))


class TimeAttention(nn.Module):
    """Every frame attends to every frame; part of each head rotates with time: [B, T, width]."""

    def __init__(self, config: KDTalkerConfig, operations: ModuleType | Any):
        super().__init__()
        self.heads = config.heads
        inner = config.heads * config.head_channels
        self.norm = operations.LayerNorm(config.width)
        self.qkv = operations.Linear(config.width, 3 * inner, bias=False)
        self.out = operations.Linear(inner, config.width)

    def forward(self, x: Tensor, conditioning: Conditioning) -> Tensor:
        """Attention and its input, summed."""
        return x + self.out(self.attend(x, conditioning))

    def attend(self, x: Tensor, conditioning: Conditioning) -> Tensor:
        """What the heads gather, before it is projected: `[B, T, heads · channels]`."""
        B, T, _ = x.shape
        x = self.norm(x)
        # Three smaller products take less time than one whose result has to be cut up.
        q, k, v = (
            F.linear(x, weight.to(x)).view(B, T, self.heads, -1)
            for weight in self.qkv.weight.chunk(3)
        )
        y = F.scaled_dot_product_attention(
            turned(q, conditioning.turn).transpose(1, 2),
            turned(k, conditioning.turn).transpose(1, 2),
            v.transpose(1, 2),
            attn_mask=conditioning.distance,
        )
        return y.transpose(1, 2).reshape(B, T, -1)


class Layer(nn.Module):
    """Two modulated blocks, then attention over time."""

    def __init__(self, config: KDTalkerConfig, operations: ModuleType | Any):
        super().__init__()
        self.first = ModulatedBlock(config, operations)
        self.second = ModulatedBlock(config, operations)
        self.attention = TimeAttention(config, operations)


class KDTalker(nn.Module):
    """Predicts the noise in a window of standardised motion.

    x [B, T, 70], timestep [B], context [B, T, 512] → [B, T, 70]. The first two tokens are the
    references, whose context is zero; published T is 2 + 64.
    """

    def __init__(self, config: KDTalkerConfig, operations: ModuleType | Any = nn):
        super().__init__()
        self.config = config
        self.time_in = operations.Linear(config.width, config.time_channels)
        self.time_out = operations.Linear(config.time_channels, config.time_channels)
        self.motion_in = operations.Linear(config.motion_channels, config.width)
        self.layers = nn.ModuleList(Layer(config, operations) for _ in range(config.depth))
        self.distance_bias = operations.Embedding(config.buckets, config.heads)
        self.rotary_frequencies = nn.Parameter(
            rotary_frequencies(config.rotary_channels), requires_grad=False
        )
        self.motion_out = operations.Linear(config.width, config.motion_channels)

    def forward(self, x: Tensor, timestep: Tensor, context: Tensor) -> Tensor:
        """The noise in `x`."""
        return self.step(x, self.time_table(timestep), self.condition(context))

    def time_table(self, timesteps: Tensor) -> Tensor:
        """What every block makes of the timesteps `[S]`: `[S, blocks, 2 · width]`."""
        waves = sinusoids(timesteps, self.config.width)
        time = self.time_out(F.silu(self.time_in(waves.to(self._dtype()))))
        return torch.stack([block.time_modulation(time) for block in self._blocks()], dim=1)

    def condition(self, context: Tensor) -> Conditioning:
        """What the steps of a window share, from its speech `[B, T, 512]`."""
        context = context.to(self._dtype())
        positions = torch.arange(context.shape[1], device=context.device)
        frequencies = self.rotary_frequencies.to(context.device, torch.float32)
        bucket = distance_buckets(positions, self.config.buckets, self.config.farthest)
        return Conditioning(
            speech=[block.speech_modulation(context) for block in self._blocks()],
            distance=self.distance_bias(bucket).permute(2, 0, 1)[None].to(context).contiguous(),
            turn=rotations(positions[:, None] * frequencies).to(context),
            entrance=self._entrance(context),
            exit=self._exit(context),
        )

    def step(self, x: Tensor, time: Tensor, conditioning: Conditioning) -> Tensor:
        """The noise in `x` `[B, T, 70]`.

        Args:
            x: references and noisy frames.
            time: rows of `time_table`, `[1 or B, blocks, 2 · width]`.
            conditioning: of this window.
        """
        modulations = (speech + time[:, i, None] for i, speech in enumerate(conditioning.speech))
        h, inner = F.linear(x.to(self._dtype()), *conditioning.entrance).chunk(2, dim=-1)
        layers = self._layers()
        h = layers[0].first(h, next(modulations), inner)
        h = layers[0].second(h, next(modulations))
        for before, layer in pairwise(layers):
            h = before.attention(h, conditioning)
            h = layer.first(h, next(modulations))
            h = layer.second(h, next(modulations))
        attended = layers[-1].attention.attend(h, conditioning)
        return F.linear(torch.cat([h, attended], dim=-1), *conditioning.exit).to(x.dtype)

    def _entrance(self, like: Tensor) -> tuple[Tensor, Tensor]:
        outer, inner = self.motion_in, self._layers()[0].first.inner
        weight, bias = outer.weight.to(like), outer.bias.to(like)
        inner_weight, inner_bias = inner.weight.to(like), inner.bias.to(like)
        return (
            torch.cat([weight, inner_weight @ weight]),
            torch.cat([bias, inner_weight @ bias + inner_bias]),
        )

    def _exit(self, like: Tensor) -> tuple[Tensor, Tensor]:
        outer, inner = self.motion_out, self._layers()[-1].attention.out
        weight, bias = outer.weight.to(like), outer.bias.to(like)
        return (
            torch.cat([weight, weight @ inner.weight.to(like)], dim=1),
            weight @ inner.bias.to(like) + bias,
        )

    def _blocks(self) -> list[ModulatedBlock]:
        return [block for layer in self._layers() for block in (layer.first, layer.second)]

    def _layers(self) -> list[Layer]:
        return [cast(Layer, layer) for layer in self.layers]

    def _dtype(self) -> torch.dtype:
        return self.rotary_frequencies.dtype


def sinusoids(timesteps: Tensor, channels: int) -> Tensor:
    """`[sin(t · f), cos(t · f)]` of `[S]`, f from 1 down to 1/10000: `[S, channels]` float32."""
    half = channels // 2
    index = torch.arange(half, device=timesteps.device, dtype=torch.float32)
    frequencies = torch.exp(index * (-log(SLOWEST) / (half - 1)))
    angles = timesteps.float()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def rotary_frequencies(channels: int) -> Tensor:
    """Radians per frame of each rotating pair (Su et al. 2021, section 3.2.2), `[channels / 2]`."""
    return SLOWEST ** (-torch.arange(0, channels, 2, dtype=torch.float32) / channels)


def turned(x: Tensor, turn: Tensor) -> Tensor:
    """The first channels of every head of `[B, T, heads, C]` turned by `[T, c, c]`, in place."""
    channels = turn.shape[-1]
    # A copy, because the original is overwritten and training needs it.
    x[..., :channels] = x[..., :channels].contiguous() @ turn
    return x


def rotations(angles: Tensor) -> Tensor:
    """Matrices that turn neighbouring channels of row vectors: `[T, C / 2]` → `[T, C, C]`."""
    count, pairs = angles.shape
    matrices = angles.new_zeros(count, 2 * pairs, 2 * pairs)
    even = torch.arange(0, 2 * pairs, 2, device=angles.device)
    matrices[:, even, even] = matrices[:, even + 1, even + 1] = angles.cos()
    matrices[:, even, even + 1] = angles.sin()
    matrices[:, even + 1, even] = -angles.sin()
    return matrices


def distance_buckets(positions: Tensor, buckets: int, farthest: int) -> Tensor:
    """Which of the `buckets` the distance from frame i to frame j falls into, `[T, T]` int64.

    Half of them for frames j after i; of each half, half for single frames and half for distances
    that grow by a factor (Raffel et al. 2020, section 2.1).
    """
    distance = positions[:, None] - positions[None]
    half = buckets // 2
    exact = half // 2
    away = distance.abs()
    growth = torch.log(away.clamp(min=1).float() / exact) / log(farthest / exact)
    far = (exact + (growth * (half - exact)).long()).clamp(max=half - 1)
    return torch.where(away < exact, away, far) + (distance < 0) * half


def prepare(state: StateDict) -> StateDict:
    """Upstream's tensors in the shapes of our layers: flat norms, one set of rotary frequencies.

    The frequencies stand in every layer of the file, being one shared tensor; where they are
    absent they are the constant they were trained with.
    """
    prepared = {
        key: value.flatten() if key.endswith((".gamma", ".beta")) else value
        for key, value in state.items()
        if not key.endswith("rotary_emb.freqs")
    }
    frequencies = [state[key] for key in state if key.endswith("rotary_emb.freqs")]
    bias = state.get("time_rel_pos_bias.relative_attention_bias.weight")
    if frequencies:
        prepared["rotary_frequencies"] = frequencies[-1]
    elif bias is not None:
        heads = bias.shape[-1]
        prepared["rotary_frequencies"] = rotary_frequencies(2 * (min(32, heads) // 2))
    return prepared


def config_of(state: StateDict) -> KDTalkerConfig:
    """The sizes, read off the weights."""
    width, motion_channels = state["motion_in.weight"].shape
    time_channels = state["time_in.weight"].shape[0]
    heads = state["distance_bias.weight"].shape[-1]
    return KDTalkerConfig(
        motion_channels=motion_channels,
        audio_channels=state["layers.0.first.modulate.weight"].shape[-1] - time_channels,
        time_channels=time_channels,
        width=width,
        depth=len({key.split(".")[1] for key in state if key.startswith("layers.")}),
        heads=heads,
        head_channels=state["layers.0.attention.qkv.weight"].shape[0] // (3 * heads),
        buckets=state["distance_bias.weight"].shape[0],
    )


def build(
    state: StateDict, metadata: dict[str, str], operations: ModuleType | Any = nn
) -> nn.Module:
    """The empty network, of the weights' sizes."""
    return KDTalker(config_of(state), operations)
