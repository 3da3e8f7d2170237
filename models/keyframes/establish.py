"""Keyframes of a given motion: where it is fastest. The ground truth of keyframe learning.

Stage 2. KSDiff takes the local maxima of the smoothed change of the coefficients (Lyu et al. 2025,
as far as it is published); the norm, the smoothing and the gates are ours. The recipe, the measures
and the graph all call `peaks(speed(…))`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor

from ..motion.arkit import ARKIT52
from ..payloads import KEYFRAME_PATHS, Keyframes, Motion

SMOOTHING = {"expression": 0.06, "pose": 0.12}  # seconds: 1.5 and 3 frames at 25 frames/s
APART = 0.12  # seconds between keyframes of one path, at least: 3 frames at 25 frames/s
LEAST_DEVIATION = 0.1  # of the liveliest coefficient's: what hardly moves is not made to count
STILL = 1e-6  # change per frame below which nothing moves
# Blinks and gaze do not count: they are fast, and hardly led by what is said.
MARKED_WEIGHTS = tuple(
    i for i, name in enumerate(ARKIT52) if not name.startswith(("eyeBlink", "eyeLook"))
)
STRENGTHS = (0.25, 2.0)  # of keyframes, where 1 is the average one


def establish(motion: Motion, deviations: Mapping[str, Tensor] | None = None) -> Keyframes:
    """The keyframes of a motion, strength 1 being its average one.

    Args:
        motion: in any space.
        deviations: per path `[C]`, how much each coefficient changes from frame to frame in the
            data, see `deviation`; by default in this motion.
    """
    fps, marks, strength = float(motion.timeline.fps), {}, {}
    for path in KEYFRAME_PATHS:
        values = coefficients(motion, path)
        usual = deviation(values) if deviations is None else deviations[path]
        marks[path], strength[path] = peaks(
            speed(values, usual, SMOOTHING[path] * fps), APART * fps
        )
    return Keyframes(marks=marks, strength=strength, timeline=motion.timeline)


def coefficients(motion: Motion, path: str) -> Tensor:
    """What a path moves, `[T, C]`: weights or offsets; rotation, translation and log scale."""
    if path == "expression":
        values = motion.values.flatten(1)
        return values[:, MARKED_WEIGHTS] if motion.space == "arkit52" else values
    return torch.cat([motion.rotation, motion.translation, motion.scale.log()[:, None]], dim=1)


def deviation(values: Tensor) -> Tensor:
    """How much each coefficient of `[…, T, C]` changes from frame to frame: `[C]`, never 0."""
    change = values.diff(dim=-2).flatten(0, -2)
    if not len(change):
        return values.new_ones(values.shape[-1])
    usual = change.square().mean(0).sqrt()
    return usual.clamp(min=max(LEAST_DEVIATION * float(usual.max()), STILL))


def speed(values: Tensor, deviation: Tensor, sigma: float) -> Tensor:
    """How fast coefficients change, smoothed.

    Args:
        values: `[T, C]`.
        deviation: `[C]`, what counts as one of each.
        sigma: of the smoothing, frames.

    Returns:
        `[T]` float32, 0 or more; the change that leads to a frame belongs to it.
    """
    if len(values) < 2:
        return torch.zeros(len(values))
    change = (values.diff(dim=0) / deviation).norm(dim=1).float()
    return smooth(torch.cat([change[:1], change]), sigma)


def smooth(curve: Tensor, sigma: float) -> Tensor:
    """`[T]` under a Gaussian of `sigma` frames, mirrored at the ends."""
    reach = min(ceil(4 * sigma), len(curve) - 1)
    if reach < 1:
        return curve
    offsets = torch.arange(-reach, reach + 1) / sigma
    kernel = torch.exp(-0.5 * offsets.square())
    mirrored = F.pad(curve[None, None], (reach, reach), mode="reflect")
    return F.conv1d(mirrored, (kernel / kernel.sum()).to(curve)[None, None])[0, 0]


def peaks(curve: Tensor, apart: float) -> tuple[Tensor, Tensor]:
    """Maxima of a speed `[T]` above its mean, the stronger one where two are too close.

    Args:
        curve: what `speed` returned.
        apart: frames between two keyframes, at least.

    Returns:
        `[T]` bool, and `[T]` float32 strength, 1 for the average keyframe.
    """
    none = torch.zeros(len(curve), dtype=torch.bool)
    if len(curve) < 3 or float(curve.max()) < STILL:
        return none, torch.zeros(len(curve))
    inside = curve[1:-1]
    top = (inside > curve[:-2]) & (inside >= curve[2:]) & (inside > curve.mean())
    marks = keep_apart(F.pad(top, (1, 1)), curve, apart)
    usual = curve[marks].mean() if marks.any() else curve.new_ones(())
    return marks, torch.where(marks, (curve / usual).clamp(*STRENGTHS), 0.0)


def keep_apart(marks: Tensor, height: Tensor, apart: float) -> Tensor:
    """`marks [T]` without those that lie less than `apart` frames from a higher one that stays."""
    places = marks.nonzero()[:, 0]
    kept: list[int] = []
    taken = torch.zeros(len(marks), dtype=torch.bool)
    margin = max(ceil(apart) - 1, 0)
    for place in places[height[places].argsort(descending=True, stable=True)].tolist():
        if not taken[place]:
            kept.append(place)
            taken[max(place - margin, 0) : place + margin + 1] = True
    result = torch.zeros_like(marks)
    result[kept] = True
    return result
