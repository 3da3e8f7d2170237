"""Keyframe establishment learning: what counts as a keyframe, and predictors that learn it.

The speech encoder is frozen here; `training/ksdiff.py` trains it. Source of the idea: KSDiff
(Lyu et al. 2025), which publishes neither the loss nor how exposure bias is met; both are ours.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..models.keyframes.establish import SMOOTHING, deviation, peaks, speed
from .ksdiff_data import FRAME_RATE, Sessions

PATHS = {"expression": slice(0, 52), "pose": slice(52, 59)}
APART = 3.0  # frames


def mark_sessions(sessions: Sessions, folder: Path | None = None) -> np.ndarray:
    """Strength of the true keyframes of every session and draw, `[N, DRAWS, T, 2]` float16.

    With a folder they are kept there, and read if they fit.
    """
    path = folder / "keyframes.npy" if folder else None
    shape = (*sessions.motion.shape[:3], 2)
    if path and path.exists():
        kept = np.load(path)
        if kept.shape == shape:
            return kept
    strength = np.zeros(shape, np.float16)
    usual = deviations(sessions)
    for index, draw in np.ndindex(*shape[:2]):
        motion = torch.from_numpy(sessions.motion[index, draw]).float()
        strength[index, draw] = marks_of(motion, usual).numpy()
    if path:
        np.save(path, strength)
    return strength


def deviations(sessions: Sessions) -> dict[str, Tensor]:
    """How much each coefficient of each path changes from frame to frame."""
    some = torch.from_numpy(sessions.motion[:: max(1, len(sessions) // 100)]).float()
    return {path: deviation(some[..., columns]) for path, columns in PATHS.items()}


def marks_of(motion: Tensor, usual: dict[str, Tensor]) -> Tensor:
    """Strength of the keyframes of `motion [T, 59]`, expression and pose: `[T, 2]`."""
    found = []
    for path, columns in PATHS.items():
        sigma = SMOOTHING[path] * FRAME_RATE
        found.append(peaks(speed(motion[:, columns], usual[path], sigma), APART)[1])
    return torch.stack(found, 1)
