"""The shape of a voice over time, as gestures need it: loud, quiet, phrases, beats and accents."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor
from torch.nn import functional as F

from ..payloads import Speech

STEPS_PER_SECOND = 100  # of these curves, whatever the frame rate
SPEAKING = 0.3  # energy above which somebody speaks
PAUSE = 0.3  # seconds; shorter gaps belong to the phrase
ACCENT_START, ACCENT_FULL = 1.5, 6.0  # semitones above the usual pitch


@dataclass(frozen=True, eq=False)
class Envelope:
    """Curves `[N]` at 100 steps a second, and phrases in seconds."""

    activity: Tensor  # 0 silent … 1 speaking, over half a second
    beats: Tensor  # syllables louder than their surroundings, positive; negative between
    accents: Tensor  # 0 … 1, pitch raised above the usual
    starts: Tensor  # [P] where phrases start
    ends: Tensor  # [P] where they end

    @classmethod
    def of(cls, speech: Speech, needed_by: str) -> Envelope:
        """The envelope of a voice with the streams "energy" and "f0".

        Raises:
            PayloadError: a stream is missing; the message names `needed_by`.
        """
        energy = _on_grid(speech.stream("energy", needed_by)[:, 0], speech)
        f0 = _on_grid(speech.stream("f0", needed_by)[:, 0], speech, nearest=True)
        loudness = blur(energy, 0.07)
        speaking = _close_gaps(loudness > SPEAKING, int(PAUSE * STEPS_PER_SECOND))
        edges = torch.diff(F.pad(speaking.float(), (1, 1)))
        return cls(
            activity=blur(speaking.float(), 0.3),
            beats=blur(energy, 0.1) - blur(energy, 0.5),
            accents=_accents(f0),
            starts=(edges > 0).nonzero()[:, 0] / STEPS_PER_SECOND,
            ends=(edges < 0).nonzero()[:, 0] / STEPS_PER_SECOND,
        )

    @property
    def times(self) -> Tensor:
        """Seconds of the steps, `[N]` float64."""
        return torch.arange(len(self.activity), dtype=torch.float64) / STEPS_PER_SECOND


def at(curve: Tensor, times: Tensor) -> Tensor:
    """A curve of the envelope at any `times` (seconds, `[T]`)."""
    position = (times * STEPS_PER_SECOND).clamp(0, len(curve) - 1)
    before = position.long()
    after = (before + 1).clamp(max=len(curve) - 1)
    return torch.lerp(curve[before], curve[after], (position - before).float())


def blur(curve: Tensor, seconds: float) -> Tensor:
    """Gaussian smoothing with a deviation of `seconds`; the ends go on as they are."""
    reach = ceil(3.5 * seconds * STEPS_PER_SECOND)
    offsets = torch.arange(-reach, reach + 1) / (seconds * STEPS_PER_SECOND)
    kernel = torch.exp(-0.5 * offsets**2)
    padded = F.pad(curve[None, None], (reach, reach), mode="replicate")
    return F.conv1d(padded, (kernel / kernel.sum())[None, None])[0, 0]


def _on_grid(stream: Tensor, speech: Speech, nearest: bool = False) -> Tensor:
    """A stream `[T]` of the timeline at the envelope's steps."""
    timeline = speech.timeline
    steps = torch.arange(ceil(timeline.seconds * STEPS_PER_SECOND) + 1, dtype=torch.float64)
    position = steps / STEPS_PER_SECOND * float(timeline.fps) - 0.5
    position = position.clamp(0, timeline.num_frames - 1)
    if nearest:
        return stream[position.round().long()]
    before = position.long()
    after = (before + 1).clamp(max=timeline.num_frames - 1)
    return torch.lerp(stream[before], stream[after], (position - before).float())


def _close_gaps(active: Tensor, steps: int) -> Tensor:
    """Bool `[N]` without pauses of up to `steps`."""
    half = steps // 2
    grown = F.max_pool1d(F.pad(active.float()[None], (half, half)), 2 * half + 1, stride=1)
    shrunk = -F.max_pool1d(F.pad(-grown, (half, half), value=-1.0), 2 * half + 1, stride=1)
    return shrunk[0] > 0.5


def _accents(f0: Tensor) -> Tensor:
    """How far the pitch is raised, 0 … 1, averaged over voiced sound only."""
    voiced = f0 > 0
    if not voiced.any():
        return torch.zeros_like(f0)
    semitones = 12 * torch.log2(f0.clamp(min=1) / f0[voiced].median())
    share = blur(voiced.float(), 0.12)
    raised = blur(semitones * voiced, 0.12) / share.clamp(min=0.05)
    height = (raised - ACCENT_START) / (ACCENT_FULL - ACCENT_START)
    return blur(height.clamp(0, 1) * share.clamp(max=0.5) * 2, 0.1)
