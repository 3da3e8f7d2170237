"""Numbers that say how well a face moves. Exact definitions, all of them tested on toys.

Shapes: T frames; weights are ARKit's `[T, 52]`, rotations `[T, 3]` pitch, yaw, roll in degrees,
keyframes `[T]` bool. Lengths are inter-ocular distances of the bundled rig's mean face.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..models.keyframes.establish import smooth
from ..models.motion.rig import load_rig

LIPS = slice(48, 68)  # of the 68 landmarks
BEATS = {"kdtalker": (5.0, 0.1), "bailando": (5.0, 3 / 60)}
"""Smoothing in frames, and sigma in seconds, as two papers measure Beat Align."""


@dataclass(frozen=True, kw_only=True)
class KeyframeScore:
    """How well predicted keyframes fit the true ones."""

    precision: float
    recall: float
    f1: float
    rate_ratio: float  # predicted per true keyframe


def keyframe_score(
    pairs: list[tuple[Tensor, Tensor]],
    tolerance: int,
) -> KeyframeScore:
    """Counts of all clips together; each keyframe is matched with one other at most.

    Args:
        pairs: predicted and true keyframes of a clip, `[T]` bool each.
        tolerance: frames that two keyframes may be apart.
    """
    hits = sum(matched(*pair, tolerance) for pair in pairs)
    guessed = sum(int(guess.sum()) for guess, _ in pairs)
    true = sum(int(truth.sum()) for _, truth in pairs)
    return KeyframeScore(
        precision=hits / max(guessed, 1),
        recall=hits / max(true, 1),
        f1=2 * hits / max(guessed + true, 1),
        rate_ratio=guessed / max(true, 1),
    )


def matched(guess: Tensor, truth: Tensor, tolerance: int) -> int:
    """The largest number of one-to-one pairs at most `tolerance` frames apart.

    In one dimension, taking the earliest partner that is left finds it.
    """
    places, wanted = guess.nonzero()[:, 0].tolist(), truth.nonzero()[:, 0].tolist()
    hits = i = j = 0
    while i < len(places) and j < len(wanted):
        if abs(places[i] - wanted[j]) <= tolerance:
            hits, i, j = hits + 1, i + 1, j + 1
        elif places[i] < wanted[j]:
            i += 1
        else:
            j += 1
    return hits


def lip_vertex_error(guess: Tensor, truth: Tensor) -> float:
    """LVE: squared distance of the worst lip landmark, mean over frames, squared lengths.

    The definition of CodeTalker (Xing et al. 2023), on the rig's 20 lip landmarks instead of a
    mesh: not comparable with numbers from meshes.
    """
    rig = load_rig()
    off = rig.landmarks(guess)[:, LIPS] - rig.landmarks(truth)[:, LIPS]
    return float(off.square().sum(-1).amax(-1).mean())


def lip_correlation(guess: Tensor, truth: Tensor) -> tuple[float, float]:
    """Pearson's r over time of the lips' aperture and of their width; 0 where one stands still."""
    first, second = lip_gauges(guess), lip_gauges(truth)
    return pearson(first[:, 0], second[:, 0]), pearson(first[:, 1], second[:, 1])


def lip_gauges(weights: Tensor) -> Tensor:
    """Inner lips over forehead to chin, and mouth corners over eye corners, on the rig: `[T, 2]`.

    The way the shared clips were measured.
    """
    points = load_rig().landmarks(weights)

    def apart(one: int, other: int) -> Tensor:
        return (points[:, one] - points[:, other]).norm(dim=-1)

    return torch.stack([apart(62, 66) / apart(27, 8), apart(48, 54) / apart(36, 45)], -1)


def pearson(first: Tensor, second: Tensor) -> float:
    """Pearson's r of two curves `[T]`, 0 where one of them is constant."""
    a, b = (curve.double() - curve.double().mean() for curve in (first, second))
    spread = float(a.norm() * b.norm())
    return float(a @ b) / spread if spread > 1e-12 else 0.0


