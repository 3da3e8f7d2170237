"""Motion as a picture: what mouth, eyes and head do over time, for people to look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..diagram import (
    COLOURS,
    FINER,
    INK,
    TEXT,
    Area,
    Sheet,
    draw_frame,
    draw_sound,
    draw_title,
    draw_value,
    extremes,
)
from ..payloads import Motion
from .arkit import INDEX
from .spaces import convert

SMALLEST = (480, 300)  # width and height, pixels
DEGREE_RANGES = (5, 10, 20, 30, 45, 90, 180)


@dataclass(frozen=True)
class Panel:
    """One diagram."""

    title: str
    low: float
    high: float
    curves: dict[str, Tensor]  # legend -> [T]
    unit: str = ""


def draw_curves(
    motion: Motion, *, width: int = 1024, height: int = 640, waveform: Tensor | None = None
) -> Tensor:
    """Mouth, eyes and brows, and head rotation over seconds.

    Args:
        motion: in a space that converts to arkit52.
        width: of the picture, pixels.
        height: of the picture, pixels.
        waveform: `[C, S]`, the sound of the whole motion, drawn behind the mouth.

    Returns:
        `[H, W, 3]` uint8.

    Raises:
        PayloadError: a picture of this size cannot be drawn, or there is no way to arkit52.
    """
    motion = convert(motion, "arkit52")
    panels = _panels(motion)
    sheet = Sheet("Curves", width, height, SMALLEST)
    pen, ranges = sheet.pen, [(panel.low, panel.high) for panel in panels]
    for index, area in enumerate(sheet.areas(motion.timeline.seconds, ranges)):
        panel = panels[index]
        if index == 0 and waveform is not None:
            draw_sound(pen, area, waveform)
        _draw_values(pen, area, panel)
        draw_frame(pen, area, last=index == len(panels) - 1)
        for colour, curve in zip(COLOURS, panel.curves.values(), strict=False):
            _draw_curve(pen, area, curve, colour)
        _draw_legend(pen, area, panel)
    return sheet.finished()


def _panels(motion: Motion) -> tuple[Panel, ...]:
    def weight(*names: str) -> Tensor:
        return motion.values[:, [INDEX[name] for name in names]].amax(1)

    mouth = {
        "jaw open": weight("jawOpen"),
        "pucker, funnel": weight("mouthPucker", "mouthFunnel"),
        "smile, stretch": weight(
            "mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight"
        ),
        "close, press": weight("mouthClose", "mouthPressLeft", "mouthPressRight"),
    }
    eyes = {
        "blink": weight("eyeBlinkLeft", "eyeBlinkRight"),
        "brows up": weight("browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
        "brows down": weight("browDownLeft", "browDownRight"),
        "gaze": motion.values[:, [i for name, i in INDEX.items() if "eyeLook" in name]].amax(1),
    }
    head = {
        "pitch (+ down)": motion.rotation[:, 0],
        "yaw (+ to the left)": motion.rotation[:, 1],
        "roll (+ clockwise)": motion.rotation[:, 2],
    }
    widest = float(motion.rotation.abs().max())
    reach = next((r for r in DEGREE_RANGES if widest <= r), DEGREE_RANGES[-1])
    return (
        Panel("Mouth", 0, 1, mouth),
        Panel("Eyes and brows", 0, 1, eyes),
        Panel("Head", -reach, reach, head, "°"),
    )


def _draw_values(pen: Any, area: Area, panel: Panel) -> None:
    """Horizontal grid lines, every other one with its value."""
    for share in (0, 0.25, 0.5, 0.75, 1):
        value = panel.low + share * (panel.high - panel.low)
        label = f"{value:+g}{panel.unit}" if panel.low < 0 < abs(value) else f"{value:g}"
        draw_value(pen, area, value, label if share in (0, 0.5, 1) else "")


def _draw_legend(pen: Any, area: Area, panel: Panel) -> None:
    """Title at the left, names of the curves at the right, above the frame."""
    baseline, gap = area.y0 - 8 * FINER, 6 * FINER
    right = area.x1
    for colour, name in reversed(list(zip(COLOURS, panel.curves, strict=False))):
        pen.text((right, baseline), name, fill=INK, anchor="rs")
        right -= pen.textlength(name) + gap
        middle = baseline - TEXT * FINER * 0.33
        pen.line([(right - 18 * FINER, middle), (right, middle)], fill=colour, width=3 * FINER)
        right -= 18 * FINER + 3 * gap
    unit = "(degrees)" if panel.unit else "(weight)"
    draw_title(pen, area, panel.title, unit, until=right)


def _draw_curve(pen: Any, area: Area, curve: Tensor, colour: str) -> None:
    """A line through the frames' centres; long motion as its extremes per pixel."""
    frames = len(curve)
    half = 0.5 * area.seconds / frames
    values, columns = curve, torch.linspace(half, area.seconds - half, frames)
    if frames > 2 * (area.x1 - area.x0):
        low, high, columns = extremes(curve, int(area.x1 - area.x0))
        values = torch.stack([low, high], 1).flatten()
        columns = (columns * area.seconds).repeat_interleave(2)
    pairs = zip(columns.tolist(), values.tolist(), strict=True)
    points = [(area.x(seconds), area.y(value)) for seconds, value in pairs]
    if len(points) == 1:
        points = [(area.x0, points[0][1]), (area.x1, points[0][1])]
    pen.line(points, fill=colour, width=round(1.6 * FINER), joint="curve")
