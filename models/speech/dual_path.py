"""The dual-path speech encoder of KSDiff: one stream for the expression, one for the head pose.

Stage 1. After Lyu, Zhao & Wang, "KSDiff: Keyframe-Augmented Speech-Aware Dual-Path Diffusion for
Facial Animation" (2025), figure 1b, as far as it is published; sizes, windows and how the text
enters are ours. `ksdiff.py` listens with it.

Expression follows what is fast in speech, the head what is slow. So the features of a frozen
encoder, widened by dilated convolutions, are pooled over long and mid windows for the head, and,
modulated by the prosody, over short windows for the face; every pooled token then looks back at the
features around it. Nothing depends on the length of the sound or on what is far away: `reach` says
how far, so pieces with that much of their surroundings give what the whole gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import lcm
from types import ModuleType
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import checkpoints
from ..local_attention import LocalAttention
from .transcript import CODES

FEATURE_RATE = 50  # speech features per second
FRAME_RATE = 25  # frames per second inside the system
PER_FRAME = FEATURE_RATE // FRAME_RATE


@dataclass(frozen=True, kw_only=True)
class DualPathConfig:
    """Sizes, and the switches of the paper's ablations. Windows count features, 20 ms each."""

    inputs: int = 192  # channels of the frozen encoder
    width: int = 128
    heads: int = 4
    kernel: int = 5
    dilations: tuple[int, ...] = (1, 3, 9)  # 0.1, 0.3 and 0.7 s are seen at once
    groups: int = 8
    long: int = 50  # 1 s: drift of the head
    mid: int = 20  # 0.4 s: nods
    short: int = 2  # 40 ms: visemes
    long_reach: int = 50  # how far to both sides the tokens look, features
    mid_reach: int = 30
    short_reach: int = 12
    text_reach: int = 50  # frames; the places of characters are guesses
    disentangled: bool = True  # False: both paths get the same features
    prosody: bool = True  # False: loudness and pitch do not modulate the expression
    transcript: bool = True  # False: the text stream is zeros

    @property
    def reach(self) -> int:
        """Features to either side that can change a frame."""
        around = (self.kernel - 1) // 2 * max(self.dilations)
        looking = max(
            stride_of(window) + max(window, reach)
            for window, reach in (
                (self.long, self.long_reach),
                (self.mid, self.mid_reach),
                (self.short, self.short_reach),
            )
        )
        return around + looking

    @property
    def grid(self) -> int:
        """Pieces of a sound must start at a multiple of this many features."""
        return lcm(*(stride_of(window) for window in (self.long, self.mid, self.short)))


