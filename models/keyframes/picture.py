"""Keyframes as a picture: a timeline with the sound above and, if given, what a motion does there.

Stage 2, for people to look at.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..motion.curves import (
    BETWEEN,
    BOTTOM,
    COLOURS,
    FAINT,
    FINER,
    FRAME,
    GRID,
    INK,
    LEFT,
    PAPER,
    RIGHT,
    SOUND,
    TEXT,
    TIME_STEPS,
    TOP,
    Area,
    clock,
    draw_sound,
)
from ..payloads import KEYFRAME_PATHS, Keyframes, Motion, PayloadError
from .establish import SMOOTHING, coefficients, deviation, peaks, speed

SMALLEST, LARGEST = (480, 240), (8192, 8192)  # width and height, pixels
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
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    _check(keyframes, motion, width, height)
    picture = Image.new("RGB", (width * FINER, height * FINER), PAPER)
    pen = ImageDraw.Draw(picture)
    pen.font = ImageFont.load_default(TEXT * FINER * min(1.0, width / 640))
    lanes = [*(["sound"] if waveform is not None else []), *KEYFRAME_PATHS]
    each = (height - TOP - BOTTOM - BETWEEN * (len(lanes) - 1)) / len(lanes)
    for index, lane in enumerate(lanes):
        top = TOP + index * (each + BETWEEN)
        x0, y0, x1, y1 = (value * FINER for value in (LEFT, top, width - RIGHT, top + each))
        area = Area(x0, y0, x1, y1, keyframes.timeline.seconds, 0.0, HIGHEST)
        if lane == "sound" and waveform is not None:
            draw_sound(pen, area, waveform)
            _draw_frame(pen, area, "Sound", last=False)
            continue
        if motion is not None:
            _draw_speed(pen, area, motion, lane)
        _draw_frame(pen, area, TITLES[lane], last=index == len(lanes) - 1, scale=True)
        _draw_stems(pen, area, keyframes, lane)
        if motion is not None:
            _draw_legend(pen, area)
    return torch.from_numpy(np.array(picture.reduce(FINER)))


def relative_speed(motion: Motion, path: str) -> Tensor:
    """How fast a path moves, `[T]`, where 1 is what its own keyframes have on average."""
    values = coefficients(motion, path)
    curve = speed(values, deviation(values), SMOOTHING[path] * float(motion.timeline.fps))
    marks, _ = peaks(curve, 1)
    usual = curve[marks].mean() if marks.any() else curve.new_ones(())
    return curve / usual


def _check(keyframes: Keyframes, motion: Motion | None, width: int, height: int) -> None:
    if any(not a <= b <= c for a, b, c in zip(SMALLEST, (width, height), LARGEST, strict=True)):
        raise PayloadError(
            f"Keyframes cannot be drawn on {width} × {height} pixels; give at least"
            f" {SMALLEST[0]} × {SMALLEST[1]} and at most {LARGEST[0]} × {LARGEST[1]}."
        )
    if motion is not None and motion.timeline != keyframes.timeline:
        raise PayloadError(
            f"The motion has {motion.timeline.num_frames} frames at"
            f" {float(motion.timeline.fps):g} fps, the keyframes"
            f" {keyframes.timeline.num_frames} at {float(keyframes.timeline.fps):g}. Draw motion"
            " and keyframes of the same speech."
        )


def _draw_frame(pen: Any, area: Area, title: str, *, last: bool, scale: bool = False) -> None:
    """Frame, title, grid lines and the numbers beside them."""
    hair, gap = FINER, 6 * FINER
    for strength in (0, 1, 2) if scale else ():
        row = area.y(strength)
        pen.line([(area.x0, row), (area.x1, row)], fill=GRID, width=hair)
        pen.text((area.x0 - gap, row), f"{strength}", fill=FAINT, anchor="rm")
    step = next((s for s in TIME_STEPS if area.seconds / s <= 10), TIME_STEPS[-1])
    for tick in range(int(area.seconds / step + 1e-6) + 1):
        column = area.x(tick * step)
        pen.line([(column, area.y0), (column, area.y1)], fill=GRID, width=hair)
        if last:
            label = clock(tick * step, area.seconds)
            pen.text((column, area.y1 + gap), label, fill=FAINT, anchor="ma")
    pen.rectangle([area.x0, area.y0, area.x1, area.y1], outline=FRAME, width=hair)
    baseline = area.y0 - 8 * FINER
    pen.text((area.x0, baseline), title, fill=INK, anchor="ls", stroke_width=0.4)
    if scale:
        start = area.x0 + pen.textlength(title) + gap
        pen.text((start, baseline), "(strength)", fill=FAINT, anchor="ls")
    if last:
        unit = "minutes : seconds" if area.seconds > 90 else "seconds"
        middle = (area.x0 + area.x1) / 2
        pen.text((middle, area.y1 + (TEXT + 12) * FINER), unit, fill=INK, anchor="ma")


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
