"""What diagrams over time share: paper and colours, where a panel lies, its frame and time axis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .payloads import PayloadError

PAPER, GRID, FRAME, INK, FAINT = "#fbfbf9", "#e6e6e1", "#b9b9b2", "#37373a", "#7b7b78"
SOUND = "#dfe4ec"
COLOURS = ("#005cb0", "#d95f02", "#1b8a5a", "#9c3f97")  # told apart by the colour-blind too
FINER = 2  # drawn so much larger and then reduced, which smooths the lines
LARGEST = (8192, 8192)  # width and height, pixels
TEXT = 13  # pixels, less where the picture is narrow
LEFT, RIGHT, TOP, BOTTOM, BETWEEN = 62, 18, 34, 46, 40  # margins, pixels; BETWEEN holds a title
TIME_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)


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


class Sheet:
    """An empty picture of panels, one above the other.

    Args:
        what: is to be drawn, for the error.
        width, height: of the picture, pixels.
        smallest: width and height below which nothing could be read.

    Raises:
        PayloadError: a picture of this size cannot be drawn.
    """

    def __init__(self, what: str, width: int, height: int, smallest: tuple[int, int]) -> None:
        from PIL import Image, ImageDraw, ImageFont

        sizes = zip(smallest, (width, height), LARGEST, strict=True)
        if any(not low <= size <= high for low, size, high in sizes):
            raise PayloadError(
                f"{what} cannot be drawn on {width} × {height} pixels; give at least"
                f" {smallest[0]} × {smallest[1]} and at most {LARGEST[0]} × {LARGEST[1]}."
            )
        self.width, self.height = width, height
        self.picture = Image.new("RGB", (width * FINER, height * FINER), PAPER)
        self.pen: Any = ImageDraw.Draw(self.picture)
        self.pen.font = ImageFont.load_default(TEXT * FINER * min(1.0, width / 640))

    def areas(self, seconds: float, ranges: list[tuple[float, float]]) -> Iterator[Area]:
        """A panel for each of the value ranges, all equally high."""
        each = (self.height - TOP - BOTTOM - BETWEEN * (len(ranges) - 1)) / len(ranges)
        for index, (low, high) in enumerate(ranges):
            top = TOP + index * (each + BETWEEN)
            edges = (LEFT, top, self.width - RIGHT, top + each)
            x0, y0, x1, y1 = (value * FINER for value in edges)
            yield Area(x0, y0, x1, y1, seconds, low, high)

    def finished(self) -> Tensor:
        """The picture, `[H, W, 3]` uint8."""
        import numpy as np

        return torch.from_numpy(np.array(self.picture.reduce(FINER)))


def draw_frame(pen: Any, area: Area, *, last: bool) -> None:
    """Frame and vertical grid lines, with the numbers below if the panel is the last one."""
    step = next((s for s in TIME_STEPS if area.seconds / s <= 10), TIME_STEPS[-1])
    for tick in range(int(area.seconds / step + 1e-6) + 1):
        column = area.x(tick * step)
        pen.line([(column, area.y0), (column, area.y1)], fill=GRID, width=FINER)
        if last:
            label = clock(tick * step, area.seconds)
            pen.text((column, area.y1 + 6 * FINER), label, fill=FAINT, anchor="ma")
    pen.rectangle([area.x0, area.y0, area.x1, area.y1], outline=FRAME, width=FINER)
    if last:
        unit = "minutes : seconds" if area.seconds > 90 else "seconds"
        middle = (area.x0 + area.x1) / 2
        pen.text((middle, area.y1 + (TEXT + 12) * FINER), unit, fill=INK, anchor="ma")


def draw_value(pen: Any, area: Area, value: float, label: str) -> None:
    """A horizontal grid line with its number, if it has one."""
    row = area.y(value)
    pen.line([(area.x0, row), (area.x1, row)], fill=GRID, width=FINER)
    pen.text((area.x0 - 6 * FINER, row), label, fill=FAINT, anchor="rm")


def draw_title(pen: Any, area: Area, title: str, unit: str, *, until: float | None = None) -> None:
    """Title and unit above the frame; the unit only where it ends before the column `until`."""
    baseline = area.y0 - 8 * FINER
    pen.text((area.x0, baseline), title, fill=INK, anchor="ls", stroke_width=0.4)
    start = area.x0 + pen.textlength(title) + 6 * FINER
    if until is None or start + pen.textlength(unit) < until:
        pen.text((start, baseline), unit, fill=FAINT, anchor="ls")


def draw_sound(pen: Any, area: Area, waveform: Tensor) -> None:
    """The loudness of the sound `[C, S]`, mirrored about the panel's middle."""
    _, high, places = extremes(waveform.abs().amax(0), int(area.x1 - area.x0) // FINER)
    peak = float(high.max()) or 1.0
    middle, reach = (area.y0 + area.y1) / 2, 0.5 * (area.y1 - area.y0)
    for place, loud in zip(places.tolist(), (high / peak).tolist(), strict=True):
        column = area.x0 + place * (area.x1 - area.x0)
        span = [(column, middle - reach * loud), (column, middle + reach * loud)]
        pen.line(span, fill=SOUND, width=FINER)


def clock(seconds: float, longest: float) -> str:
    """A moment as the time axis of a diagram of `longest` seconds writes it."""
    if longest > 90:
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
    return f"{round(seconds, 1):g}"


def extremes(curve: Tensor, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """Lowest and highest value in each of `columns` equal pieces, and their middles, 0 … 1."""
    columns = min(columns, len(curve))
    piece = (torch.arange(len(curve)) * columns).div(len(curve), rounding_mode="floor")
    low = torch.zeros(columns).scatter_reduce(0, piece, curve, "amin", include_self=False)
    high = torch.zeros(columns).scatter_reduce(0, piece, curve, "amax", include_self=False)
    return low, high, (torch.arange(columns) + 0.5) / columns