@dataclass(frozen=True, kw_only=True)
class BeatScore:
    """Beat Align in both directions, and how dense motion beats are: more of them always fit."""

    sound_to_motion: float  # for every beat of the sound, is there one of the motion?
    motion_to_sound: float
    motion_beats_per_second: float


def beat_align(
    motion: Tensor, fps: float, sound_beats: Tensor, preset: str = "kdtalker"
) -> BeatScore:
    """Do heads pause where the sound has beats? `mean exp(-distance² / 2 sigma²)`.

    After Bailando (Siyao et al. 2022): beats of a motion are strict minima of its smoothed speed.

    Args:
        motion: `[T, C]`, for heads their rotation: lips would leak into landmarks.
        fps: of the motion.
        sound_beats: `[N]` seconds.
        preset: a name in `BEATS`.
    """
    smoothing, sigma = BEATS[preset]
    beats = motion_beats(motion, fps, smoothing)
    return BeatScore(
        sound_to_motion=_alignment(sound_beats.double(), beats, sigma),
        motion_to_sound=_alignment(beats, sound_beats.double(), sigma),
        motion_beats_per_second=len(beats) * fps / max(len(motion), 1),
    )


def motion_beats(motion: Tensor, fps: float, smoothing: float) -> Tensor:
    """Seconds of the strict minima of the speed, smoothed by `smoothing` frames, float64 `[N]`."""
    if len(motion) < 4:
        return torch.zeros(0, dtype=torch.float64)
    pace = smooth(motion.diff(dim=0).norm(dim=-1).float(), smoothing)
    inside = pace[1:-1]
    low = (inside < pace[:-2]) & (inside < pace[2:])
    return (low.nonzero()[:, 0].double() + 2) / fps  # between frames k and k + 1, from 0


def _alignment(beats: Tensor, others: Tensor, sigma: float) -> float:
    """Mean closeness of each beat to the nearest of the others; 0 without any."""
    if not len(beats) or not len(others):
        return 0.0
    distance = (beats[:, None] - others[None]).abs().amin(1)
    return float(torch.exp(-0.5 * (distance / sigma) ** 2).mean())


def sound_beats(energy: Tensor, fps: float, speaking: float = 0.3) -> Tensor:
    """Seconds at which a voice is loudest around: peaks of `energy [T]`, smoothed by 60 ms."""
    curve = smooth(energy, 0.06 * fps)
    inside = curve[1:-1]
    top = (inside > curve[:-2]) & (inside >= curve[2:]) & (inside > speaking)
    return (top.nonzero()[:, 0].double() + 1.5) / fps


def diversity(rotation: Tensor) -> float:
    """How much a head moves: deviation over time of each angle, mean of the three, degrees."""
    return float(rotation.std(dim=0, correction=0).mean())


def diversity_across_seeds(rotations: list[Tensor]) -> float:
    """How differently it moves: root mean square difference of two seeds, mean of all pairs.

    Degrees; `[T, 3]` each.
    """
    pairs = [
        float((a - b).square().mean().sqrt())
        for i, a in enumerate(rotations)
        for b in rotations[i + 1 :]
    ]
    return sum(pairs) / max(len(pairs), 1)


def angular_speed(rotation: Tensor, fps: float) -> Tensor:
    """Degrees per second from frame to frame, `[T − 1]`; Euler angles as they are."""
    return rotation.diff(dim=0).norm(dim=-1) * fps


def velocity_ratio(guess: Tensor, truth: Tensor) -> float:
    """Root mean square change per frame of the guess over that of the truth; `[T, C]`."""
    return _ratio(guess.diff(dim=0), truth.diff(dim=0))


def jerk_ratio(guess: Tensor, truth: Tensor) -> float:
    """Mean absolute third difference of the guess over that of the truth; above 1 is jitter."""
    first, second = (x.diff(n=3, dim=0).abs().mean() for x in (guess, truth))
    return float(first / second.clamp(min=1e-12))


def _ratio(guess: Tensor, truth: Tensor) -> float:
    return float(guess.square().mean().sqrt() / truth.square().mean().sqrt().clamp(min=1e-12))
