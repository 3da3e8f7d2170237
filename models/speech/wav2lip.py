"""Speech as Wav2Lip hears it (Prajwal et al. 2020): a mel spectrum, and an embedding per frame.

Stage 1, for KDTalker, which uses the audio half of the published generator. Every constant is that
of the training data: a network trained on one spectrum understands no other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import trunc
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from .. import checkpoints
from ..folding import fold_batch_norms
from ..payloads import PayloadError, Speech, Timeline

SAMPLE_RATE = 16000  # Hz
WINDOW, HOP = 800, 200  # samples: 50 ms, 12.5 ms
BINS, LOWEST, HIGHEST = 80, 55.0, 7600.0  # mel bins, Hz
PRE_EMPHASIS = 0.97
REFERENCE_DB, LOWEST_DB, LIMIT = 20.0, -100.0, 4.0  # −100 … 0 dB become −4 … 4
FRAME = 640  # samples of a frame at 25 fps, the rate of training
ROWS = 16  # mel frames that one video frame hears, 200 ms
ROWS_PER_SECOND = SAMPLE_RATE // HOP
LEAD = Fraction(1, 10)  # the window starts this long before the frame's centre …
# … and ends this long after it, at 25 fps: it is centred 20 ms before the frame ends.
PIECE = 2048  # mel frames computed at a time, 26 s
BATCH = 256  # video frames encoded at a time
STREAM = "wav2lip"


def mel_spectrum(samples: Tensor) -> Tensor:
    """The normalised mel spectrum of a sound at 16 kHz.

    Pre-emphasis, magnitudes of a centred 800-sample Fourier transform with silence beyond the ends,
    80 mel bins of equal area, decibels, −4 … 4.

    Args:
        samples: `[S]` float, −1 … 1.

    Returns:
        `[1 + S // 200, 80]` float32; row r is centred on sample `200 · r`.
    """
    count = 1 + len(samples) // HOP
    pieces = [
        _mel_piece(samples, first, min(first + PIECE, count)) for first in range(0, count, PIECE)
    ]
    return torch.cat(pieces)


def _mel_piece(samples: Tensor, first: int, last: int) -> Tensor:
    """Rows `first` to `last` of the spectrum, in double precision like the reference."""
    start, stop = first * HOP - WINDOW // 2, (last - 1) * HOP + WINDOW // 2
    inside = samples[max(start, 0) : stop].double()
    before = samples[max(start, 0) - 1].double() if start > 0 else inside.new_zeros(())
    emphasised = inside - PRE_EMPHASIS * torch.cat([before[None], inside[:-1]])
    padding = (max(-start, 0), stop - max(start, 0) - len(inside))
    framed = nn.functional.pad(emphasised, padding).unfold(0, WINDOW, HOP)
    window = torch.hann_window(WINDOW, dtype=torch.float64)
    mel = torch.fft.rfft(framed * window).abs() @ _mel_basis().T
    decibels = 20 * mel.clamp(min=1e-5).log10() - REFERENCE_DB
    scaled = 2 * LIMIT * (decibels - LOWEST_DB) / -LOWEST_DB - LIMIT
    return scaled.clamp(-LIMIT, LIMIT).float()


@cache
def _mel_basis() -> Tensor:
    """Slaney's mel filters with equal area, `[80, 401]` float64 of float32 values."""
    from librosa.filters import mel

    basis = mel(sr=SAMPLE_RATE, n_fft=WINDOW, n_mels=BINS, fmin=LOWEST, fmax=HIGHEST)
    return torch.from_numpy(basis).double()


def window_starts(num_frames: int, fps: Fraction) -> Tensor:
    """The first mel row that each video frame hears, `[T]` int64; may lie before the sound.

    At 25 fps `trunc(80 · (i − 2) / 25)`, the published rule; at other rates the same distance from
    the frame's centre.
    """
    centres = ((i + Fraction(1, 2)) / fps for i in range(num_frames))
    return torch.tensor([trunc(ROWS_PER_SECOND * (centre - LEAD)) for centre in centres])


def mel_windows(mel: Tensor, starts: Tensor) -> Tensor:
    """What each frame hears, `[T, 1, 80, 16]`; beyond the ends the outermost rows are repeated."""
    rows = (starts[:, None] + torch.arange(ROWS)).clamp(0, len(mel) - 1)
    return mel[rows].mT[:, None]


@dataclass(frozen=True, kw_only=True)
class Wav2LipAudioConfig:
    """The published audio encoder, 2.8 M parameters."""

    width: int = 32  # channels of the first convolutions; the embedding has 16 times as many


# Channels (times the width), kernel, stride, padding; a block of the same channels is a residual.
BLOCKS: tuple[tuple[int, int, int | tuple[int, int], int], ...] = (
    (1, 3, 1, 1),
    (1, 3, 1, 1),
    (1, 3, 1, 1),
    (2, 3, (3, 1), 1),
    (2, 3, 1, 1),
    (2, 3, 1, 1),
    (4, 3, 3, 1),
    (4, 3, 1, 1),
    (4, 3, 1, 1),
    (8, 3, (3, 2), 1),
    (8, 3, 1, 1),
    (16, 3, 1, 0),
    (16, 1, 1, 0),
)
RESIDUAL = (1, 2, 4, 5, 7, 8, 10)


