"""Speech to landmarks as published: the generator "KFLM" of ATL-Diff (its first stage).

Stage 3. One second at a time: 49 wav2vec2 features and the face at rest become 30 frames of 68
landmarks. Two domains are fused: the global one (transformers, one of them for the mouth) and the
local one (recurrent). `kflm_motion.py` samples with it; `dual_domain.py` is our own successor.

The published transformers take the batch for the time, and the batch is always one segment. Then
every attention weighs a single token, its softmax is 1, and what is left of it are the projections
of the value and of the output; the same softmax makes the emotion a factor of 1. That is what is
computed here, for each segment of a batch by itself; the projections of queries and keys are loaded
and wait.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import kan
from .kan import KAN, KANConfig

StateDict = dict[str, Tensor]
MOUTH = (*range(49, 68), 48)  # the published order


@dataclass(frozen=True, kw_only=True)
class KFLMConfig:
    """The published head, 20.3 M parameters."""

    audio_channels: int = 768  # wav2vec2 base, last layer
    audio_frames: int = 49  # of one second of sound
    frames: int = 30  # of one second of landmarks
    landmarks: int = 68
    mouth: int = 20
    hidden: int = 2048  # of the transformers
    fusion: tuple[int, int] = (256, 128)  # channels while fusing the face, the mouth
    kan: KANConfig = field(default_factory=KANConfig)


class SingleAttention(nn.Module):
    """Attention to one token: what the value and output projections make of it."""

    def __init__(self, width: int, operations: ModuleType | Any) -> None:
        super().__init__()
        self.width = width
        self.project = operations.Linear(width, 3 * width)  # query, key, value
        self.out = operations.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """`[… , width]` → `[… , width]`."""
        weight, bias = self.project.weight.to(x), self.project.bias.to(x)
        return self.out(F.linear(x, weight[2 * self.width :], bias[2 * self.width :]))


class Listener(nn.Module):
    """One encoder layer over speech features, normalised after each sum: [B, N, width]."""

    def __init__(self, width: int, hidden: int, operations: ModuleType | Any) -> None:
        super().__init__()
        self.attention = SingleAttention(width, operations)
        self.attention_norm = operations.LayerNorm(width)
        self.widen = operations.Linear(width, hidden)
        self.narrow = operations.Linear(hidden, width)
        self.norm = operations.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """The layer."""
        x = self.attention_norm(x + self.attention(x))
        return self.norm(x + self.narrow(F.relu(self.widen(x))))


class Mover(nn.Module):
    """One decoder layer: landmarks `[B, N, width]`, moved by what was heard `[B, N, width]`."""

    def __init__(self, width: int, hidden: int, operations: ModuleType | Any) -> None:
        super().__init__()
        self.own_attention = SingleAttention(width, operations)
        self.own_norm = operations.LayerNorm(width)
        self.speech_attention = SingleAttention(width, operations)
        self.speech_norm = operations.LayerNorm(width)
        self.widen = operations.Linear(width, hidden)
        self.narrow = operations.Linear(hidden, width)
        self.norm = operations.LayerNorm(width)

    def forward(self, x: Tensor, heard: Tensor) -> Tensor:
        """The layer."""
        x = self.own_norm(x + self.own_attention(x))
        x = self.speech_norm(x + self.speech_attention(heard))
        return self.norm(x + self.narrow(F.relu(self.widen(x))))


class Transformer(nn.Module):
    """Features `[B, N, audio]` and points at rest `[B, 1, 2 · points]` → `[B, N, 2 · points]`."""

    def __init__(self, points: int, config: KFLMConfig, operations: ModuleType | Any) -> None:
        super().__init__()
        self.listener = Listener(config.audio_channels, config.hidden, operations)
        self.narrow = operations.Linear(config.audio_channels, 2 * points)
        self.spread = operations.Conv1d(1, config.audio_frames, 1)  # a copy of the face per feature
        self.mover = Mover(2 * points, config.hidden, operations)

    def forward(self, features: Tensor, rest: Tensor) -> Tensor:
        """Listen, then move."""
        return self.mover(self.spread(rest), self.narrow(self.listener(features)))


class KFLM(nn.Module):
    """forward: features (B, 49, 768), landmarks at rest (B, 2, 68) → landmarks (B, 30, 2, 68).

    Rows are x and y, as shares of the picture's height; each segment of the batch stands for
    itself. The emotion is accepted and, as published, changes nothing.
    """

    def __init__(self, config: KFLMConfig, operations: ModuleType | Any = nn) -> None:
        super().__init__()
        self.config = config
        points, mouth = config.landmarks, config.mouth
        self.global_face = Transformer(points, config, operations)
        self.global_mouth = Transformer(mouth, config, operations)
        self.context = Transformer(points, config, operations)
        # Not from `operations`: the host's namespace has no recurrent layers.
        self.local_face = nn.LSTM(
            config.audio_channels, points, batch_first=True, bidirectional=True
        )
        self.local_mouth = nn.LSTM(
            config.audio_channels, mouth, batch_first=True, bidirectional=True
        )
        face_channels, mouth_channels = config.fusion
        self.fuse_face = _fusion(3 * config.audio_frames, face_channels, config, operations)
        self.gate_face = operations.Conv2d(3 * config.audio_frames, config.frames, 1)
        self.fuse_mouth = _fusion(2 * config.audio_frames, mouth_channels, config, operations)
        self.kan = KAN(config.kan, operations)

    def forward(
        self, features: Tensor, landmarks: Tensor, emotion: Tensor | int | None = None
    ) -> Tensor:
        """The landmarks of one second each."""
        return self.kan(self.fused(features, landmarks))

    def fused(self, features: Tensor, landmarks: Tensor) -> Tensor:
        """Both domains together, before the curves of the last layers: `[B, 30, 2, 68]`."""
        rest = landmarks.flatten(1)[:, None]
        mouth_rest = landmarks[..., list(MOUTH)].flatten(1)[:, None]
        face = torch.cat(
            [
                self.local_face(features)[0],
                self.global_face(features, rest),
                self.context(features, rest),
            ],
            dim=1,
        ).unflatten(-1, (2, -1))
        mouth = torch.cat(
            [self.local_mouth(features)[0], self.global_mouth(features, mouth_rest)], dim=1
        ).unflatten(-1, (2, -1))
        moved = self.fuse_face(face) * self.gate_face(face)
        moved[..., list(MOUTH)] = self.fuse_mouth(mouth)
        return moved


def _fusion(
    inputs: int, channels: int, config: KFLMConfig, operations: ModuleType | Any
) -> nn.Sequential:
    """Feature frames become video frames, each looking at neighbouring landmarks."""
    return nn.Sequential(
        operations.Conv2d(inputs, channels, 3, padding=1),
        nn.ReLU(),
        operations.Conv2d(channels, channels, 1),
        nn.ReLU(),
        operations.Conv2d(channels, config.frames, 3, padding=1),
    )


def prepare(state: StateDict) -> StateDict:
    """Upstream's tensors with the knots of the splines, which are constants, where they lack."""
    prepared = dict(state)
    for key in [key for key in state if key.endswith(".spline_weight")]:
        knots = key.replace("spline_weight", "grid")
        if knots not in prepared:
            order = KANConfig.order
            config = KANConfig(intervals=state[key].shape[-1] - order)
            prepared[knots] = kan.uniform_knots(config).repeat(state[key].shape[1], 1)
    return prepared


def config_of(state: StateDict) -> KFLMConfig:
    """The sizes, read off the weights."""
    hidden, audio_channels = state["context.listener.widen.weight"].shape
    return KFLMConfig(
        audio_channels=audio_channels,
        audio_frames=state["context.spread.weight"].shape[0],
        frames=state["gate_face.weight"].shape[0],
        landmarks=state["context.narrow.weight"].shape[0] // 2,
        mouth=state["global_mouth.narrow.weight"].shape[0] // 2,
        hidden=hidden,
        fusion=(state["fuse_face.0.weight"].shape[0], state["fuse_mouth.0.weight"].shape[0]),
        kan=kan.config_of(state, "kan."),
    )


def build(
    state: StateDict, metadata: dict[str, str], operations: ModuleType | Any = nn
) -> nn.Module:
    """The empty network, of the weights' sizes."""
    return KFLM(config_of(state), operations)
