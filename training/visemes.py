"""Phones in time → lips in time: coarticulation by dominance, after Cohen and Massaro (1993).

Every phone pulls the lips towards its own target; how hard, falls off with the distance in time.
Rounding reaches far ahead. The closures of p, b, m and the tuck of f, v are laid over the rest,
because they happen whatever the neighbours want. In short pauses speakers draw breath between
parted lips; only longer silence takes the mouth to rest.
"""

from __future__ import annotations

import numpy as np

from .phones import LIPS, PHONES, Segment

FRAME_RATE = 50  # targets per second; target k belongs to the moment k / 50 s
LIP_CHANNELS = (
    "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker",
    "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "mouthStretchLeft", "mouthStretchRight", "mouthSmileLeft", "mouthSmileRight",
    "mouthDimpleLeft", "mouthDimpleRight", "mouthPressLeft", "mouthPressRight",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
)  # fmt: skip

# Standard deviations in seconds of how far a phone reaches before and after its core.
APERTURE_REACH = (0.065, 0.075)
WIDTH_REACH = (0.085, 0.065)
SILENCE_REACH = (0.080, 0.060)
PARTED = 0.40  # aperture of lips that have just spoken or are about to, while breath is drawn
STAY, CLOSE = 0.30, 0.65  # seconds after speech: parted until the first, at rest from the second on
READY, WAKE = 0.10, 0.40  # seconds before speech: likewise
CORE = 0.25  # of the phone's length is given away at either end
CLOSING, OPENING = 0.055, 0.065  # seconds a contact takes to form and to release


def lip_track(segments: list[Segment], times: np.ndarray) -> np.ndarray:
    """Aperture 0 … 1, width -1 … 1, lip and teeth contact 0 … 1 at `times`: `[T, 4]`."""
    padded = _with_silence(segments)
    aperture = _blend(padded, times, "aperture", APERTURE_REACH)
    width = _blend(padded, times, "width", WIDTH_REACH)
    lips, teeth = (_contact(padded, times, kind) for kind in ("lips", "teeth"))
    return np.stack([aperture * (1 - lips) * (1 - 0.8 * teeth), width, lips, teeth], axis=-1)


def lip_weights(track: np.ndarray) -> np.ndarray:
    """ARKit weights `[T, 20]` in the order of `LIP_CHANNELS` for a lip track `[T, 4]`."""
    aperture, width, lips, teeth = np.moveaxis(track, -1, 0)
    rounded, spread = np.clip(-width, 0, 1), np.clip(width, 0, 1)
    value = {
        "jawOpen": 0.55 * aperture,
        "mouthClose": 0.06 * lips,
        "mouthFunnel": 0.45 * rounded * (0.3 + aperture) * (1 - lips),
        "mouthPucker": 0.65 * rounded * (1 - 0.5 * aperture),
        "mouthLowerDown": 0.30 * aperture * (1 - rounded) + 0.08 * spread * (1 - lips),
        "mouthUpperUp": 0.14 * aperture * (1 - rounded) + 0.12 * teeth,
        "mouthStretch": 0.22 * spread + 0.11 * aperture,  # open lips are wider lips
        "mouthSmile": 0.28 * spread,
        "mouthDimple": 0.08 * spread,
        "mouthPress": 0.30 * lips,
        "mouthRollLower": 0.12 * lips + 0.40 * teeth,
        "mouthRollUpper": 0.12 * lips,
        "mouthShrugLower": 0.10 * lips + 0.10 * rounded,
        "mouthShrugUpper": 0.08 * lips,
    }
    columns = [value[name.removesuffix("Left").removesuffix("Right")] for name in LIP_CHANNELS]
    return np.stack(columns, axis=-1).astype(np.float32)


def phone_classes(segments: list[Segment], times: np.ndarray) -> np.ndarray:
    """Index into `PHONES` at `times`, int64 `[T]`."""
    classes = np.zeros(len(times), np.int64)
    for phone, start, end in segments:
        classes[(times >= start) & (times < end)] = PHONES.index(phone)
    return classes


def _with_silence(segments: list[Segment]) -> list[Segment]:
    """The mouth rests before the first and after the last phone; neighbouring pauses become one."""
    end = max((segment.end for segment in segments), default=0.0)
    merged: list[Segment] = [Segment("", -2.0, 0.0)]
    for segment in [*segments, Segment("", end, end + 2.0)]:
        if segment.phone == "" == merged[-1].phone:
            merged[-1] = Segment("", merged[-1].start, segment.end)
        else:
            merged.append(segment)
    return merged


def _blend(
    segments: list[Segment], times: np.ndarray, column: str, reach: tuple[float, float]
) -> np.ndarray:
    """Average of the phones' targets, weighted by dominance and a Gaussian of the distance."""
    start = np.array([segment.start for segment in segments])
    end = np.array([segment.end for segment in segments])
    silent = np.array([segment.phone == "" for segment in segments])
    target = np.array([getattr(LIPS[segment.phone], column) for segment in segments])
    dominance = np.array(
        [getattr(LIPS[segment.phone], f"{column}_dominance") for segment in segments]
    )
    length = end - start
    dominance = np.where(silent, dominance * np.clip(length / 0.3, 0.1, 1), dominance)
    core = CORE * np.minimum(length, 0.3)
    before = np.where(silent, SILENCE_REACH[0], reach[0])
    after = np.where(silent, SILENCE_REACH[1], reach[1])
    early = (start + core - times[:, None]) / before
    late = (times[:, None] - end + core) / after
    distance = np.maximum(np.maximum(early, late), 0)
    weight = dominance * np.exp(-0.5 * distance**2) + 1e-9
    wanted = np.where(silent & (column == "aperture"), _parted(segments, times)[:, None], target)
    return (weight * wanted).sum(1) / weight.sum(1)


def _parted(segments: list[Segment], times: np.ndarray) -> np.ndarray:
    """How far lips stand open where nothing is said: `[T]`, 0 … `PARTED`; shut after p, b, m."""
    spoken = [segment for segment in segments if segment.phone]
    if not spoken:
        return np.zeros(len(times))
    since, until = (
        np.stack([side(segment) for segment in spoken]).clip(min=0)
        for side in (
            lambda s: np.where(times < s.start, np.inf, times - s.end),
            lambda s: np.where(times > s.end, np.inf, s.start - times),
        )
    )
    shut = np.array([LIPS[segment.phone].contact == "lips" for segment in spoken])
    stay = 1 - _smooth_step((since.min(0) - STAY) / (CLOSE - STAY))
    stay = np.where(shut[since.argmin(0)] & (since.min(0) > 0), 0, stay)
    wake = 1 - _smooth_step((until.min(0) - READY) / (WAKE - READY))
    return PARTED * np.maximum(stay, wake)


def _contact(segments: list[Segment], times: np.ndarray, kind: str) -> np.ndarray:
    """How closed the contact is, 0 … 1: full during the phone, with quick smooth ends."""
    closed = np.zeros(len(times))
    for phone, start, end in segments:
        if LIPS[phone].contact == kind:
            forming = _smooth_step((times - start + CLOSING) / (CLOSING + 0.015))
            releasing = _smooth_step((end + OPENING - 0.02 - times) / OPENING)
            closed = np.maximum(closed, forming * releasing)
    return closed


def _smooth_step(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
