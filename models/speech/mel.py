"""Log-mel spectrum at 100 frames a second for the starter, the voice's own average taken off.

Frame n is centred on sample `n · 160` of the sound at 16 kHz. Everything works piece by piece, so
that half an hour needs the memory of a sentence; the pieces join without a seam.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from math import log

import torch
from torch import Tensor

SAMPLE_RATE = 16000
HOP = 160  # samples, 10 ms
WINDOW = 512  # samples, 32 ms
BINS = 80
LOWEST, HIGHEST = 60.0, 7600.0  # Hz
FLOOR = 1e-10  # power of a frame's bin below which nothing is heard
QUIETEST_MEAN = -16.0  # log power: sounds below on average count as silence, not amplified
RANGE = (-10.0, 6.0)  # log power around the average that the network sees
SCALE = 0.25
LOG_STEP = log(6.4) / 27  # of the mel scale above 1 kHz
PIECE = 1500  # frames, 15 s: as little memory as a short sound


def frame_count(samples: int) -> int:
    """Mel frames of a sound with `samples` at 16 kHz."""
    return samples // HOP + 1


def log_mel(sound: Tensor, first: int = 0, count: int | None = None) -> Tensor:
    """Natural logarithm of the mel power.

    Args:
        sound: `[…, S]` float, -1 … 1, at 16 kHz.
        first, count: which frames, by default all. Beyond the ends of the sound is silence.

    Returns:
        `[…, count, 80]` float32.
    """
    samples = sound.shape[-1]
    count = frame_count(samples) - first if count is None else count
    start = first * HOP - WINDOW // 2
    stop = start + (count - 1) * HOP + WINDOW
    inside = sound[..., max(start, 0) : max(min(stop, samples), 0)].float()
    padded = torch.nn.functional.pad(
        inside, (max(-start, 0), stop - max(start, 0) - inside.shape[-1])
    )
    window = torch.hann_window(WINDOW, device=sound.device)
    spectrum = torch.fft.rfft(padded.unfold(-1, WINDOW, HOP) * window)
    power = spectrum.real.square() + spectrum.imag.square()
    filters = mel_filters().to(sound.device)
    return ((power @ filters) / window.square().sum() + FLOOR).log()


def average(pieces: Iterator[Tensor]) -> Tensor:
    """The voice's average spectrum `[80]`, from its `[T, 80]` log-mel pieces.

    Frames weigh as their amplitude does, so pauses and quiet noise hardly count.
    """
    total, weights = torch.zeros(BINS, dtype=torch.float64), 0.0
    for piece in pieces:
        weight = loudness(piece)
        total = total + (piece * weight[:, None]).sum(0).double().cpu()
        weights += float(weight.sum())
    return (total / max(weights, 1e-12)).float()


def loudness(mel: Tensor) -> Tensor:
    """Amplitude of every frame of a log-mel spectrum `[…, T, 80]`: `[…, T]`."""
    return mel.exp().sum(-1).sqrt()


def normalise(mel: Tensor, mean: Tensor) -> Tensor:
    """Log-mel `[…, T, 80]` around the average `[…, 80]`, limited and scaled for the network."""
    raised = mean + (QUIETEST_MEAN - mean.mean(-1, keepdim=True)).clamp(min=0)
    return (mel - raised.unsqueeze(-2)).clamp(*RANGE) * SCALE


def stream(sound: Tensor, piece: int = PIECE) -> Iterator[Tensor]:
    """The log-mel frames of `sound [S]` in order, in pieces of at most `piece` frames."""
    frames = frame_count(sound.shape[-1])
    for first in range(0, frames, piece):
        yield log_mel(sound, first, min(piece, frames - first))


@cache
def mel_filters() -> Tensor:
    """Triangles on Slaney's mel scale that average the power under them, `[257, 80]`."""
    lowest, highest = (_to_mel(torch.tensor(hertz)) for hertz in (LOWEST, HIGHEST))
    corners = _to_hertz(torch.linspace(float(lowest), float(highest), BINS + 2))
    bins = torch.arange(WINDOW // 2 + 1) * (SAMPLE_RATE / WINDOW)
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    rising = (bins[:, None] - left) / (centre - left)
    falling = (right - bins[:, None]) / (right - centre)
    triangles = torch.minimum(rising, falling).clamp(min=0)
    return triangles / triangles.sum(0)


def _to_mel(hertz: Tensor) -> Tensor:
    """Slaney (1998): linear to 1 kHz, logarithmic above."""
    return torch.where(hertz < 1000, hertz * 0.015, 15 + (hertz / 1000).log() / LOG_STEP)


def _to_hertz(mel: Tensor) -> Tensor:
    return torch.where(mel < 15, mel / 0.015, 1000 * ((mel - 15) * LOG_STEP).exp())
