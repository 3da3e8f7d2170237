"""Keyframe establishment learning (KEL) of KSDiff: which frames of a speech matter, in order.

Stage 2. After Lyu, Zhao & Wang, "KSDiff" (2025), figure 1a: one autoregressive transformer for each
path says frame by frame whether it is a keyframe. Sizes are ours. `ksdiff.py` predicts with it.

The whole speech is known, so only the marks are causal: convolutions look at the speech to both
sides once, and a few layers of attention over the latest frames decide from it and the marks so
far. All of it is local in time, so long sounds can be predicted in windows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import ModuleType
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import checkpoints
from ..local_attention import LocalAttention

BEGIN = 2  # the mark before the first frame
PATHS = ("expression", "pose")
Memory = list[tuple[Tensor, Tensor]]  # keys and values of each layer, the latest frames


@dataclass(frozen=True, kw_only=True)
class PredictorConfig:
    """Sizes of the predictor of one path."""

    speech: int = 128  # channels of the speech and of the text stream
    width: int = 128
    heads: int = 4
    layers: int = 3
    dilations: tuple[int, ...] = (1, 2, 4)  # of the convolutions over the speech
    horizon: int = 50  # frames that a layer looks back, 2 s

    @property
    def reach(self) -> int:
        """Frames of speech to either side that can change what the convolutions say."""
        return sum(self.dilations)


class Context(nn.Module):
    """Residual block over the speech: normalise, look around, mix.

    forward: (B, T, C) -> (B, T, C)
    """

    def __init__(self, width: int, dilation: int, operations: ModuleType | Any = nn) -> None:
        super().__init__()
        self.norm = operations.LayerNorm(width)
        self.around = operations.Conv1d(width, width, 3, dilation=dilation, padding=dilation)
        self.mix = operations.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Look to both sides."""
        around = self.around(self.norm(x).transpose(1, 2)).transpose(1, 2)
        return x + self.mix(F.gelu(around))


