"""What a head does while its owner talks: turns, nods, blinks, brows, gaze, breath.

No network: prosody (`models/speech/prosody.py`) says when, and a seed says how. Everything is a
continuous function of time, looked at at the frames' centres, so 25 and 60 frames per second show
the same movement. Random numbers are drawn along time, so a longer sound begins alike.

What is imitated: 10 to 20 blinks a minute, lids that close in about 0.1 s and open in about 0.2 s,
more blinks where phrases end (Nakano & Kitazawa 2010), head beats and raised brows on accented
syllables (Hadar et al. 1983; Cavé et al. 1996), eyes that stay on the listener while the head
turns. The first second eases away from the portrait's own pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..payloads import Speech
from .arkit import ARKIT52, INDEX
from .drift import draws, drift, smooth_step
from .envelope import Envelope, at, blur

HEAD_LIMITS = (10.0, 12.0, 6.0)  # pitch, yaw, roll, degrees
BLINK_INTERVAL = (2.4, 6.4)  # seconds, from one to the next: 14 a minute
BLINK_CLOSE, BLINK_HOLD, BLINK_OPEN = 0.12, 0.045, 0.2  # seconds; the hold covers a frame at 24 fps
DOUBLE_BLINKS = 0.08  # share of blinks with a second one right behind
BLINK_SNAP = 0.8  # seconds within which a phrase's end draws a blink
SACCADE = 0.05  # seconds
ARRIVAL = 1.0  # seconds in which the head leaves the portrait's own pose
EYE_RANGE = 28.0  # degrees an eye turns at a gaze weight of 1


@dataclass(frozen=True, eq=False)
class Gestures:
    """Head pose and the weights of eyes and brows, to be added to what the mouth does."""

    rotation: Tensor  # [T, 3] pitch, yaw, roll, degrees, within ±HEAD_LIMITS
    translation: Tensor  # [T, 3] inter-ocular distances
    scale: Tensor  # [T]
    weights: Tensor  # [T, 52] ARKit, zero below the eyes


def gestures(speech: Speech, seed: int) -> Gestures:
    """Head, lids, brows and gaze for a voice.

    Args:
        speech: with the streams "energy" and "f0" (see `models/speech/prosody.py`).
        seed: any integer; the same one gives the same movement.

    Raises:
        PayloadError: a stream is missing.
    """
    voice = Envelope.of(speech, needed_by="Head and eye movement")
    times = speech.timeline.frame_centres()
    life = 0.4 + 0.6 * at(voice.activity, times)  # settles in silence, but never freezes
    rotation = _head(voice, times, seed, life)
    weights = torch.zeros(len(times), len(ARKIT52))
    _add_brows(weights, voice, times, seed)
    _add_gaze(weights, times, seed, rotation)
    _add_blinks(weights, blink_times(voice, seed), times)
    return Gestures(
        rotation=rotation,
        translation=_sway(times, seed, life),
        scale=1 + 0.004 * drift(times, seed, "distance", 0.2) * _arrival(times),
        weights=weights.clamp(0, 1),
    )


def _head(voice: Envelope, times: Tensor, seed: int, life: Tensor) -> Tensor:
    """Posture that changes with phrases, a slow wander, nods on beats: `[T, 3]` degrees."""
    beats, accents = at(voice.beats, times), at(voice.accents, times)
    mood = drift(times, seed, "nod", 0.35)
    posture = [at(curve, times) for curve in _postures(voice, seed)]
    wander = [
        drift(times, seed, f"slow {axis}", 0.5) + 0.5 * drift(times, seed, f"quick {axis}", 1.3)
        for axis in ("pitch", "yaw", "roll")
    ]
    breath = 0.25 * _breath(times, seed)
    pitch = posture[0] + life * 0.8 * wander[0] + (4 + 3 * mood) * beats - 1.6 * accents + breath
    yaw = posture[1] + life * 1.2 * wander[1] + 2.5 * drift(times, seed, "beat yaw", 0.5) * beats
    roll = posture[2] + life * 0.7 * wander[2] + 1.5 * drift(times, seed, "beat roll", 0.4) * beats
    limits = torch.tensor(HEAD_LIMITS)
    degrees = limits * torch.tanh(torch.stack([pitch, yaw, roll], 1) / limits)
    return degrees * _arrival(times)[:, None]


def _postures(voice: Envelope, seed: int) -> list[Tensor]:
    """Where the head rests, pitch, yaw and roll over the envelope's steps: held, then moved on.

    It moves on as a phrase begins, and now and then within a long one.
    """
    grid = voice.times
    spontaneous = (2.5 + 4 * draws(seed, "posture times", int(grid[-1] / 2.5) + 2)).cumsum(0)
    moments = torch.cat([torch.zeros(1), voice.starts, spontaneous]).double().sort().values
    current = moments[torch.searchsorted(moments, grid, right=True) - 1]
    engaged = 0.35 + 0.65 * voice.activity
    # The target depends on the moment, not on a count: a missed phrase changes nothing later.
    spread = {"pitch": 2.0, "yaw": 3.8, "roll": 1.7}
    return [
        blur(size * engaged * drift(current, seed, f"posture {axis}", 0.9), 0.27)
        for axis, size in spread.items()
    ]


def _breath(times: Tensor, seed: int) -> Tensor:
    """-1 … 1, about fifteen breaths a minute, none quite like the last."""
    cycles = 0.25 * times + 0.2 * drift(times, seed, "breath", 0.15)
    return torch.sin(2 * torch.pi * cycles).float()


def _sway(times: Tensor, seed: int, life: Tensor) -> Tensor:
    """Head translation `[T, 3]`, inter-ocular distances."""
    sway = [0.014 * life * drift(times, seed, f"sway {axis}", 0.5) for axis in "xyz"]
    sway[1] = sway[1] - 0.006 * _breath(times, seed)
    return torch.stack(sway, 1) * _arrival(times)[:, None]


def _arrival(times: Tensor) -> Tensor:
    return smooth_step(times.float() / ARRIVAL)


def blink_times(voice: Envelope, seed: int) -> Tensor:
    """Seconds at which blinks begin, `[B]`: at random, drawn to the ends of phrases."""
    last = float(voice.times[-1])
    shortest, longest = BLINK_INTERVAL
    count = int(last / shortest) + 2
    intervals = shortest + (longest - shortest) * draws(seed, "blink intervals", count)
    twice = draws(seed, "double blinks", count) < DOUBLE_BLINKS
    planned = intervals.cumsum(0) - shortest * 0.75
    begun: list[float] = []
    for moment, double in zip(planned.tolist(), twice.tolist(), strict=True):
        moment = _towards_pause(moment, voice.ends)
        if begun and moment - begun[-1] < 0.9:
            moment = begun[-1] + 0.9
        begun.append(moment)
        if double:
            begun.append(moment + BLINK_CLOSE + BLINK_HOLD + 0.8 * BLINK_OPEN)
    return torch.tensor([moment for moment in begun if moment < last])


def _towards_pause(moment: float, ends: Tensor) -> float:
    """`moment`, or the end of the nearest phrase if that is near enough."""
    if len(ends):
        nearest = float(ends[(ends - moment).abs().argmin()])
        if abs(nearest - moment) < BLINK_SNAP:
            return nearest
    return moment


def blinks(begun: Tensor, times: Tensor) -> Tensor:
    """Weights `[T, 52]` of lids that close at the moments `begun [B]`, seconds, sorted."""
    weights = torch.zeros(len(times), len(ARKIT52))
    _add_blinks(weights, begun, times)
    return weights


def _lid(since: Tensor) -> Tensor:
    """How far a lid is closed, 0 … 1, seconds after it began to."""
    closed = smooth_step(since / BLINK_CLOSE)
    opening = ((since - BLINK_CLOSE - BLINK_HOLD) / BLINK_OPEN).clamp(0, 1)
    return closed * (1 - smooth_step(opening**0.75))


def _add_blinks(weights: Tensor, begun: Tensor, times: Tensor) -> None:
    """Lids: quickly down, slowly up."""
    duration = BLINK_CLOSE + BLINK_HOLD + BLINK_OPEN
    first = torch.searchsorted(times, begun.double())
    behind = torch.searchsorted(times, begun.double() + duration)
    for moment, start, stop in zip(begun.tolist(), first.tolist(), behind.tolist(), strict=True):
        lid = _lid((times[start:stop] - moment).float())
        for side, amount in (("Left", 1.0), ("Right", 0.98)):
            column = weights[start:stop, INDEX[f"eyeBlink{side}"]]
            torch.maximum(column, amount * lid, out=column)
            weights[start:stop, INDEX[f"browDown{side}"]] += 0.06 * lid


def _add_brows(weights: Tensor, voice: Envelope, times: Tensor, seed: int) -> None:
    """Brows go up on raised pitch, not on every one, and are never quite level or quite still."""
    willing = torch.sigmoid(2.5 * drift(times, seed, "brow accents", 0.4))
    raised = at(voice.accents, times) * willing
    idle = 0.05 * drift(times, seed, "brows", 0.25).clamp(min=0)
    tilt = 0.15 * drift(times, seed, "brow tilt", 0.2)
    effort = drift(times, seed, "effort", 0.25).clamp(min=0) * at(voice.activity, times)
    weights[:, INDEX["browInnerUp"]] = 0.5 * raised + idle
    for side, sign in (("Left", 1), ("Right", -1)):
        weights[:, INDEX[f"browOuterUp{side}"]] = raised * (0.4 + sign * tilt) + 0.6 * idle
        weights[:, INDEX[f"browDown{side}"]] = 0.07 * effort
        weights[:, INDEX[f"eyeSquint{side}"]] = 0.08 * effort
        weights[:, INDEX[f"eyeWide{side}"]] = 0.12 * raised


def _add_gaze(weights: Tensor, times: Tensor, seed: int, rotation: Tensor) -> None:
    """Small quick looks around the listener, held still while the head turns."""
    count = int(times[-1] / 0.5) + 2
    waits = 0.5 + 2.2 * draws(seed, "saccade intervals", count) ** 2
    moments = torch.cat([torch.zeros(1), waits.cumsum(0)]).double()
    current = torch.searchsorted(moments, times, right=True) - 1
    share = smooth_step((times - moments[current]).float() / SACCADE)
    away = (draws(seed, "saccade rest", count + 1) > 0.4).float()  # the others return to the middle
    look = []
    for axis, size in (("across", 0.12), ("up", 0.06)):
        goals = size * away * (2 * draws(seed, f"saccade {axis}", count + 1) - 1)
        goals[0] = 0
        look.append(torch.lerp(goals[(current - 1).clamp(min=0)], goals[current], share))
    # Yaw turns the nose to the person's right, so the eyes go to the left by as much.
    across = look[0] + 0.7 * rotation[:, 1] / EYE_RANGE
    up = look[1] + 0.7 * rotation[:, 0] / EYE_RANGE
    turns = {"LookOutLeft": across, "LookInRight": across, "LookInLeft": -across}
    turns |= {"LookOutRight": -across, "LookUpLeft": up, "LookUpRight": up}
    turns |= {"LookDownLeft": -up, "LookDownRight": -up}
    for name, amount in turns.items():
        weights[:, INDEX[f"eye{name}"]] = amount.clamp(min=0)
