"""Keyframes as a list that people can read and type, and changes to them by hand.

Stage 2. One line for each keyframe: its moment, its path, its strength.

    0:01.20 expression 0.8
    0:02.44 pose            # strength 1
    remove 0:03.10 pose
    move 0:04.00 0:04.32 expression
"""

from __future__ import annotations

from dataclasses import replace
from math import isfinite

import torch
from torch import Tensor

from ..payloads import KEYFRAME_PATHS, Keyframes, PayloadError, Timeline

BOTH = "both"
NEAR = 0.3  # seconds from the moment that is named, within which a keyframe is meant
STRONGEST = 5.0
EXAMPLE = "Write for example '0:01.20 expression 0.8', 'remove 0:01.20 pose' or 'move 0:01 0:02'."


def as_text(keyframes: Keyframes) -> str:
    """All keyframes in order of time, one on each line."""
    timeline = keyframes.timeline
    rows = [
        (frame, KEYFRAME_PATHS.index(path), f"{path} {float(keyframes.strength[path][frame]):.2f}")
        for path, marks in keyframes.marks.items()
        for frame in marks.nonzero()[:, 0].tolist()
    ]
    return "\n".join(f"{_clock(frame, timeline)} {text}" for frame, _, text in sorted(rows))


def from_text(text: str, timeline: Timeline) -> Keyframes:
    """The keyframes of a list and no others.

    Raises:
        PayloadError: a line cannot be understood, or lies outside the sound; it is quoted.
    """
    return change(none(timeline), text)


def none(timeline: Timeline) -> Keyframes:
    """No keyframe on either path."""
    frames = timeline.num_frames
    return Keyframes(
        marks={path: torch.zeros(frames, dtype=torch.bool) for path in KEYFRAME_PATHS},
        strength={path: torch.zeros(frames) for path in KEYFRAME_PATHS},
        timeline=timeline,
    )


def change(keyframes: Keyframes, text: str) -> Keyframes:
    """A copy with the changes of a list, made line after line.

    Args:
        keyframes: to start from.
        text: lines of `moment path strength`, which adds a keyframe or gives the one in that frame
            another strength; `remove moment path`; `move moment moment path`. Moments are seconds
            or minutes:seconds. Without a path both are meant, without a strength 1. What follows #
            is not read.

    Raises:
        PayloadError: a line cannot be understood, lies outside the sound, or names a keyframe that
            is not there; the line is quoted.
    """
    paths = dict.fromkeys((*KEYFRAME_PATHS, *keyframes.marks))
    rows = {
        path: keyframes.strength[path].clone()
        if path in keyframes.marks
        else torch.zeros(keyframes.timeline.num_frames)
        for path in paths
    }
    marks = {path: row > 0 for path, row in rows.items()} | {
        path: marked.clone() for path, marked in keyframes.marks.items()
    }
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].replace(",", " ").lower().split()
        if words:
            try:
                _apply(words, marks, rows, keyframes.timeline)
            except ValueError as error:
                raise PayloadError(f"Line {number}, '{line.strip()}': {error}") from None
    return Keyframes(marks=marks, strength=rows, timeline=keyframes.timeline)


def adjust(
    keyframes: Keyframes, *, expression: float = 1.0, pose: float = 1.0, shift: float = 0.0
) -> Keyframes:
    """A copy with other strengths and moments.

    Args:
        keyframes: to start from.
        expression: factor on the strength of that path; 0 removes its keyframes.
        pose: the same for the head.
        shift: seconds by which all come later; what would leave the sound is left out.
    """
    marks, strength = {}, {}
    by = round(shift * float(keyframes.timeline.fps))
    for path, factor in {"expression": expression, "pose": pose}.items():
        if path in keyframes.marks:
            row = _shifted(keyframes.strength[path], by) * factor
            marks[path] = _shifted(keyframes.marks[path], by) & (row > 0)
            strength[path] = torch.where(marks[path], row.clamp(max=STRONGEST), 0.0)
    return replace(keyframes, marks=marks, strength=strength)