class Layer(nn.Module):
    """Pre-norm transformer layer over the latest frames.

    forward: (B, T, C), bias (1, heads, T, T) -> (B, T, C)
    """

    def __init__(self, config: PredictorConfig, operations: ModuleType | Any = nn) -> None:
        super().__init__()
        width = config.width
        self.norm = operations.LayerNorm(width)
        self.attention = LocalAttention(
            width, config.heads, before=config.horizon - 1, after=0, operations=operations
        )
        self.mix_norm = operations.LayerNorm(width)
        self.widen = operations.Linear(width, 2 * width)
        self.narrow = operations.Linear(2 * width, width)

    def forward(self, x: Tensor, distances: Tensor) -> Tensor:
        """All frames at once."""
        normed = self.norm(x)
        return self.mix(x + self.attention(normed, normed, distances))

    def step(
        self, x: Tensor, memory: tuple[Tensor, Tensor], bias: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One frame `[B, 1, C]` after the frames in memory; also the memory with it."""
        normed = self.norm(x)
        new = self.attention.remember(normed)
        keys, values = (torch.cat(pair, dim=2) for pair in zip(memory, new, strict=True))
        near = bias[..., -keys.shape[2] :]
        return self.mix(x + self.attention.recall(normed, keys, values, near)), (keys, values)

    def mix(self, x: Tensor) -> Tensor:
        """The feed-forward half."""
        return x + self.narrow(F.gelu(self.widen(self.mix_norm(x))))


class KeyframePredictor(nn.Module):
    """Says of each frame of one path how likely it is a keyframe, given the frames before.

    forward: speech (B, T, D), previous (B, T) of 0, 1, 2 = begin, text (B, T, D) -> logits (B, T)
    """

    threshold: Tensor  # [] logit above which a frame is a keyframe, calibrated after training
    rate: Tensor  # [] keyframes/s of the data, which the threshold gives on average

    def __init__(self, config: PredictorConfig, operations: ModuleType | Any = nn) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.register_buffer("threshold", torch.zeros(()))
        self.register_buffer("rate", torch.full((), 2.0))
        self.speech = operations.Linear(config.speech, width)
        self.text = operations.Linear(config.speech, width)
        self.context = nn.ModuleList(
            Context(width, dilation, operations) for dilation in config.dilations
        )
        self.previous = operations.Embedding(3, width)
        self.layers = nn.ModuleList(Layer(config, operations) for _ in range(config.layers))
        self.norm = operations.LayerNorm(width)
        self.out = operations.Linear(width, 1)

    def forward(self, speech: Tensor, previous: Tensor, text: Tensor | None = None) -> Tensor:
        """Logits of all frames at once, as in training.

        Args:
            speech: `[B, T, D]`, the path's stream at 25 frames/s.
            previous: `[B, T]` int64, whether the frame before was a keyframe; 2 at the beginning.
            text: `[B, T, D]`, the text stream.
        """
        x = self.look(speech, text) + self.previous(previous)
        frames = torch.arange(x.shape[1], device=x.device)
        distances = frames[None] - frames[:, None]
        for layer in self._layers():
            x = layer(x, distances)
        return self.out(self.norm(x))[..., 0]

    def look(self, speech: Tensor, text: Tensor | None = None) -> Tensor:
        """What the speech around each frame says, whatever the marks, `[B, T, C]`."""
        x = self.speech(speech)
        if text is not None:
            x = x + self.text(text)
        for block in self.context:
            x = block(x)
        return x

    def empty_memory(self, batch: int, like: Tensor) -> Memory:
        """The memory before the first frame."""
        heads = self.config.heads
        nothing = like.new_zeros(batch, heads, 0, self.config.width // heads)
        return [(nothing, nothing) for _ in self.layers]

    def biases(self, device: torch.device | str = "cpu") -> list[Tensor]:
        """Each layer's biases for the latest frames, the present one last, for `step`."""
        distances = torch.arange(1 - self.config.horizon, 1, device=device)[None]
        return [layer.attention.bias(distances) for layer in self._layers()]

    def step(
        self, seen: Tensor, previous: Tensor, memory: Memory, biases: list[Tensor]
    ) -> tuple[Tensor, Memory]:
        """Logits `[B]` of the next frame.

        Args:
            seen: `[B, C]`, that frame of what `look` returned.
            previous: `[B]` int64, the marks of the frame before.
            memory: what `empty_memory` or the step before returned.
            biases: what `biases` returned.
        """
        x = (seen + self.previous(previous))[:, None]
        horizon, after = self.config.horizon, []
        for layer, past, bias in zip(self._layers(), memory, biases, strict=True):
            near = cast("tuple[Tensor, Tensor]", tuple(p[:, :, -(horizon - 1) :] for p in past))
            x, kept = layer.step(x, near, bias)
            after.append(kept)
        return self.out(self.norm(x))[:, 0, 0], after

    def _layers(self) -> list[Layer]:
        return [cast(Layer, layer) for layer in self.layers]


class KeyframePredictors(nn.Module):
    """The predictors of both paths, as they travel in one weight file.

    forward: path, speech (B, T, D), previous (B, T), text (B, T, D) -> logits (B, T)
    """

    def __init__(self, config: PredictorConfig, operations: ModuleType | Any = nn) -> None:
        super().__init__()
        self.config = config
        self.paths = nn.ModuleDict({path: KeyframePredictor(config, operations) for path in PATHS})

    def path(self, name: str) -> KeyframePredictor:
        """The predictor of "expression" or "pose"."""
        return cast(KeyframePredictor, self.paths[name])

    def forward(
        self, path: str, speech: Tensor, previous: Tensor, text: Tensor | None = None
    ) -> Tensor:
        """Logits of one path."""
        return self.path(path)(speech, previous, text)


def build(
    state: Mapping[str, Tensor], metadata: Mapping[str, str], operations: ModuleType | Any = nn
) -> KeyframePredictors:
    """The empty networks for a weight file: the metadata's sizes, or what the tensors tell."""
    given = checkpoints.config_of(metadata)
    if not given:
        width, speech = state["paths.pose.speech.weight"].shape
        horizon, heads = state["paths.pose.layers.0.attention.distance_bias"].shape
        layers = {key.split(".")[3] for key in state if key.startswith("paths.pose.layers.")}
        given = {
            "width": width,
            "speech": speech,
            "horizon": horizon,
            "heads": heads,
            "layers": len(layers),
        }
    names = {field.name for field in fields(PredictorConfig)}
    sizes = {key: value for key, value in given.items() if key in names}
    if "dilations" in sizes:
        sizes["dilations"] = tuple(sizes["dilations"])
    return KeyframePredictors(PredictorConfig(**cast("dict[str, Any]", sizes)), operations)
