"""The bundled motion: lips from speech features, head and eyes from prosody and a seed.

Stage: motion. The lips are one linear layer, trained together with `models/speech/starter.py`;
`gestures.py` does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from .. import checkpoints
from ..payloads import Keyframes, Motion, PayloadError, Portrait, Speech
from .arkit import INDEX
from .gestures import gestures

WEIGHTS = Path(__file__).resolve().parents[2] / "weights" / "starter_motion.safetensors"


@dataclass(frozen=True, kw_only=True)
class StarterMotionConfig:
    """What comes in and which ARKit weights go out."""

    features: int = 64
    channels: tuple[str, ...] = ()


class StarterMotion(nn.Module):
    """Speech features to the ARKit weights of mouth and jaw, frame by frame.

    forward: features (T, 64) -> weights (T, 52) in 0 … 1, zero outside the mouth
    """

    def __init__(self, config: StarterMotionConfig, operations: ModuleType | Any = nn) -> None:
        super().__init__()
        self.config = config
        self.lips = operations.Linear(config.features, len(config.channels))

    def forward(self, features: Tensor) -> Tensor:
        """The weights of all 52 channels."""
        weights = features.new_zeros(*features.shape[:-1], len(INDEX))
        weights[..., [INDEX[name] for name in self.config.channels]] = self.lips(features)
        return weights.clamp(0, 1)


class StarterMotionModel:
    """Speech → Motion in "arkit52"."""

    def __init__(self, network: StarterMotion, device: str | torch.device = "cpu") -> None:
        self.network = network.to(device)
        self.device = torch.device(device)

    def sample(
        self,
        speech: Speech,
        portrait: Portrait | None = None,
        keyframes: Keyframes | None = None,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        seed: int = 0,
        on_step: Callable[[int, int], None] | None = None,
    ) -> Motion:
        """Speak.

        Args:
            speech: with the streams "expression", "energy" and "f0" of the starter's encoder.
            portrait, keyframes, steps, guidance: not used, this model does not diffuse.
            seed: of blinks, brows, gaze and head motion.
            on_step: called once, with (1, 1).

        Raises:
            PayloadError: a stream is missing, or comes from another encoder.
        """
        features = speech.stream("expression", needed_by="The starter motion model")
        if features.shape[1] != self.network.config.features:
            raise PayloadError(
                f"The speech stream 'expression' has {features.shape[1]} channels; the starter"
                f" motion model needs {self.network.config.features}."
                " Encode the sound with the starter's speech encoder."
            )
        with torch.no_grad():
            lips = self.network(features.to(self.device)).float().cpu()
        around = gestures(speech, seed)
        if on_step:
            on_step(1, 1)
        return Motion(
            space="arkit52",
            values=(lips + around.weights).clamp(0, 1),
            rotation=around.rotation,
            translation=around.translation,
            scale=around.scale,
            timeline=speech.timeline,
        )


def build(
    state: Mapping[str, Tensor], metadata: Mapping[str, str], operations: ModuleType | Any = nn
) -> StarterMotion:
    """The empty network for a weight file; the metadata names its channels.

    Raises:
        CheckpointError: the file does not name its channels.
    """
    channels = tuple(checkpoints.config_of(metadata).get("channels", ()))
    if len(channels) != len(state["lips.weight"]) or not set(channels) <= set(INDEX):
        raise checkpoints.CheckpointError(
            f"The starter motion file has {len(state['lips.weight'])} outputs, but its metadata"
            f" names {len(channels)} ARKit channels. Use the file that came with Soliloquy."
        )
    features = state["lips.weight"].shape[1]
    return StarterMotion(StarterMotionConfig(features=features, channels=channels), operations)


def load(
    device: str | torch.device = "cpu",
    path: str | Path | None = None,
    operations: ModuleType | Any = nn,
) -> StarterMotionModel:
    """The bundled motion model, or one with the weights at `path`."""
    return StarterMotionModel(
        checkpoints.load("starter_motion", path or WEIGHTS, operations), device
    )
