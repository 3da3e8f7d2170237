"""Motion as a picture: what mouth, eyes and head do over time, for people to look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..payloads import Motion, PayloadError
from .arkit import INDEX
from .spaces import convert

PAPER, GRID, FRAME, INK, FAINT = "#fbfbf9", "#e6e6e1", "#b9b9b2", "#37373a", "#7b7b78"
SOUND = "#dfe4ec"
COLOURS = ("#005cb0", "#d95f02", "#1b8a5a", "#9c3f97")  # told apart by the colour-blind too
FINER = 2  # drawn so much larger and then reduced, which smooths the lines
SMALLEST, LARGEST = (480, 300), (8192, 8192)  # width and height, pixels
TEXT = 13  # pixels, less where the picture is narrow
LEFT, RIGHT, TOP, BOTTOM, BETWEEN = 62, 18, 34, 46, 40  # margins, pixels; BETWEEN holds a title
TIME_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
DEGREE_RANGES = (5, 10, 20, 30, 45, 90, 180)


@dataclass(frozen=True)
class Panel:
    """One diagram."""

    title: str
    low: float
    high: float
    curves: dict[str, Tensor]  # legend -> [T]
    unit: str = ""


@dataclass(frozen=True)
class Area:
    """Where a panel lies, in pixels, and which values its edges stand for."""

    x0: float
    y0: float
    x1: float
    y1: float
    seconds: float
    low: float
    high: float

    def x(self, seconds: float) -> float:
        """Pixel column of a moment."""
        return self.x0 + (self.x1 - self.x0) * seconds / self.seconds

    def y(self, value: float) -> float:
        """Pixel row of a value."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.y1 - (self.y1 - self.y0) * share


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
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    if any(not a <= b <= c for a, b, c in zip(SMALLEST, (width, height), LARGEST, strict=True)):
        raise PayloadError(
            f"Curves cannot be drawn on {width} × {height} pixels; give at least"
            f" {SMALLEST[0]} × {SMALLEST[1]} and at most {LARGEST[0]} × {LARGEST[1]}."
        )
    motion = convert(motion, "arkit52")
    panels = _panels(motion)
    picture = Image.new("RGB", (width * FINER, height * FINER), PAPER)
    pen = ImageDraw.Draw(picture)
    pen.font = ImageFont.load_default(TEXT * FINER * min(1.0, width / 640))
    each = (height - TOP - BOTTOM - BETWEEN * (len(panels) - 1)) / len(panels)
    for index, panel in enumerate(panels):
        top = TOP + index * (each + BETWEEN)
        x0, y0, x1, y1 = (value * FINER for value in (LEFT, top, width - RIGHT, top + each))
        area = Area(x0, y0, x1, y1, motion.timeline.seconds, panel.low, panel.high)
        if index == 0 and waveform is not None:
            draw_sound(pen, area, waveform)
        _draw_grid(pen, area, panel, last=index == len(panels) - 1)
        for colour, curve in zip(COLOURS, panel.curves.values(), strict=False):
            _draw_curve(pen, area, curve, colour)
        _draw_legend(pen, area, panel)
    return torch.from_numpy(np.array(picture.reduce(FINER)))


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


def _draw_grid(pen: Any, area: Area, panel: Panel, last: bool) -> None:
    """Frame, grid lines and the numbers beside them."""
    hair, gap = FINER, 6 * FINER
    for share in (0, 0.25, 0.5, 0.75, 1):
        value = panel.low + share * (panel.high - panel.low)
        row = area.y(value)
        pen.line([(area.x0, row), (area.x1, row)], fill=GRID, width=hair)
        if share in (0, 0.5, 1):
            label = f"{value:+g}{panel.unit}" if panel.low < 0 < abs(value) else f"{value:g}"
            pen.text((area.x0 - gap, row), label, fill=FAINT, anchor="rm")
    step = next((s for s in TIME_STEPS if area.seconds / s <= 10), TIME_STEPS[-1])
    for tick in range(int(area.seconds / step + 1e-6) + 1):
        column = area.x(tick * step)
        pen.line([(column, area.y0), (column, area.y1)], fill=GRID, width=hair)
        if last:
            label = clock(tick * step, area.seconds)
            pen.text((column, area.y1 + gap), label, fill=FAINT, anchor="ma")
    pen.rectangle([area.x0, area.y0, area.x1, area.y1], outline=FRAME, width=hair)
    if last:
        unit = "minutes : seconds" if area.seconds > 90 else "seconds"
        middle = (area.x0 + area.x1) / 2
        pen.text((middle, area.y1 + (TEXT + 12) * FINER), unit, fill=INK, anchor="ma")


def clock(seconds: float, longest: float) -> str:
    """A moment as the time axis of a diagram of `longest` seconds writes it."""
    if longest > 90:
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
    return f"{round(seconds, 1):g}"


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
    pen.text((area.x0, baseline), panel.title, fill=INK, anchor="ls", stroke_width=0.4)
    unit = "(degrees)" if panel.unit else "(weight)"
    start = area.x0 + pen.textlength(panel.title) + gap
    if start + pen.textlength(unit) < right:
        pen.text((start, baseline), unit, fill=FAINT, anchor="ls")


def _draw_curve(pen: Any, area: Area, curve: Tensor, colour: str) -> None:
    """A line through the frames' centres; long motion as its extremes per pixel."""
    frames = len(curve)
    half = 0.5 * area.seconds / frames
    values, columns = curve, torch.linspace(half, area.seconds - half, frames)
    if frames > 2 * (area.x1 - area.x0):
        low, high, columns = _extremes(curve, int(area.x1 - area.x0))
        values = torch.stack([low, high], 1).flatten()
        columns = (columns * area.seconds).repeat_interleave(2)
    pairs = zip(columns.tolist(), values.tolist(), strict=True)
    points = [(area.x(seconds), area.y(value)) for seconds, value in pairs]
    if len(points) == 1:
        points = [(area.x0, points[0][1]), (area.x1, points[0][1])]
    pen.line(points, fill=colour, width=round(1.6 * FINER), joint="curve")


def draw_sound(pen: Any, area: Area, waveform: Tensor) -> None:
    """The loudness of the sound, mirrored about the panel's middle."""
    _, high, places = _extremes(waveform.abs().amax(0), int(area.x1 - area.x0) // FINER)
    peak = float(high.max()) or 1.0
    middle, reach = (area.y0 + area.y1) / 2, 0.5 * (area.y1 - area.y0)
    for place, loud in zip(places.tolist(), (high / peak).tolist(), strict=True):
        column = area.x0 + place * (area.x1 - area.x0)
        span = [(column, middle - reach * loud), (column, middle + reach * loud)]
        pen.line(span, fill=SOUND, width=FINER)


def _extremes(curve: Tensor, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """Lowest and highest value in each of `columns` equal pieces, and their middles, 0 … 1."""
    columns = min(columns, len(curve))
    piece = (torch.arange(len(curve)) * columns).div(len(curve), rounding_mode="floor")
    low = torch.zeros(columns).scatter_reduce(0, piece, curve, "amin", include_self=False)
    high = torch.zeros(columns).scatter_reduce(0, piece, curve, "amax", include_self=False)
    return low, high, (torch.arange(columns) + 0.5) / columns
