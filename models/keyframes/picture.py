"""Keyframes as a picture: a timeline with the sound above and, if given, what a motion does there.

Stage 2, for people to look at.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..diagram import (
    COLOURS,
    FAINT,
    FINER,
    INK,
    SOUND,
    TEXT,
    Area,
    Sheet,
    draw_frame,
    draw_sound,
    draw_title,
    draw_value,
)
from ..payloads import KEYFRAME_PATHS, Keyframes, Motion, PayloadError
from .establish import SMOOTHING, coefficients, deviation, peaks, speed

SMALLEST = (480, 240)  # width and height, pixels
HIGHEST = 2.25  # strength at the top of a lane; the usual one is 1
TITLES = {"expression": "Expression keyframes", "pose": "Pose keyframes"}
DOT = 4.0  # radius, pixels; less where there are many keyframes


def draw_keyframes(
    keyframes: Keyframes,
    *,
    width: int = 1024,
    height: int = 480,
    waveform: Tensor | None = None,
    motion: Motion | None = None,
) -> Tensor:
    """A stem per keyframe, as high as it is strong, over seconds.

    Args:
        keyframes: of either path or both.
        width: of the picture, pixels.
        height: of the picture, pixels.
        waveform: `[C, S]`, the sound of the whole timeline, drawn above.
        motion: whose speed is drawn behind the stems: it should be fast where they stand.

    Returns:
        `[H, W, 3]` uint8.

    Raises:
        PayloadError: a picture of this size cannot be drawn, or the motion has another length.
    """
    _check(keyframes, motion)
    sheet = Sheet("Keyframes", width, height, SMALLEST)
    lanes = [*(["sound"] if waveform is not None else []), *KEYFRAME_PATHS]
    ranges = [(0.0, HIGHEST)] * len(lanes)
    for lane, area in zip(lanes, sheet.areas(keyframes.timeline.seconds, ranges), strict=True):
        if lane == "sound" and waveform is not None:
            draw_sound(sheet.pen, area, waveform)
            draw_frame(sheet.pen, area, last=False)
            draw_title(sheet.pen, area, "Sound", "")
        else:
            _draw_lane(sheet.pen, area, keyframes, motion, lane)
    return sheet.finished()


def _draw_lane(
    pen: Any, area: Area, keyframes: Keyframes, motion: Motion | None, path: str
) -> None:
    """The keyframes of a path, with the speed of the motion behind them."""
    if motion is not None:
        _draw_speed(pen, area, motion, path)
    for strength in (0, 1, 2):
        draw_value(pen, area, strength, f"{strength}")
    draw_frame(pen, area, last=path == KEYFRAME_PATHS[-1])
    draw_title(pen, area, TITLES[path], "(strength)")
    _draw_stems(pen, area, keyframes, path)
    if motion is not None:
        _draw_legend(pen, area)


def relative_speed(motion: Motion, path: str) -> Tensor:
    """How fast a path moves, `[T]`, where 1 is what its own keyframes have on average."""
    values = coefficients(motion, path)
    curve = speed(values, deviation(values), SMOOTHING[path] * float(motion.timeline.fps))
    marks, _ = peaks(curve, 1)
    usual = curve[marks].mean() if marks.any() else curve.new_ones(())
    return curve / usual


def _check(keyframes: Keyframes, motion: Motion | None) -> None:
    if motion is not None and motion.timeline != keyframes.timeline:
        raise PayloadError(
            f"The motion has {motion.timeline.num_frames} frames at"
            f" {float(motion.timeline.fps):g} fps, the keyframes"
            f" {keyframes.timeline.num_frames} at {float(keyframes.timeline.fps):g}. Draw motion"
            " and keyframes of the same speech."
        )


def _draw_stems(pen: Any, area: Area, keyframes: Keyframes, path: str) -> None:
    if path not in keyframes.marks:
        pen.text((area.x0 + 12 * FINER, area.y(1)), "not given", fill=FAINT, anchor="lm")
        return
    colour = COLOURS[KEYFRAME_PATHS.index(path)]
    places = keyframes.marks[path].nonzero()[:, 0]
    room = (area.x1 - area.x0) / FINER / max(len(places), 1)  # pixels of each keyframe
    radius = min(DOT, max(room / 4, 1.0)) * FINER
    line = round((2 if room > 6 else 1) * FINER)
    moments = keyframes.timeline.frame_centres()[places].tolist()
    for moment, strength in zip(moments, keyframes.strength[path][places].tolist(), strict=True):
        column, row = area.x(min(moment, area.seconds)), area.y(strength)
        pen.line([(column, area.y1), (column, row)], fill=colour, width=line)
        pen.ellipse([column - radius, row - radius, column + radius, row + radius], fill=colour)


def _draw_speed(pen: Any, area: Area, motion: Motion, path: str) -> None:
    """The filled curve of how fast the motion is."""
    curve = relative_speed(motion, path)
    columns = max(int(area.x1 - area.x0) // FINER, 2)
    seconds = torch.linspace(0, area.seconds, columns)
    if len(curve) > 2 * columns:  # the fastest frame that falls on each pixel
        place = (torch.arange(len(curve)) * columns).div(len(curve), rounding_mode="floor")
        heights = torch.zeros(columns).scatter_reduce(0, place, curve, "amax")
    else:
        centres = (seconds * float(motion.timeline.fps) - 0.5).clamp(0, len(curve) - 1)
        before = centres.long()
        after = (before + 1).clamp(max=len(curve) - 1)
        heights = curve[before].lerp(curve[after], centres - before)
    points = [
        (area.x(t), area.y(h)) for t, h in zip(seconds.tolist(), heights.tolist(), strict=True)
    ]
    pen.polygon([(area.x0, area.y1), *points, (area.x1, area.y1)], fill=SOUND)


def _draw_legend(pen: Any, area: Area) -> None:
    baseline = area.y0 - 8 * FINER
    label = "speed of the motion"
    pen.text((area.x1, baseline), label, fill=INK, anchor="rs")
    right = area.x1 - pen.textlength(label) - 6 * FINER
    top = baseline - TEXT * FINER * 0.7
    pen.rectangle([right - 18 * FINER, top, right, baseline], fill=SOUND)
