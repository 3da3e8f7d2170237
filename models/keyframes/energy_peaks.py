"""Keyframes where the voice gets louder: the baseline that needs no weights.

Stage 2. The reverse of learning them from motion. Any speech encoder's "energy" will do. Rates and
leads are those that agree best with the motion of the synthesised corpus.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..payloads import KEYFRAME_PATHS, Keyframes, PayloadError, Speech
from .establish import APART, SMOOTHING, keep_apart, smooth

RATES = {"expression": 3.3, "pose": 1.25}  # keyframes/s while somebody speaks
LEAD = {"expression": 0.1, "pose": 0.2}  # seconds by which a movement precedes the loudest moment
SPEAKING = 0.3  # energy above which somebody does
RATE_LIMITS = (0.05, 8.0)  # keyframes/s that can be asked for


class EnergyPeaks:
    """Speech with the stream "energy" -> just before what is louder than its surroundings."""

    def predict(
        self,
        speech: Speech,
        seed: int = 0,
        *,
        rate: float | None = None,
        on_step: Callable[[int, int], None] | None = None,
    ) -> Keyframes:
        """Find peaks.

        Args:
            speech: with the stream "energy".
            seed: changes nothing, loudness leaves no choice.
            rate: expression keyframes/s while somebody speaks, those of the pose in proportion;
                by default 3.3.
            on_step: called once.

        Raises:
            PayloadError: the stream is missing or the rate is impossible.
        """
        energy = speech.stream("energy", "Energy peaks")[:, 0]
        factor = rate_factor(rate, RATES["expression"])
        marks, strength = {}, {}
        for path in KEYFRAME_PATHS:
            fps = float(speech.timeline.fps)
            peaks, _ = loudest(energy, fps, RATES[path] * factor, SMOOTHING[path])
            marks[path] = earlier(peaks, LEAD[path] * fps)
            strength[path] = marks[path].float()
        if on_step:
            on_step(1, 1)
        return Keyframes(marks=marks, strength=strength, timeline=speech.timeline)


def rate_factor(rate: float | None, usual: float) -> float:
    """How many times as many keyframes as usual are wanted.

    Raises:
        PayloadError: outside 0.05 … 8 a second.
    """
    if rate is None:
        return 1.0
    if not RATE_LIMITS[0] <= rate <= RATE_LIMITS[1]:
        raise PayloadError(
            f"{rate:g} keyframes per second were asked for; {RATE_LIMITS[0]:g} to"
            f" {RATE_LIMITS[1]:g} are possible."
        )
    return rate / usual


def loudest(energy: Tensor, fps: float, rate: float, smoothing: float) -> tuple[Tensor, Tensor]:
    """The highest peaks of `energy [T]`, `rate` for each second of speech: marks and heights."""
    curve = smooth(energy, smoothing * fps)
    inside = curve[1:-1]
    top = torch.zeros(len(curve), dtype=torch.bool)
    top[1:-1] = (inside > curve[:-2]) & (inside >= curve[2:]) & (inside > SPEAKING / 2)
    height = curve - smooth(energy, 0.5 * fps)  # above the half second around it
    apart = keep_apart(top, height, APART * fps)
    wanted = round(rate * float((energy > SPEAKING).sum()) / fps)
    best = height.masked_fill(~apart, float("-inf")).argsort(descending=True, stable=True)
    marks = torch.zeros_like(apart)
    marks[best[: min(wanted, int(apart.sum()))]] = True
    return marks, height


def earlier(marks: Tensor, frames: float) -> Tensor:
    """`[T]` bool, so many frames earlier; what would come before the sound comes at its start."""
    result = torch.zeros_like(marks)
    result[(marks.nonzero()[:, 0] - round(frames)).clamp(min=0)] = True
    return result


def load(device: Any = "cpu") -> EnergyPeaks:
    """The baseline; it has no weights and no use for a device."""
    return EnergyPeaks()
