"""Loudness and pitch of a voice: the two speech streams that gestures follow.

Needs no network and no weights. Works through the sound in chunks, so that half an hour takes the
memory of ten seconds, and a hundred times faster than real time on one CPU core.

Source of the pitch: de Cheveigné & Kawahara, "YIN, a fundamental frequency estimator for speech
and music" (2002), steps 1 to 5.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from ..payloads import Timeline

STEPS_PER_SECOND = 100  # of the analysis, whatever the frame rate
CHUNK_SECONDS = 10
MARGIN_SECONDS = 0.1  # of context on both sides of a chunk
ANALYSIS_RATE = 8000  # Hz, at least; what lies above 4 kHz says nothing more about pitch

LOUDNESS_WINDOW = 0.04  # seconds
WIDEST, NARROWEST = 35.0, 12.0  # decibels between energy 0 and the top of the voice, energy 0.85
ABOVE_NOISE = 4.0  # decibels above what is always there, where the voice begins
QUIETEST_VOICE = -70.0  # decibels below full scale; a sound that never gets louder is silence

LOWEST_F0, HIGHEST_F0 = 65.0, 500.0  # Hz
F0_WINDOW = 0.03  # seconds that are compared with themselves, shifted
F0_THRESHOLD = 0.2  # how far from perfectly periodic a voiced sound may be, 0 … 1


def prosody_streams(waveform: Tensor, sample_rate: int, timeline: Timeline) -> dict[str, Tensor]:
    """Loudness and pitch at the centre of every frame.

    Args:
        waveform: `[C, S]` float32, any number of channels (their mean is heard), any gain.
        sample_rate: Hz.
        timeline: of the sound.

    Returns:
        "energy" `[T, 1]`: 0 silent … 1 loudest, relative to how loud this voice gets, so that gain
        does not matter. "f0" `[T, 1]`: Hz, 0 where the sound is unvoiced.
    """
    loudness, pitch = [], []
    for sound, rate in _chunks(waveform, sample_rate):
        loudness.append(_decibels(sound, rate))
        pitch.append(_yin(sound, rate))
    energy = _normalise(torch.cat(loudness))
    f0 = torch.where(energy > 0.1, _median_of_five(torch.cat(pitch)), 0.0)
    position = (timeline.frame_centres() * STEPS_PER_SECOND - 0.5).clamp(0, len(energy) - 1)
    before, share = position.long(), (position % 1).float()
    after = (before + 1).clamp(max=len(energy) - 1)
    return {
        "energy": torch.lerp(energy[before], energy[after], share)[:, None],
        "f0": f0[position.round().long()][:, None],  # a mean of 0 and 200 Hz would be no pitch
    }


def _chunks(waveform: Tensor, sample_rate: int) -> Iterator[tuple[Tensor, float]]:
    """Mono pieces of `CHUNK_SECONDS` with a margin on both sides, thinned out, and their rate."""
    margin, size = int(sample_rate * MARGIN_SECONDS), sample_rate * CHUNK_SECONDS
    factor = max(1, sample_rate // ANALYSIS_RATE)
    samples = waveform.shape[1]
    for start in range(0, samples, size):
        stop = min(start + size, samples)
        inside = waveform[:, max(0, start - margin) : stop + margin].mean(0)
        left = max(0, margin - start)
        sound = F.pad(inside, (left, stop - start + 2 * margin - left - len(inside)))
        thinned = F.avg_pool1d(sound[None, None], factor, ceil_mode=True)[0, 0]
        yield thinned, sample_rate / factor


def _windows(sound: Tensor, rate: float, length: int) -> Tensor:
    """Pieces `[N, length]` of a chunk, centred on the steps of the analysis inside its margins."""
    seconds = len(sound) / rate - 2 * MARGIN_SECONDS
    steps = torch.arange(max(1, round(seconds * STEPS_PER_SECOND)))
    centres = ((steps + 0.5) / STEPS_PER_SECOND + MARGIN_SECONDS) * rate
    first = (centres - length / 2).round().long()
    index = first[:, None] + torch.arange(length)
    return sound[index.clamp(0, len(sound) - 1)]


def _decibels(sound: Tensor, rate: float) -> Tensor:
    """Loudness at each step, decibels below full scale, `[N]`."""
    window = torch.hann_window(max(2, int(LOUDNESS_WINDOW * rate)), periodic=False) + 1e-4
    pieces = _windows(sound, rate, len(window))
    power = (pieces.square() * window).sum(1) / window.sum()
    return 10 * torch.log10(power + 1e-12)


def _normalise(decibels: Tensor) -> Tensor:
    """Decibels → 0 … 1: steady noise and what is quieter at 0, loud passages at 0.85."""
    audible = decibels[decibels > max(QUIETEST_VOICE, float(decibels.max()) - 45)]
    if not len(audible):
        return torch.zeros_like(decibels)
    top = _percentile(audible, 0.95)
    noise = _percentile(decibels, 0.05) + ABOVE_NOISE
    silent = noise.clamp(min=top - WIDEST, max=top - NARROWEST)
    return (0.85 * (decibels - silent) / (top - silent)).clamp(0, 1)


def _percentile(values: Tensor, share: float) -> Tensor:
    """Like `torch.quantile`, which refuses long sounds."""
    return values.kthvalue(max(1, round(share * len(values)))).values


def _yin(sound: Tensor, rate: float) -> Tensor:
    """Fundamental frequency at each step, Hz, 0 where nothing repeats, `[N]`."""
    shortest, longest = max(2, int(rate / HIGHEST_F0)), int(rate / LOWEST_F0) + 1
    window = int(F0_WINDOW * rate)
    pieces = _windows(sound, rate, window + longest + 1)
    if window < 2 * shortest:  # below about 1 kHz there is no pitch to be found
        return pieces.new_zeros(len(pieces))
    dip = _cumulative_mean_difference(pieces - pieces.mean(1, keepdim=True), window)
    middle = dip[:, 1:-1]
    low = (middle < F0_THRESHOLD) & (middle <= dip[:, :-2]) & (middle < dip[:, 2:])
    low[:, : shortest - 1] = False
    best = low.float().argmax(1) + 1  # the first dip that is deep enough
    before, here, behind = (dip.gather(1, (best + shift)[:, None])[:, 0] for shift in (-1, 0, 1))
    shift = 0.5 * (before - behind) / (before - 2 * here + behind + 1e-9)  # vertex of a parabola
    return torch.where(low.any(1), rate / (best + shift.clamp(-0.5, 0.5)), 0.0)


def _cumulative_mean_difference(pieces: Tensor, window: int) -> Tensor:
    """YIN's d'(lag), equation 8: `[N, window + L]` → `[N, L]`, near 0 where the sound repeats."""
    lags = pieces.shape[1] - window
    size = 1 << (pieces.shape[1] + window).bit_length()
    spectrum = torch.fft.rfft(pieces, size)
    head = torch.fft.rfft(pieces[:, :window], size)
    product = torch.fft.irfft(spectrum * head.conj(), size)[:, :lags]
    energy = F.pad(pieces.double().square().cumsum(1), (1, 0))
    shifted = (energy[:, window : window + lags] - energy[:, :lags]).float()
    difference = (shifted[:, :1] + shifted - 2 * product).clamp(min=0)
    mean = difference.cumsum(1) / torch.arange(1, lags + 1).sub(1).clamp(min=1)
    result = difference / (mean + 1e-9)
    result[:, 0] = 1
    return result


def _median_of_five(values: Tensor) -> Tensor:
    """Running median, which removes octave slips and lone voiced steps."""
    return F.pad(values[None], (2, 2), mode="replicate")[0].unfold(0, 5, 1).median(1).values
