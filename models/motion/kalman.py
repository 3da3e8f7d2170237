"""Smoothing of curves by a Kalman filter and the pass back over it (Rauch, Tung & Striebel 1965).

Stage 3. Every channel is its own random walk seen through noise, so the matrices of the published
programs, all multiples of the identity, reduce to a few numbers that all channels share.
"""

from __future__ import annotations

import torch
from torch import Tensor


def smooth(values: Tensor, process: float = 0.05, measurement: float = 0.001) -> Tensor:
    """The most likely course of a random walk that was measured as `values`.

    Args:
        values: `[T, …]`, any unit; every channel is smoothed by itself.
        process: variance of the walk's steps.
        measurement: variance of the measurements. Only the ratio to `process` matters after the
            first frames, whose own variance is 1. KDTalker's 0.05 and 0.001 change little.

    Returns:
        Like `values`, computed in double precision.
    """
    walk = values.double()
    gains, backs = _gains(len(values), process, measurement)
    filtered = [walk[0]]
    for measured, gain in zip(walk[1:], gains[1:], strict=True):
        filtered.append(filtered[-1] + gain * (measured - filtered[-1]))
    smoothed = [filtered[-1]]
    for present, back in zip(filtered[-2::-1], backs[-2::-1], strict=True):
        smoothed.append(present + back * (smoothed[-1] - present))
    return torch.stack(smoothed[::-1]).to(values.dtype)


def _gains(count: int, process: float, measurement: float) -> tuple[list[float], list[float]]:
    """Per frame the share of the measurement that is believed, and of the later frames."""
    gains, backs = [], []
    predicted = 1.0
    for _ in range(count):
        gain = predicted / (predicted + measurement)
        variance = (1 - gain) * predicted
        predicted = variance + process
        gains.append(gain)
        backs.append(variance / predicted)
    return gains, backs
