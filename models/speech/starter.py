"""The bundled speech encoder: log-mel → dilated convolutions → what the lips need to know.

Stage: speech. Trained on synthesised speech by `training/starter.py`; what it scores stands in
`weights/starter_speech.md`.
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
from ..payloads import Speech, Timeline
from . import mel
from .audio import mono16k
from .prosody import prosody_streams

WEIGHTS = Path(__file__).resolve().parents[2] / "weights" / "starter_speech.safetensors"
FEATURE_RATE = 50  # features per second; feature k is centred at k / 50 s
PIECE = 1000  # features computed at a time, 20 s


@dataclass(frozen=True, kw_only=True)
class StarterSpeechConfig:
    """Sizes of the bundled network."""

    bins: int = mel.BINS
    width: int = 192
    dilations: tuple[int, ...] = (1, 2, 4, 8, 1, 2, 4, 8)
    features: int = 64

    @property
    def reach(self) -> int:
        """Features to either side that can change a feature."""
        return 2 + sum(self.dilations)


class Block(nn.Module):
    """Residual block: normalise, look around, mix."""

    def __init__(self, width: int, dilation: int, operations: ModuleType | Any = nn) -> None:
        super().__init__()
        self.norm = operations.LayerNorm(width)
        self.around = operations.Conv1d(width, width, 3, dilation=dilation, padding=dilation)
        self.mix = operations.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T]` → `[B, C, T]`."""
        normed = self.norm(x.transpose(1, 2)).transpose(1, 2)
        return x + self.mix(nn.functional.gelu(self.around(normed)))


class StarterSpeech(nn.Module):
    """Hears 50 times a second what the mouth is doing.

    forward: normalised log-mel (B, 2T, 80) -> features (B, T, 64)
    """

    def __init__(self, config: StarterSpeechConfig, operations: ModuleType | Any = nn) -> None:
        super().__init__()
        self.config = config
        self.stem = operations.Conv1d(config.bins, config.width, 5, stride=2, padding=2)
        self.blocks = nn.ModuleList(
            Block(config.width, dilation, operations) for dilation in config.dilations
        )
        self.norm = operations.LayerNorm(config.width)
        self.out = operations.Linear(config.width, config.features)

    def hidden(self, spectrum: Tensor) -> Tensor:
        """What the last block knows, `[B, T, C]`."""
        x = self.stem(spectrum.transpose(1, 2))
        for block in self.blocks:
            x = block(x)
        return self.norm(x.transpose(1, 2))

    def forward(self, spectrum: Tensor) -> Tensor:
        """Features of a spectrum."""
        return self.out(self.hidden(spectrum))


class StarterSpeechEncoder:
    """Sound → the streams "expression" `[T, 64]`, "energy" `[T, 1]` and "f0" `[T, 1]`."""

    def __init__(self, network: StarterSpeech, device: str | torch.device = "cpu") -> None:
        self.network = network.to(device)
        self.device = torch.device(device)

    def encode(
        self,
        waveform: Tensor,
        sample_rate: int,
        timeline: Timeline,
        on_step: Callable[[int, int], None] | None = None,
    ) -> Speech:
        """Listen.

        Args:
            waveform: `[C, S]` float, -1 … 1; channels are averaged.
            sample_rate: of the waveform, Hz.
            timeline: the frames to speak about.
            on_step: called with (pieces done, pieces in total).

        Raises:
            PayloadError: the waveform is empty or not finite.
        """
        sound = mono16k(waveform, sample_rate)[0]
        features = self.features(sound, on_step)
        streams = {"expression": at_frames(features, timeline)}
        return Speech(
            streams=streams | prosody_streams(waveform, sample_rate, timeline), timeline=timeline
        )

    @torch.no_grad()
    def features(
        self, sound: Tensor, on_step: Callable[[int, int], None] | None = None, piece: int = PIECE
    ) -> Tensor:
        """Features `[K, 64]` of `sound [S]` at 16 kHz, computed `piece` at a time with overlap."""
        mean = mel.average(mel.stream(sound))
        total = (mel.frame_count(sound.shape[-1]) + 1) // 2
        starts, found = range(0, total, piece), []
        for done, start in enumerate(starts, 1):
            stop = min(start + piece, total)
            hidden = hidden_between(self.network, sound, mean, start, stop)
            found.append(self.network.out(hidden).float().cpu())
            if on_step:
                on_step(done, len(starts))
        return torch.cat(found)


def hidden_between(
    network: StarterSpeech, sound: Tensor, mean: Tensor, first: int, last: int
) -> Tensor:
    """Hidden features `first` … `last` of `sound [S]` at 16 kHz, as of the whole: `[N, C]`.

    Args:
        network: where it is, the features will be.
        sound: features may lie before and after it.
        mean: `mel.average` of the whole sound.
        first, last: feature k is centred at k / 50 s.
    """
    reach, device = network.config.reach, network.stem.weight.device
    spectrum = mel.log_mel(sound, 2 * (first - reach), 2 * (last - first + 2 * reach))
    seen = mel.normalise(spectrum, mean)[None].to(device)
    return network.hidden(seen)[0, reach : reach + last - first]


def at_frames(features: Tensor, timeline: Timeline) -> Tensor:
    """Features `[K, D]` at 50 Hz, linearly interpolated at the frames' centres: `[T, D]`."""
    position = (timeline.frame_centres() * FEATURE_RATE).clamp(0, len(features) - 1)
    before = position.floor().long().clamp(max=max(len(features) - 2, 0))
    after = (before + 1).clamp(max=len(features) - 1)
    share = (position - before).float()[:, None]
    return features[before] * (1 - share) + features[after] * share


def build(
    state: Mapping[str, Tensor], metadata: Mapping[str, str], operations: ModuleType | Any = nn
) -> StarterSpeech:
    """The empty network for a weight file: sizes from the tensors, dilations from the metadata."""
    width, bins, _ = state["stem.weight"].shape
    config = StarterSpeechConfig(
        bins=bins,
        width=width,
        features=state["out.weight"].shape[0],
        dilations=tuple(
            checkpoints.config_of(metadata).get("dilations", StarterSpeechConfig.dilations)
        ),
    )
    return StarterSpeech(config, operations)


def load(
    device: str | torch.device = "cpu",
    path: str | Path | None = None,
    operations: ModuleType | Any = nn,
) -> StarterSpeechEncoder:
    """The bundled encoder, or one with the weights at `path`."""
    return StarterSpeechEncoder(
        checkpoints.load("starter_speech", path or WEIGHTS, operations), device
    )
