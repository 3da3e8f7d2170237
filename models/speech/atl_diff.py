"""What ATL-Diff's landmark generators hear: 50 features a second, carried to them unchanged.

Stage 1. Our own generator hears the hidden features of the bundled starter; the published one hears
wav2vec 2.0, one second at a time, as it was trained.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import checkpoints
from ..payloads import Speech, Timeline
from . import mel, starter, wav2vec2
from .audio import MODEL_RATE, mono16k
from .packed import pack
from .prosody import prosody_streams

FEATURE_RATE = 50  # features per second
PIECE = 1000  # features computed at a time, 20 s
PUBLISHED_FEATURES = 49  # of one second of sound

OnStep = Callable[[int, int], None]


class ATLDiffSpeechEncoder:
    """Sound → the streams "atl_diff", "energy" `[T, 1]` and "f0" `[T, 1]`."""

    def __init__(self, network: starter.StarterSpeech, device: str | torch.device = "cpu") -> None:
        self.network = network.to(device)
        self.device = torch.device(device)

    def encode(
        self,
        waveform: Tensor,
        sample_rate: int,
        timeline: Timeline,
        on_step: OnStep | None = None,
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
        streams = {"atl_diff": pack(self.features(sound, on_step), FEATURE_RATE, timeline)}
        return Speech(
            streams=streams | prosody_streams(waveform, sample_rate, timeline), timeline=timeline
        )

    @torch.no_grad()
    def features(self, sound: Tensor, on_step: OnStep | None = None, piece: int = PIECE) -> Tensor:
        """Hidden features `[N, 192]` of `sound [S]` at 16 kHz, feature k centred at k / 50 s."""
        mean = mel.average(mel.stream(sound))
        total = ceil(len(sound) * FEATURE_RATE / MODEL_RATE) + 1
        starts, found = range(0, total, piece), []
        for done, start in enumerate(starts, 1):
            stop = min(start + piece, total)
            hidden = starter.hidden_between(self.network, sound, mean, start, stop)
            found.append(hidden.float().cpu())
            if on_step:
                on_step(done, len(starts))
        return torch.cat(found)


class KFLMSpeechEncoder:
    """Sound → the streams "wav2vec2_seconds", "energy" `[T, 1]` and "f0" `[T, 1]`.

    Every second is heard by itself, the last one filled up with silence. Of the 50 features that a
    second has in the stream, the last repeats the 49th.
    """

    def __init__(self, network: nn.Module, device: str | torch.device = "cpu") -> None:
        self.network = network.to(device)
        self.device = torch.device(device)

    def encode(
        self,
        waveform: Tensor,
        sample_rate: int,
        timeline: Timeline,
        on_step: OnStep | None = None,
    ) -> Speech:
        """Listen; arguments and errors are those of `ATLDiffSpeechEncoder.encode`."""
        sound = mono16k(waveform, sample_rate)[0]
        streams = {"wav2vec2_seconds": pack(self.seconds(sound, on_step), FEATURE_RATE, timeline)}
        return Speech(
            streams=streams | prosody_streams(waveform, sample_rate, timeline), timeline=timeline
        )

    @torch.no_grad()
    def seconds(self, sound: Tensor, on_step: OnStep | None = None) -> Tensor:
        """Features `[50 · seconds, D]` of `sound [S]` at 16 kHz, second by second."""
        encoder = wav2vec2.Wav2Vec2Features(self.network, self.device, normalise=False)
        count = ceil(len(sound) / MODEL_RATE)
        sound = nn.functional.pad(sound, (0, count * MODEL_RATE - len(sound)))
        found = []
        for done, second in enumerate(sound.split(MODEL_RATE), 1):
            features = encoder.hear(second)
            found += [features, features[-1:]]
            if on_step:
                on_step(done, count)
        return torch.cat(found)


def load(
    device: str | torch.device = "cpu", path: str | Path | None = None
) -> ATLDiffSpeechEncoder:
    """The bundled encoder, or one with the starter's weights at `path`."""
    network = checkpoints.load("starter_speech", path or starter.WEIGHTS)
    return ATLDiffSpeechEncoder(network, device)


def load_published(
    device: str | torch.device = "cpu", path: str | Path | None = None
) -> KFLMSpeechEncoder:
    """The published hearing: wav2vec 2.0 out of ATL-Diff's own file, or any file that holds it.

    Raises:
        PayloadError: the file is absent or cannot be used, or transformers is not installed.
    """
    if path is None:
        raise checkpoints.CheckpointError(
            "ATL-Diff's published generator needs its weights: give the path of 'weight.ckpt'."
        )
    return KFLMSpeechEncoder(checkpoints.load("wav2vec2", path), device)
