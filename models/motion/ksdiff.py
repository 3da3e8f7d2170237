"""One of KSDiff's two diffusion paths: speech and keyframes to expression or to head pose.

Stage 3. After Lyu et al. 2025 (arXiv 2509.20128), who publish neither weights nor sizes: two
denoisers on DiffSpeaker's biased attention, each told its half of the speech, the transcript and
its keyframes, with long skips from the first blocks to the last. What they leave open is our own
choice. `ksdiff_motion.py` samples with two of these, `training/` trains them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from types import ModuleType
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import checkpoints
from ..sampling import Schedule, alphas_cumprod, cosine_betas
from .biased_attention import (
    BiasedLayer,
    band_bias,
    distance_bias,
    periodic_encoding,
    timestep_encoding,
)

PATHS = ("expression", "pose")
CHANNELS = {"expression": 52, "pose": 7}  # ARKit weights; rotation, translation, log scale
TOKENS = 2  # before the keys and values: the timestep, and a learned one that means nothing else


@dataclass(frozen=True, kw_only=True)
class PathConfig:
    """The expression path of the bundled model."""

    channels: int = 52  # ARKit weights; the pose path has 7: rotation (degrees), translation
    # (inter-ocular distances), log scale
    speech: int = 128  # channels of the speech stream
    text: int = 128  # channels of the text stream
    width: int = 128
    heads: int = 4
    inner: int = 256  # channels within the perceptrons; twice the width, as in DiffSpeaker
    layers: int = 4  # half of them before, half behind the long skips
    period: int = 25  # frames within which distance costs nothing, 1 s
    symmetric: bool = True  # whether past and future cost alike; not so in DiffSpeaker
    band: int = 0  # frames of speech to either side that a frame attends to
    reach: int = 6  # frames to either side of a keyframe that are told of it
    keyframes: int = 1  # sequences of keyframes that are heard; 0, or 2 if one path does it all
    transcript: bool = True  # whether the text stream is heard
    readout: bool = False  # whether a linear layer says what speech alone tells


class PathDenoiser(nn.Module):
    """Predicts the clean, standardised coefficients in noisy ones.

    noisy [B, T, C], timestep [B], speech [B, T, D], strength [B, T], text [B, T, D] -> [B, T, C]
    """

    mean: Tensor  # [C] of the training data, in the coefficients' units
    deviation: Tensor  # [C]
    trust: Tensor  # [C] share of the readout in each coefficient, 0 … 1

    def __init__(self, config: PathConfig, operations: ModuleType | Any = nn) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.register_buffer("mean", torch.zeros(config.channels))
        self.register_buffer("deviation", torch.ones(config.channels))
        self.motion_in = operations.Linear(config.channels, width)
        self.speech_in = operations.Linear(config.speech, width)
        self.no_speech = nn.Parameter(0.02 * torch.randn(width))
        self.is_known = nn.Parameter(0.02 * torch.randn(width))
        self.nothing = nn.Parameter(0.02 * torch.randn(width))
        if config.keyframes:
            self.keyframes_in = operations.Conv1d(
                config.keyframes, width, 2 * config.reach + 1, padding=config.reach
            )
            self.no_keyframes = nn.Parameter(0.02 * torch.randn(width))
        if config.transcript:
            self.text_in = operations.Linear(config.text, width, bias=False)
        self.time_in = operations.Linear(width, width)
        self.time_out = operations.Linear(width, width)
        self.layers = nn.ModuleList(
            BiasedLayer(width, config.heads, config.inner, operations) for _ in range(config.layers)
        )
        self.skips = nn.ModuleList(
            operations.Linear(2 * width, width) for _ in range(config.layers // 2)
        )
        if config.readout:
            self.readout = operations.Linear(config.speech, config.channels)
            self.register_buffer("trust", torch.zeros(config.channels))
        self.norm = operations.LayerNorm(width)
        self.motion_out = operations.Linear(width, config.channels)
        nn.init.zeros_(self.motion_out.weight)
        nn.init.zeros_(self.motion_out.bias)

    def forward(
        self,
        noisy: Tensor,
        timestep: Tensor,
        speech: Tensor,
        strength: Tensor | None = None,
        text: Tensor | None = None,
        *,
        heard: Tensor | None = None,
        known: Tensor | None = None,
        steady: bool = True,
    ) -> Tensor:
        """The clean coefficients.

        Args:
            noisy: standardised coefficients with noise.
            timestep: of the noise, one per clip.
            speech: this path's stream of the dual-path speech encoder.
            strength: of the keyframes, 0 where there is none; below 0, or None, means that nobody
                has said where keyframes are. `[B, T, 2]` for a network of two sequences.
            text: the stream of the transcript; None is an absent one.
            heard: `[B]` bool; a clip that is False gets neither speech nor text, for guidance.
            known: `[B, T]` bool; frames of `noisy` that are clean already and shall be continued.
            steady: whether the readout has its share; without it keyframes lead the lips better.
        """
        frames = noisy.shape[1]
        time = self._time(timestep).to(noisy)
        memory = self._memory(speech, text, heard)
        position = periodic_encoding(frames, self.config.width, self.config.period).to(noisy)
        x = self.motion_in(noisy) + position + time[:, None]
        if self.config.keyframes:
            marks = self._keyframes(strength, noisy)
            x, memory = x + marks, memory + marks
        if known is not None:
            x = x + known[..., None].to(x) * self.is_known.to(x)
        tokens = torch.stack([time, self.nothing.to(time).expand_as(time)], dim=1)
        clean = self.motion_out(self.norm(self._blocks(x, memory, tokens)))
        if not (steady and self.config.readout):
            return clean
        return self._steadied(clean, speech, heard)

    def standardise(self, coefficients: Tensor) -> Tensor:
        """Coefficients `[…, C]` as the network knows them: mean 0, deviation 1."""
        return (coefficients - self.mean) / self.deviation

    def restore(self, standardised: Tensor) -> Tensor:
        """Coefficients `[…, C]` in their units."""
        return standardised * self.deviation + self.mean

    def _blocks(self, x: Tensor, memory: Tensor, tokens: Tensor) -> Tensor:
        """The layers; the inputs of the first half are joined to those of the second half."""
        config, frames = self.config, x.shape[1]
        among = distance_bias(
            frames, config.heads, config.period, tokens=TOKENS, symmetric=config.symmetric
        )
        band = band_bias(frames, config.band, tokens=TOKENS).to(x) if config.band else None
        biases = (among.to(x), band)
        half = config.layers // 2
        skipped: list[Tensor] = []
        for i, layer in enumerate(self.layers):
            if i < half:
                skipped.append(x)
            elif i >= config.layers - half:
                skip = self.skips[i - (config.layers - half)]
                x = skip(torch.cat([x, skipped.pop()], dim=-1))
            x = layer(x, memory, tokens, biases)
        return x

    def _steadied(self, clean: Tensor, speech: Tensor, heard: Tensor | None) -> Tensor:
        """Lips: some of what speech alone tells, linearly, which real voices mislead less."""
        trust = self.trust.to(clean)
        steadied = torch.lerp(clean, self.readout(speech), trust)
        return steadied if heard is None else torch.where(heard[:, None, None], steadied, clean)

    def _time(self, timestep: Tensor) -> Tensor:
        waves = timestep_encoding(timestep, self.config.width).to(self.nothing.dtype)
        return self.time_out(F.silu(self.time_in(waves)))

    def _memory(self, speech: Tensor, text: Tensor | None, heard: Tensor | None) -> Tensor:
        memory = self.speech_in(speech)
        if self.config.transcript and text is not None:
            memory = memory + self.text_in(text)
        if heard is None:
            return memory
        return torch.where(heard[:, None, None], memory, self.no_speech.to(memory))

    def _keyframes(self, strength: Tensor | None, like: Tensor) -> Tensor:
        absent = self.no_keyframes.to(like)
        if strength is None:
            return absent.expand(*like.shape[:2], -1)
        strength = strength.to(like).reshape(*like.shape[:2], self.config.keyframes)
        said = self.keyframes_in(strength.clamp(min=0).transpose(1, 2)).transpose(1, 2)
        return torch.where((strength >= 0).all(-1, keepdim=True), said, absent)


class KSDiff(nn.Module):
    """The paths in one file: "expression" and "pose", or one called "both" that does it all."""

    def __init__(
        self, configs: Mapping[str, PathConfig], operations: ModuleType | Any = nn
    ) -> None:
        super().__init__()
        self.configs = dict(configs)
        self.paths = nn.ModuleDict(
            {name: PathDenoiser(config, operations) for name, config in configs.items()}
        )

    def path(self, name: str) -> PathDenoiser:
        """The denoiser called `name`."""
        return cast(PathDenoiser, self.paths[name])

    def config(self) -> dict[str, Any]:
        """What `checkpoints.save` writes beside the weights."""
        return {"paths": {name: asdict(config) for name, config in self.configs.items()}}


def schedule() -> Schedule:
    """The noise that the paths are trained to remove: cosine, down to none of the signal.

    DiffSpeaker's keeps 7 % of the signal in its noisiest step, from which few steps would start at
    the training data's mean.
    """
    return Schedule(alphas=alphas_cumprod(cosine_betas()), predicts="sample")


def build(
    state: Mapping[str, Tensor], metadata: Mapping[str, str], operations: ModuleType | Any = nn
) -> KSDiff:
    """The empty network for a weight file; its metadata holds the configuration of each path.

    Raises:
        CheckpointError: the file does not describe the paths it holds.
    """
    described = checkpoints.config_of(metadata).get("paths", {})
    held = {key.split(".")[1] for key in state if key.startswith("paths.")}
    known = {field.name for field in fields(PathConfig)}
    if set(described) != held or not all(set(path) <= known for path in described.values()):
        raise checkpoints.CheckpointError(
            f"The KSDiff motion file holds the paths {sorted(held)}, but its metadata describes"
            f" {sorted(described)}. Use a file that `python -m soliloquy train` wrote."
        )
    return KSDiff({name: PathConfig(**path) for name, path in described.items()}, operations)