class Wav2LipAudioEncoder(nn.Module):
    """mel windows [N, 1, 80, 16] → embeddings [N, 512], not negative.

    The batch norms of the published file are folded into the convolutions when it is loaded.
    """

    def __init__(self, config: Wav2LipAudioConfig, operations: ModuleType | Any = nn):
        super().__init__()
        channels = [1, *(config.width * factor for factor, *_ in BLOCKS)]
        self.blocks = nn.ModuleList(
            operations.Conv2d(channels[i], channels[i + 1], kernel, stride, padding)
            for i, (_, kernel, stride, padding) in enumerate(BLOCKS)
        )

    def forward(self, mel: Tensor) -> Tensor:
        """The embeddings."""
        x = mel
        for i, convolution in enumerate(self.blocks):
            y = convolution(x)
            x = torch.relu(y + x if i in RESIDUAL else y)
        return x.flatten(1)


def prepare(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Upstream's tensors with every batch norm folded into its convolution."""
    return fold_batch_norms(state, ((r"(\d+)\.conv_block\.1", r"\1.conv_block.0"),))


def build(
    state: dict[str, Tensor], metadata: dict[str, str], operations: ModuleType | Any = nn
) -> nn.Module:
    """The empty network, as wide as the weights."""
    width = state["blocks.0.weight"].shape[0]
    return Wav2LipAudioEncoder(Wav2LipAudioConfig(width=width), operations)


class Wav2LipSpeechEncoder:
    """Encodes sound as the stream "wav2lip", one embedding per video frame."""

    def __init__(self, network: nn.Module, device: str | torch.device = "cpu"):
        self.network = network
        self.device = torch.device(device)

    @torch.no_grad()
    def encode(
        self,
        waveform: Tensor,
        sample_rate: int,
        timeline: Timeline,
        on_step: Callable[[int, int], None] | None = None,
    ) -> Speech:
        """What the lips need to know of the sound.

        As in the published program, sound after the last whole 1/25 s is not heard.

        Args:
            waveform: `[C, S]` float, −1 … 1; channels are averaged.
            sample_rate: of `waveform`, Hz.
            timeline: of the video; at 25 fps the stream is the published one.
            on_step: called with (frames done, frames in all) after each batch.

        Raises:
            PayloadError: not `[C, S]`, empty, or not finite.
        """
        samples = mono_16k(waveform, sample_rate)
        mel = mel_spectrum(samples[: max(len(samples) // FRAME, 1) * FRAME])
        starts = window_starts(timeline.num_frames, timeline.fps)
        weight = next(self.network.parameters())
        embeddings = []
        for first in range(0, len(starts), BATCH):
            windows = mel_windows(mel, starts[first : first + BATCH])
            embedding = self.network(windows.to(self.device, weight.dtype))
            embeddings.append(embedding.float().cpu())
            if on_step:
                on_step(min(first + BATCH, len(starts)), len(starts))
        return Speech(streams={STREAM: torch.cat(embeddings)}, timeline=timeline)


def mono_16k(waveform: Tensor, sample_rate: int) -> Tensor:
    """The average of the channels `[C, S]` at 16 kHz, `[S']` float32.

    Raises:
        PayloadError: not `[C, S]`, empty, or not finite.
    """
    if waveform.ndim != 2 or waveform.numel() == 0:
        raise PayloadError(
            f"A sound of shape {tuple(waveform.shape)} is empty or not channels × samples."
            " Give at least one sample."
        )
    samples = waveform.detach().cpu().float().mean(0)
    if not torch.isfinite(samples).all():
        raise PayloadError("The sound holds NaN or infinite samples. Look for them upstream.")
    if sample_rate == SAMPLE_RATE:
        return samples
    from librosa import resample

    # The resampler of the published program; the features of other rates depend on it.
    resampled = resample(
        samples.numpy(), orig_sr=sample_rate, target_sr=SAMPLE_RATE, res_type="soxr_hq"
    )
    return torch.from_numpy(resampled)


def load(
    device: str | torch.device = "cpu",
    path: str | Path | None = None,
    operations: ModuleType | Any = nn,
) -> Wav2LipSpeechEncoder:
    """The speech encoder with the weights of `path`: Wav2Lip's generator, or its audio half.

    Raises:
        CheckpointError: no path, or a file that is not Wav2Lip's.
    """
    if path is None:
        raise checkpoints.CheckpointError(
            "Wav2Lip needs its weights: give the path of 'wav2lip.pth'."
        )
    network = checkpoints.load("wav2lip_audio", path, operations)
    return Wav2LipSpeechEncoder(network.to(device), device)