def stride_of(window: int) -> int:
    """Features from one pooled token to the next: half a window, but a frame at least."""
    return max(window // 2, PER_FRAME)


class Heard(NamedTuple):
    """What the encoder makes of a sound, one row per frame at 25 frames/s."""

    pose: Tensor  # [B, T, D]
    expression: Tensor  # [B, T, D]
    text: Tensor  # [B, T, D]


class Branch(nn.Module):
    """One dilated branch: depthwise convolution, norm, gate, mix.

    forward: features (B, C, N) -> (B, out, N)
    """

    def __init__(
        self, config: DualPathConfig, dilation: int, out: int, operations: ModuleType | Any = nn
    ) -> None:
        super().__init__()
        width, kernel = config.width, config.kernel
        self.around = operations.Conv1d(
            width,
            width,
            kernel,
            dilation=dilation,
            padding=(kernel - 1) // 2 * dilation,
            groups=width,
        )
        self.norm = operations.GroupNorm(config.groups, width)
        self.mix = operations.Linear(width // 2, out)  # one half of the channels gates the other

    def forward(self, x: Tensor) -> Tensor:
        """Every moment is normalised by itself, so that no answer depends on the length."""
        spread = self.around(x).transpose(1, 2)
        normed = self.norm(spread.flatten(0, 1)).unflatten(0, spread.shape[:2])
        return self.mix(F.glu(normed, dim=-1))


class DilatedConvolutions(nn.Module):
    """Multi-scale dilated convolutions (MSDC): parallel branches, joined, added to what came in.

    forward: features (B, N, C) -> (B, N, C)
    """

    def __init__(self, config: DualPathConfig, operations: ModuleType | Any = nn) -> None:
        super().__init__()
        share = config.width // len(config.dilations)
        self.branches = nn.ModuleList(
            Branch(config, dilation, share, operations) for dilation in config.dilations
        )
        self.join = operations.Linear(share * len(config.dilations), config.width)

    def forward(self, x: Tensor) -> Tensor:
        """Look around at all scales."""
        channels = x.transpose(1, 2)
        return x + self.join(torch.cat([branch(channels) for branch in self.branches], dim=-1))


class PooledTokens(nn.Module):
    """Tokens of a window each, which then look at the features around them.

    forward: features (B, N, C) -> (B, ceil(N / stride), C)
    """

    def __init__(
        self, config: DualPathConfig, window: int, reach: int, operations: ModuleType | Any = nn
    ) -> None:
        super().__init__()
        width = config.width
        self.window, self.stride = window, stride_of(window)
        self.padding = (window - self.stride) // 2
        self.token = operations.Linear(width, width)
        self.norm = operations.LayerNorm(width)
        self.memory_norm = operations.LayerNorm(width)
        self.attention = LocalAttention(
            width,
            config.heads,
            before=reach,
            after=reach,
            inner=width // 2,
            operations=operations,
        )
        self.mix_norm = operations.LayerNorm(width)
        self.widen = operations.Linear(width, 2 * width)
        self.narrow = operations.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Pool, then refine: cross-attention with the features, feed-forward."""
        tokens = self.token(self.pool(x))
        places = torch.arange(x.shape[1], device=x.device)
        middle = torch.arange(tokens.shape[1], device=x.device) * self.stride + self.stride // 2
        distances = places - middle.clamp(max=x.shape[1] - 1)[:, None]
        tokens = tokens + self.attention(self.norm(tokens), self.memory_norm(x), distances)
        return tokens + self.narrow(F.gelu(self.widen(self.mix_norm(tokens))))

    def pool(self, x: Tensor) -> Tensor:
        """Means over windows half a window apart; at the ends over what there is of them."""
        after = self.window - self.stride - self.padding + -x.shape[1] % self.stride
        weight = x.new_ones(1, 1, x.shape[1])
        sums, weights = (
            F.avg_pool1d(F.pad(values, (self.padding, after)), self.window, self.stride)
            for values in (x.transpose(1, 2), weight)
        )
        return (sums / weights.clamp(min=1e-6)).transpose(1, 2)

    def at_frames(self, tokens: Tensor, count: int) -> Tensor:
        """Tokens `[B, n, C]`, linearly interpolated at `count` frames."""
        if self.stride == PER_FRAME:
            return tokens[:, :count]
        frames = torch.arange(count, device=tokens.device) * PER_FRAME + (PER_FRAME - 1) / 2
        centre = (self.window - 1) / 2 - self.padding
        place = ((frames - centre) / self.stride).clamp(0, tokens.shape[1] - 1)
        before = place.floor().long()
        after = (before + 1).clamp(max=tokens.shape[1] - 1)
        share = (place - before).to(tokens)[:, None]
        return tokens[:, before].lerp(tokens[:, after], share)


class Reader(nn.Module):
    """What is said around each frame, or a learned nothing where nobody wrote it down.

    forward: frames (B, T, C), text (B, L) codes or None, times (B, L) frames -> (B, T, C)
    """

    def __init__(self, config: DualPathConfig, operations: ModuleType | Any = nn) -> None:
        super().__init__()
        width, self.heads, self.reach = config.width, config.heads, config.text_reach
        self.characters = operations.Embedding(CODES, width)
        self.syllables = operations.Conv1d(width, width, 3, padding=1)
        self.nothing = nn.Parameter(torch.zeros(width))
        self.focus = nn.Parameter(torch.full((config.heads,), -2.0))
        self.norm = operations.LayerNorm(width)
        self.query = operations.Linear(width, width // 2)
        self.memory = operations.Linear(width, width)
        self.out = operations.Linear(width // 2, width)

    def forward(self, frames: Tensor, text: Tensor | None, times: Tensor | None) -> Tensor:
        """One row of meaning per frame."""
        batch, count, _ = frames.shape
        nothing = self.nothing.expand(batch, 1, -1)
        if text is None or text.shape[1] == 0:
            return self.out(self.memory(nothing).chunk(2, dim=-1)[1]).expand(batch, count, -1)
        if times is None:
            times = even_times(text, count)
        letters = self.characters(text) * (text > 0)[..., None]
        syllables = F.gelu(self.syllables(letters.transpose(1, 2)).transpose(1, 2))
        memory = torch.cat([nothing, letters + syllables], dim=1)
        keys, values = (self._split(x) for x in self.memory(memory).chunk(2, dim=-1))
        queries = self._split(self.query(self.norm(frames)))
        bias = self.bias(count, text, times).to(queries.dtype)
        found = F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias)
        return self.out(found.transpose(1, 2).flatten(2))

    def bias(self, count: int, text: Tensor, times: Tensor) -> Tensor:
        """`[B, heads, T, 1 + L]`: near characters matter more, far ones and padding not at all."""
        centres = torch.arange(count, device=text.device)[:, None]
        away = (centres - times[:, None].float()).abs()
        nearness = -F.softplus(self.focus)[:, None, None] * away[:, None]
        hidden = (away > self.reach) | (text == 0)[:, None]
        return F.pad(nearness.masked_fill(hidden[:, None], float("-inf")), (1, 0))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class DualPathSpeech(nn.Module):
    """Hears what the face does and what the head does, apart from each other.

    forward: features (B, 2T, inputs), prosody (B, 2T, 2), text (B, L) or None
        -> pose, expression, text (B, T, width) each
    """

    def __init__(self, config: DualPathConfig, operations: ModuleType | Any = nn) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.norm = operations.LayerNorm(config.inputs)
        self.adapter = operations.Linear(config.inputs, width)
        self.convolutions = DilatedConvolutions(config, operations)
        if config.prosody:
            self.modulate = operations.Linear(2, 2 * width)
            nn.init.zeros_(self.modulate.weight)
            nn.init.zeros_(self.modulate.bias)
        self.long = PooledTokens(config, config.long, config.long_reach, operations)
        self.mid = PooledTokens(config, config.mid, config.mid_reach, operations)
        self.short = PooledTokens(config, config.short, config.short_reach, operations)
        if config.disentangled:
            self.pose = operations.Linear(2 * width, width)
            self.expression = operations.Linear(width, width)
        else:
            self.both = operations.Linear(3 * width, width)
        if config.transcript:
            self.reader = Reader(config, operations)

    def forward(
        self,
        features: Tensor,
        prosody: Tensor,
        text: Tensor | None = None,
        times: Tensor | None = None,
    ) -> Heard:
        """Listen.

        Args:
            features: `[B, 2T, inputs]` of the frozen encoder, at 50 Hz.
            prosody: `[B, 2T, 2]`, see `prosody_channels`.
            text: `[B, L]` int64 characters, see `transcript.character_codes`; 0 pads.
            times: `[B, L]` in which frame each is said, roughly; by default at an even pace.
        """
        frames = features.shape[1] // PER_FRAME
        heard = self.convolutions(F.gelu(self.adapter(self.norm(features))))
        slow = [part.at_frames(part(heard), frames) for part in (self.long, self.mid)]
        fast = self.short.at_frames(self.short(self.modulated(heard, prosody)), frames)
        if self.config.disentangled:
            pose, expression = self.pose(torch.cat(slow, dim=-1)), self.expression(fast)
        else:
            pose = expression = self.both(torch.cat([*slow, fast], dim=-1))
        if self.config.transcript:
            return Heard(pose, expression, self.reader(fast, text, times))
        return Heard(pose, expression, torch.zeros_like(pose))

    def modulated(self, heard: Tensor, prosody: Tensor) -> Tensor:
        """FiLM (Perez et al. 2018): scale and shift by loudness and pitch."""
        if not self.config.prosody:
            return heard
        scale, shift = self.modulate(prosody.to(heard.dtype)).chunk(2, dim=-1)
        return heard * (1 + scale) + shift


def prosody_channels(energy: Tensor, f0: Tensor) -> Tensor:
    """The two prosody channels of a whole sound, with the voice's own level and pitch taken out.

    Args:
        energy: `[N, 1]` 0 … 1, see `prosody.prosody_streams`.
        f0: `[N, 1]` Hz, 0 where unvoiced.

    Returns:
        `[N, 2]` float32: energy around its middle; log pitch in standard deviations around the
        voice's mean, interpolated through the unvoiced, −3 … 3, 0 where nobody speaks at all.
    """
    loudness = (energy[:, 0] - 0.4) / 0.3
    voiced = f0[:, 0] > 0
    if not voiced.any():
        return torch.stack([loudness, torch.zeros_like(loudness)], dim=1)
    known = f0[voiced, 0].log()
    deviation = known.std(correction=0).clamp(min=0.08)  # 1.4 semitones: a monotonous voice
    level = ((known - known.mean()) / deviation).clamp(-3, 3)
    return torch.stack([loudness, _interpolated(voiced, level)], dim=1)


def even_times(text: Tensor, frames: int) -> Tensor:
    """Frames at which the characters `[B, L]` are said at an even pace, padding left out."""
    length = (text > 0).sum(1, keepdim=True).clamp(min=1)
    place = torch.arange(text.shape[1], device=text.device) + 0.5
    return place * frames / length


def _interpolated(known: Tensor, values: Tensor) -> Tensor:
    """Values at the true places of `known [N]`, joined by straight lines."""
    places = known.nonzero()[:, 0]
    everywhere = torch.arange(len(known))
    after = torch.searchsorted(places, everywhere).clamp(max=len(places) - 1)
    before = (after - 1).clamp(min=0)
    gap = (places[after] - places[before]).clamp(min=1)
    share = ((everywhere - places[before]) / gap).clamp(0, 1)
    return torch.lerp(values[before], values[after], share.to(values))


def build(
    state: Mapping[str, Tensor], metadata: Mapping[str, str], operations: ModuleType | Any = nn
) -> DualPathSpeech:
    """The empty network for a weight file: the metadata's sizes, or what the tensors tell."""
    given = checkpoints.config_of(metadata)
    if not given:
        width, inputs = state["adapter.weight"].shape
        given = {
            "inputs": inputs,
            "width": width,
            "disentangled": "pose.weight" in state,
            "prosody": "modulate.weight" in state,
            "transcript": "reader.nothing" in state,
        }
    names = {field.name for field in fields(DualPathConfig)}
    sizes = {key: value for key, value in given.items() if key in names}
    if "dilations" in sizes:
        sizes["dilations"] = tuple(sizes["dilations"])
    return DualPathSpeech(DualPathConfig(**cast(dict[str, Any], sizes)), operations)