def _apply(
    words: list[str], marks: dict[str, Tensor], rows: dict[str, Tensor], timeline: Timeline
) -> None:
    """One line; ValueError says what is wrong with it."""
    if words[0] == "remove":
        moment, paths, rest = _moment_and_paths(words[1:], timeline)
        _expect_nothing(rest)
        for path in paths:
            place = _nearest(marks[path], moment, path, timeline)
            marks[path][place], rows[path][place] = False, 0.0
    elif words[0] == "move":
        if len(words) < 3:
            raise ValueError("to move takes two moments.")
        target = _frame(words.pop(2), timeline)
        moment, paths, rest = _moment_and_paths(words[1:], timeline)
        _expect_nothing(rest)
        for path in paths:
            place = _nearest(marks[path], moment, path, timeline)
            height = float(rows[path][place])
            marks[path][place], rows[path][place] = False, 0.0
            marks[path][target], rows[path][target] = True, height
    else:
        frame, paths, rest = _moment_and_paths(words, timeline)
        strength = _strength(rest)
        for path in paths:
            marks[path][frame], rows[path][frame] = strength > 0, strength


def _moment_and_paths(
    words: list[str], timeline: Timeline
) -> tuple[int, tuple[str, ...], list[str]]:
    """The frame, the paths that are named, and the words behind them."""
    if not words:
        raise ValueError(f"a moment is missing. {EXAMPLE}")
    frame, rest = _frame(words[0], timeline), words[1:]
    if rest and rest[0] in KEYFRAME_PATHS:
        return frame, (rest[0],), rest[1:]
    if rest and rest[0] == BOTH:
        return frame, KEYFRAME_PATHS, rest[1:]
    return frame, KEYFRAME_PATHS, rest


def _frame(word: str, timeline: Timeline) -> int:
    """The frame that shows a moment such as "1.2", "0:01.2" or "1:02:03"."""
    try:
        seconds = 0.0
        for part in word.removesuffix("s").split(":"):
            seconds = 60 * seconds + float(part)
    except ValueError:
        raise ValueError(f"'{word}' is not a moment. {EXAMPLE}") from None
    if not 0 <= seconds <= timeline.num_frames / float(timeline.fps):
        raise ValueError(f"the sound goes from 0 to {timeline.seconds:.2f} s.")
    return min(int(seconds * float(timeline.fps) + 1e-6), timeline.num_frames - 1)


def _strength(words: list[str]) -> float:
    _expect_nothing(words[1:])
    try:
        strength = float(words[0]) if words else 1.0
    except ValueError:
        raise ValueError(
            f"'{words[0]}' is neither a path ({', '.join((*KEYFRAME_PATHS, BOTH))}) nor a strength."
        ) from None
    if not (isfinite(strength) and 0 <= strength <= STRONGEST):
        raise ValueError(f"a strength lies between 0 and {STRONGEST:g}.")
    return strength


def _expect_nothing(words: list[str]) -> None:
    if words:
        raise ValueError(f"'{words[0]}' is not understood. {EXAMPLE}")


def _nearest(marks: Tensor, frame: int, path: str, timeline: Timeline) -> int:
    """The keyframe that is meant by a frame near it."""
    places = marks.nonzero()[:, 0]
    away = (places - frame).abs()
    if not len(places) or float(away.min()) > NEAR * float(timeline.fps):
        raise ValueError(f"there is no {path} keyframe within {NEAR:g} s.")
    return int(places[away.argmin()])


def _shifted(row: Tensor, by: int) -> Tensor:
    """`[T]`, `by` frames later."""
    result = torch.zeros_like(row)
    kept = max(len(row) - abs(by), 0)
    if kept:
        result[max(by, 0) : max(by, 0) + kept] = row[max(-by, 0) : max(-by, 0) + kept]
    return result


def _clock(frame: int, timeline: Timeline) -> str:
    """Minutes and seconds of a frame's centre, fine enough to find the frame again."""
    digits = 2 if timeline.fps <= 50 else 3
    seconds = (frame + 0.5) / float(timeline.fps)
    minutes, rest = divmod(round(seconds, digits), 60)
    return f"{int(minutes)}:{rest:0{3 + digits}.{digits}f}"
