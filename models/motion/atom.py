"""Speech to landmarks by diffusion: the denoiser of MoDiTalker's AToM (Kim et al. 2024).

Stage 3. A window of noisy landmark residuals is split into a lip half (lips and jaw line) and an
upper half, which share one set of weights; the lips attend to speech, timestep and identity, both
together to timestep and identity. `atom_motion.py` samples with it.

The published weights were trained in ways that the paper does not have; a network that mends them
is another network (`atom_small.py`). Kept as trained: the timestep that modulates both halves
holds the identity twice and the speech (one tensor, changed in place upstream); the rotation turns
the whole width before queries and keys are projected; nothing goes around the attention that
joins the halves; every frame's identity token is the same.

What does not depend on the noisy sample is computed once: `condition` encodes a window and projects
its keys and values, `moments` does the same for all timesteps of a sampler, `step` is the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import checkpoints
from .kdtalker import sinusoids
from .rotary_attention import (
    CrossAttention,
    EncoderLayer,
    KeysValues,
    SelfAttention,
    modulated,
    turns,
)

StateDict = dict[str, Tensor]
UPPER = slice(17, 48)  # brows, nose and eyes among the 68 landmarks; the rest belongs to the lips
TIME_TOKENS = 2


@dataclass(frozen=True, kw_only=True)
class AToMConfig:
    """The published model, 65.2 M parameters, of which 48.5 M are alive."""

    channels: int = 204  # 68 landmarks × xyz
    audio_channels: int = 1024  # HuBERT large, two per frame
    frames: int = 156  # one window, 6.24 s at 25 fps
    width: int = 512
    hidden: int = 1024  # of the encoders' feed-forward layers
    depth: int = 8
    encoder_depth: int = 2
    heads: int = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Conditioning:
    """What the steps of one window share."""

    hidden: Tensor  # [B, width], added to the timestep
    lips: list[KeysValues]  # per layer, of speech and identity
    face: list[KeysValues]  # per layer, of the identity alone
    turn: Tensor  # [L, width / 2] complex, how far each place turns
    heard: int  # places that speech takes; the timestep's follow


@dataclass(frozen=True, kw_only=True, eq=False)
class Moment:
    """What one timestep means for one window, per layer."""

    lips: list[KeysValues]  # of the time tokens, [1 or B, heads, 2, channels]
    face: list[KeysValues]  # the same tokens in another place
    films: list[list[Tensor]]  # three scales and shifts, [B, 1, 2 · width]


class DecoderLayer(nn.Module):
    """Lips and upper half apart, then together: 2 × [B, T, width] → 2 × [B, T, width]."""

    def __init__(self, config: AToMConfig, operations: ModuleType | Any):
        super().__init__()
        self.norms = nn.ModuleList(operations.LayerNorm(config.width) for _ in range(3))
        self.films = nn.ModuleList(
            operations.Linear(config.width, 2 * config.width) for _ in range(3)
        )
        self.self_attention = SelfAttention(config.width, config.heads, operations)
        self.cross_attention = CrossAttention(config.width, config.heads, operations)
        self.out = operations.Linear(config.width, 2 * config.width)

    def forward(
        self,
        halves: Tensor,
        turn: Tensor,
        lips_memory: list[KeysValues],
        face_memory: list[KeysValues],
        films: list[Tensor],
    ) -> Tensor:
        """`[2, B, T, width]`, lips first, to the same."""
        first, second, third = self.norms
        attended = self.self_attention(first(halves).flatten(0, 1), turn)
        halves = halves + modulated(attended.unflatten(0, halves.shape[:2]), films[0])
        lips, upper = second(halves).unbind(0)
        heard = self.cross_attention(lips, turn, lips_memory)
        seen = self.self_attention(upper, turn)
        halves = halves + modulated(torch.stack([heard, seen]), films[1])
        joined = self.cross_attention(third(halves.sum(0)), turn, face_memory)
        joined = joined + modulated(joined, films[2])
        return torch.stack(self.out(joined).chunk(2, dim=-1))


class AToM(nn.Module):
    """Predicts the clean residual in a window of noisy ones.

    noisy [B, T, 204], landmarks [B, T or 1, 204], audio [B, 2T, 1024], timestep [B]
    → [B, T, 204]. Units are ten times those of Basel face model residuals; xyz per landmark.
    """

    def __init__(self, config: AToMConfig, operations: ModuleType | Any = nn):
        super().__init__()
        self.config = config
        width, frames = config.width, config.frames
        upper_channels = 3 * (UPPER.stop - UPPER.start)
        self.lips_in = operations.Linear(config.channels - upper_channels, width)
        self.upper_in = operations.Linear(upper_channels, width)
        self.out = operations.Linear(2 * width, config.channels)
        self.time_in = operations.Linear(width, 4 * width)
        self.time_hidden = operations.Linear(4 * width, width)
        self.time_tokens = operations.Linear(4 * width, TIME_TOKENS * width)
        self.speech_in = operations.Linear(config.audio_channels, width)
        self.speech_encoder = _encoder(config, operations)
        self.speech_hidden = _pooled_projection(width, operations)
        self.landmarks_in = operations.Linear(config.channels, width)
        self.landmarks_encoder = _encoder(config, operations)
        self.landmarks_hidden = _pooled_projection(width, operations)
        self.memory_norm = operations.LayerNorm(width)
        self.layers = nn.ModuleList(DecoderLayer(config, operations) for _ in range(config.depth))
        # What stands where a condition was dropped in training, and in guidance's other branch.
        self.null_speech = nn.Parameter(torch.randn(1, 2 * frames, width))
        self.null_speech_hidden = nn.Parameter(torch.randn(1, width))
        self.null_landmarks = nn.Parameter(torch.randn(1, frames, width))

    def forward(
        self,
        noisy: Tensor,
        landmarks: Tensor,
        audio: Tensor,
        timestep: Tensor,
        cond_drop_prob: float = 0.0,
    ) -> Tensor:
        """The clean residual; with `cond_drop_prob` samples lose audio and landmarks together."""
        kept = torch.rand(len(noisy), device=noisy.device) >= cond_drop_prob
        conditioning = self.condition(landmarks, audio, kept)
        return self.step(noisy, self._moment_each(timestep, conditioning), conditioning)

    def guided_forward(
        self, noisy: Tensor, landmarks: Tensor, audio: Tensor, timestep: Tensor, guidance: float
    ) -> Tensor:
        """The clean residual, exaggerated in what the conditions change of it."""
        conditioning = self.guided_condition(landmarks, audio)
        moment = self._moment_each(timestep.repeat(2), conditioning)
        return guided(self.step(noisy.repeat(2, 1, 1), moment, conditioning), guidance)

    def condition(self, landmarks: Tensor, audio: Tensor, kept: Tensor) -> Conditioning:
        """What the steps of a window share.

        Args:
            landmarks: who speaks, `[B, T or 1, 204]`.
            audio: `[B, 2T, 1024]`.
            kept: bool `[B]`, false where both are dropped.
        """
        identity, speech = self._encode(landmarks, audio)
        kept = kept[:, None]
        hidden = torch.where(
            kept, self.speech_hidden(speech.mean(1)), self.null_speech_hidden.to(speech)
        )
        speech = torch.where(kept[..., None], speech, self.null_speech.to(speech))
        identity = torch.where(kept[..., None], identity, self.null_landmarks.to(speech))
        return self._conditioning(identity, speech, hidden)

    def guided_condition(self, landmarks: Tensor, audio: Tensor) -> Conditioning:
        """As `condition`, for a batch with the conditions, followed by one without."""
        identity, speech = self._encode(landmarks, audio)
        hidden = self.speech_hidden(speech.mean(1))
        nulls = (self.null_landmarks, self.null_speech, self.null_speech_hidden)
        both = [
            torch.cat([given, null.to(given).expand_as(given)])
            for given, null in zip((identity, speech, hidden), nulls, strict=True)
        ]
        return self._conditioning(*both)

    def moments(self, timesteps: Tensor, conditioning: Conditioning) -> list[Moment]:
        """What each of the timesteps `[S]` means for this window, for `step`."""
        hidden, tokens = self._time(timesteps)
        activated = F.mish(hidden[:, None] + conditioning.hidden)
        films = [[film(activated) for film in layer.films] for layer in self._layers()]
        lips, face = self._time_memory(tokens, conditioning)
        return [
            Moment(
                lips=[_row(memory, s) for memory in lips],
                face=[_row(memory, s) for memory in face],
                films=[[film[s][:, None] for film in layer] for layer in films],
            )
            for s in range(len(timesteps))
        ]

    def step(self, noisy: Tensor, moment: Moment, conditioning: Conditioning) -> Tensor:
        """The clean residual of `noisy [B, T, 204]`."""
        x = noisy.to(self._dtype())
        upper = 3 * UPPER.start, 3 * UPPER.stop
        lips = torch.cat([x[..., : upper[0]], x[..., upper[1] :]], dim=-1)
        halves = torch.stack([self.lips_in(lips), self.upper_in(x[..., upper[0] : upper[1]])])
        turn = conditioning.turn[: noisy.shape[1]]
        for i, layer in enumerate(self._layers()):
            halves = layer(
                halves,
                turn,
                [conditioning.lips[i], moment.lips[i]],
                [conditioning.face[i], moment.face[i]],
                moment.films[i],
            )
        return self.out(torch.cat([*halves], dim=-1)).to(noisy.dtype)

    def _encode(self, landmarks: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of the landmarks `[B, T, width]` and of the audio `[B, 2T, width]`."""
        turn = turns(audio.shape[1], self.config.width, audio.device)
        identity = self.landmarks_in(landmarks.to(self._dtype()))
        speech = self.speech_in(audio.to(self._dtype()))
        for layer in self.landmarks_encoder:
            # Equal rows stay equal, so that one stands for all of them.
            identity = layer(identity, turn[: identity.shape[1]])
        for layer in self.speech_encoder:
            speech = layer(speech, turn)
        return identity.expand(-1, audio.shape[1] // 2, -1), speech

    def _conditioning(self, identity: Tensor, speech: Tensor, hidden: Tensor) -> Conditioning:
        heard, frames = speech.shape[1], identity.shape[1]
        turn = turns(heard + TIME_TOKENS + frames, self.config.width, speech.device)
        tokens = self.memory_norm(torch.cat([speech, identity], dim=1))
        places = torch.cat([turn[:heard], turn[heard + TIME_TOKENS :]])
        seen, places_seen = tokens[:, heard:], turn[TIME_TOKENS : TIME_TOKENS + frames]
        return Conditioning(
            # Twice, because two names of one tensor are added to in place upstream.
            hidden=2 * self.landmarks_hidden(identity.mean(1)) + hidden,
            lips=[layer.cross_attention.project(tokens, places) for layer in self._layers()],
            face=[layer.cross_attention.project(seen, places_seen) for layer in self._layers()],
            turn=turn,
            heard=heard,
        )

    def _moment_each(self, timesteps: Tensor, conditioning: Conditioning) -> Moment:
        """A timestep per sample `[B]`."""
        hidden, tokens = self._time(timesteps)
        activated = F.mish(hidden + conditioning.hidden)[:, None]
        lips, face = self._time_memory(tokens, conditioning)
        films = [[film(activated) for film in layer.films] for layer in self._layers()]
        return Moment(lips=lips, face=face, films=films)

    def _time(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """The timesteps `[S]` as `[S, width]` and as two tokens each, `[S, 2, width]`."""
        waves = sinusoids(timesteps, self.config.width).to(self._dtype())
        time = F.mish(self.time_in(waves))
        tokens = self.time_tokens(time).unflatten(-1, (TIME_TOKENS, -1))
        return self.time_hidden(time), self.memory_norm(tokens)

    def _time_memory(
        self, tokens: Tensor, conditioning: Conditioning
    ) -> tuple[list[KeysValues], list[KeysValues]]:
        places = conditioning.turn[conditioning.heard :][:TIME_TOKENS]
        first = conditioning.turn[:TIME_TOKENS]
        attentions = [layer.cross_attention for layer in self._layers()]
        lips = [attention.project(tokens, places) for attention in attentions]
        return lips, [attention.project(tokens, first) for attention in attentions]

    def _layers(self) -> list[DecoderLayer]:
        return [cast(DecoderLayer, layer) for layer in self.layers]

    def _dtype(self) -> torch.dtype:
        return self.null_speech_hidden.dtype


def guided(both: Tensor, guidance: float) -> Tensor:
    """A batch with the conditions and one without, `[2B, …]` → `[B, …]`."""
    conditional, unconditional = both.chunk(2)
    return unconditional + (conditional - unconditional) * guidance


def _encoder(config: AToMConfig, operations: ModuleType | Any) -> nn.ModuleList:
    sizes = config.width, config.hidden, config.heads
    return nn.ModuleList(EncoderLayer(*sizes, operations) for _ in range(config.encoder_depth))


def _pooled_projection(width: int, operations: ModuleType | Any) -> nn.Sequential:
    return nn.Sequential(
        operations.LayerNorm(width),
        operations.Linear(width, width),
        nn.SiLU(),
        operations.Linear(width, width),
    )


def _row(memory: KeysValues, index: int) -> KeysValues:
    keys, values = memory
    return keys[index : index + 1], values[index : index + 1]


def prepare(state: StateDict) -> StateDict:
    """Upstream's tensors with the projections of queries, keys and values apart."""
    prepared = {}
    for key, value in state.items():
        stem, _, kind = key.rpartition("in_proj_")
        if not stem:
            prepared[key] = value
        elif stem.endswith("multihead_attn."):
            for name, part in zip(("queries", "keys", "values"), value.chunk(3), strict=True):
                prepared[f"{stem}{name}.{kind}"] = part
        else:
            width = len(value) // 3
            prepared[f"{stem}queries_keys.{kind}"] = value[: 2 * width]
            prepared[f"{stem}values.{kind}"] = value[2 * width :]
    return prepared


def config_of(state: StateDict, metadata: dict[str, str]) -> AToMConfig:
    """The sizes, read off the weights; how many heads there are cannot be seen in them."""
    width, audio_channels = state["speech_in.weight"].shape
    heads = 8 if width == AToMConfig.width else max(width // 16, 1)
    return AToMConfig(
        channels=state["out.weight"].shape[0],
        audio_channels=audio_channels,
        frames=state["null_landmarks"].shape[1],
        width=width,
        hidden=state["speech_encoder.0.inner.weight"].shape[0],
        depth=_count(state, "layers."),
        encoder_depth=_count(state, "speech_encoder."),
        heads=checkpoints.config_of(metadata).get("heads", heads),
    )


def _count(state: StateDict, prefix: str) -> int:
    stem = prefix.count(".")
    return len({key.split(".")[stem] for key in state if key.startswith(prefix)})


def build(
    state: StateDict, metadata: dict[str, str], operations: ModuleType | Any = nn
) -> nn.Module:
    """The empty network, of the weights' sizes."""
    return AToM(config_of(state, metadata), operations)
