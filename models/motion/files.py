"""Motion as files: JSON for other programs and for keeping, CSV for spreadsheets, Blender, Unreal.

JSON: `{"format": "soliloquy-motion", "version": 1, "fps": [num, den], "num_frames", "space":
"arkit52", "names": [52], "weights": [T][52], "rotation_deg": [T][3], "translation": [T][3],
"scale": [T]}` and, where asked for, `"landmarks68": [T][68][3]`, the rig on the mean face.

CSV: one row per frame with the columns frame, seconds, the 52 names, pitch, yaw, roll (degrees),
tx, ty, tz (inter-ocular distances), scale. Tables of other programs are read too, with ARKit's
names in any order and any capitals, such as Live Link Face's.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor

from ..payloads import Motion, PayloadError, Timeline, parse_fps
from .arkit import ARKIT52
from .rig import load_rig
from .spaces import convert

FORMAT, VERSION = "soliloquy-motion", 1
POSE = ("pitch", "yaw", "roll", "tx", "ty", "tz", "scale")
DECIMALS = 5
BLOCK = 1000  # frames written at a time, which bounds the memory of half an hour


def write_motion(motion: Motion, path: str | Path, *, landmarks: bool = False) -> None:
    """Write a motion as `.json` or `.csv`, by the name of the file.

    Args:
        motion: in a space that converts to arkit52.
        path: an existing file is replaced.
        landmarks: add "landmarks68" to JSON: the mean face's landmarks, without head pose.

    Raises:
        PayloadError: another kind of file, a folder that cannot be written, or no way to arkit52.
    """
    path = Path(path)
    kinds = {".json": _write_json, ".csv": _write_csv}
    if path.suffix.lower() not in kinds:
        raise PayloadError(f"Motion is written as .json or .csv, not as '{path.name}'.")
    motion = convert(motion, "arkit52")
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            kinds[path.suffix.lower()](motion, file, landmarks)
    except OSError as error:
        raise PayloadError(f"'{path}' cannot be written: {error.strerror or error}.") from None


def read_motion(path: str | Path, *, fps: float | str | Fraction | None = None) -> Motion:
    """Read what `write_motion` wrote, or another program's CSV with ARKit's names.

    Args:
        path: `.json` or `.csv`.
        fps: frames per second of a CSV without a column "seconds".

    Raises:
        PayloadError: absent, unreadable, of another format or version, or with wrong counts,
            unknown names or values that are no finite numbers. The message says where.
    """
    path = Path(path)
    if path.suffix.lower() not in (".json", ".csv"):
        raise PayloadError(f"Motion is read from .json or .csv, not from '{path.name}'.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise PayloadError(f"The motion file '{path}' cannot be read: {reason}.") from None
    if path.suffix.lower() == ".csv":
        return _from_csv(text, path.name, fps)
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise PayloadError(
            f"'{path.name}' is not valid JSON: {error.msg} in line {error.lineno}."
        ) from None
    return _from_json(document, path.name)


def resample(motion: Motion, timeline: Timeline) -> Motion:
    """The motion as the frames of another timeline see it.

    Interpolates between frame centres. Where the timeline is longer, the last frame is held; where
    it is shorter, the rest is left out; both are said in the notes.
    """
    own = motion.timeline
    notes = motion.notes
    if abs(own.seconds - timeline.seconds) > 1 / float(min(own.fps, timeline.fps)):
        what = (
            "the last frame is held" if timeline.seconds > own.seconds else "the rest is left out"
        )
        notes += (
            f"The motion lasts {own.seconds:.2f} s and the sound {timeline.seconds:.2f} s: {what}.",
        )
    position = timeline.frame_centres() * float(own.fps) - 0.5
    if own.fps == timeline.fps:
        position = position.round()  # exactly the same frames
    position = position.clamp(0, own.num_frames - 1)
    before = position.long()
    after = (before + 1).clamp(max=own.num_frames - 1)
    share = (position - before).float()

    def at(curves: Tensor) -> Tensor:
        weight = share.reshape(-1, *[1] * (curves.ndim - 1))
        return torch.lerp(curves[before], curves[after], weight)

    return replace(
        motion,
        values=at(motion.values),
        rotation=at(motion.rotation),
        translation=at(motion.translation),
        scale=at(motion.scale),
        timeline=timeline,
        notes=notes,
    )


def _rounded(tensor: Tensor) -> list[Any]:
    return tensor.double().numpy().round(DECIMALS).tolist()


def _write_json(motion: Motion, file: TextIO, landmarks: bool) -> None:
    fps = motion.timeline.fps
    head = {
        "format": FORMAT,
        "version": VERSION,
        "fps": [fps.numerator, fps.denominator],
        "num_frames": motion.timeline.num_frames,
        "space": "arkit52",
        "names": list(ARKIT52),
    }
    file.write("{\n " + ",\n ".join(f'"{key}": {json.dumps(item)}' for key, item in head.items()))
    curves: dict[str, Iterable[Tensor]] = {
        "weights": motion.values.split(BLOCK),
        "rotation_deg": motion.rotation.split(BLOCK),
        "translation": motion.translation.split(BLOCK),
        "scale": motion.scale.split(BLOCK),
    }
    if landmarks:
        rig = load_rig()
        curves["landmarks68"] = (rig.landmarks(part) for part in motion.values.split(BLOCK))
    for name, blocks in curves.items():
        file.write(f',\n "{name}": [')
        for index, block in enumerate(blocks):
            rows = json.dumps(_rounded(block), separators=(",", ":"))[1:-1]
            file.write(("," if index else "") + "\n  " + rows.replace("],[", "],\n  ["))
        file.write("\n ]")
    file.write("\n}\n")


def _write_csv(motion: Motion, file: TextIO, _landmarks: bool) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["frame", "seconds", *ARKIT52, *POSE])
    pose = torch.cat([motion.rotation, motion.translation, motion.scale[:, None]], 1)
    seconds = motion.timeline.frame_centres().tolist()
    for start in range(0, len(seconds), BLOCK):
        rows = _rounded(torch.cat([motion.values, pose], 1)[start : start + BLOCK])
        for frame, row in enumerate(rows, start):
            writer.writerow([frame, f"{seconds[frame]:.6f}", *row])


def _from_json(document: Any, name: str) -> Motion:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise PayloadError(f'\'{name}\' is not a motion file: its "format" is not "{FORMAT}".')
    if document.get("version") != VERSION:
        raise PayloadError(
            f"'{name}' has version {document.get('version')!r}; this release reads {VERSION}."
        )
    if document.get("space") != "arkit52":
        raise PayloadError(f"'{name}' is in the space {document.get('space')!r}, not in arkit52.")
    try:
        fps = Fraction(*document["fps"])
        frames, names = int(document["num_frames"]), list(document["names"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        raise PayloadError(
            f'\'{name}\' needs "fps" as [numerator, denominator], "num_frames" and "names".'
        ) from None
    if frames < 1:
        raise PayloadError(f"'{name}' has {frames} frames; at least 1 is needed.")
    timeline = Timeline.for_frames(frames, fps)
    weights = _numbers(document.get("weights"), (frames, len(names)), f"'{name}': \"weights\"")
    return Motion(
        space="arkit52",
        values=_in_order(weights, names, name),
        rotation=_numbers(document.get("rotation_deg"), (frames, 3), f"'{name}': \"rotation_deg\""),
        translation=_numbers(
            document.get("translation"), (frames, 3), f"'{name}': \"translation\""
        ),
        scale=_numbers(document.get("scale"), (frames,), f"'{name}': \"scale\""),
        timeline=timeline,
    )


def _numbers(rows: Any, shape: tuple[int, ...], what: str) -> Tensor:
    """Nested lists as a finite tensor of this shape."""
    try:
        tensor = torch.tensor(rows, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError):
        raise PayloadError(f"{what} must be lists of numbers, all of one length.") from None
    if tuple(tensor.shape) != shape:
        given = " × ".join(map(str, tensor.shape)) or "a single number"
        raise PayloadError(f"{what} must be {' × '.join(map(str, shape))}, but is {given}.")
    if not torch.isfinite(tensor).all():
        frame = int((~torch.isfinite(tensor)).nonzero()[0, 0])
        raise PayloadError(f"{what} is not a finite number in frame {frame}.")
    return tensor


def _in_order(weights: Tensor, names: list[str], file: str) -> Tensor:
    """Columns called `names`, sorted as in `ARKIT52`."""
    columns = {str(name).lower(): index for index, name in enumerate(names)}
    missing = [name for name in ARKIT52 if name.lower() not in columns]
    if missing or len(names) != len(ARKIT52):
        lacking = f"lacks {', '.join(missing[:3])}" if missing else "repeats some"
        raise PayloadError(
            f"'{file}' names {len(names)} weights and {lacking};"
            f" the {len(ARKIT52)} of ARKit are needed."
        )
    return weights[:, [columns[name.lower()] for name in ARKIT52]]


def _from_csv(text: str, name: str, fps: float | str | Fraction | None) -> Motion:
    lines = [row for row in csv.reader(text.splitlines()) if row]
    header = [title.strip().lower() for title in lines[0]] if lines else []
    if len(lines) < 2:
        raise PayloadError(f"'{name}' has no rows of motion.")
    table = {title: column for column, title in enumerate(header)}
    missing = [title for title in ARKIT52 if title.lower() not in table]
    if missing:
        raise PayloadError(
            f"'{name}' lacks the columns {', '.join(missing[:3])}{', …' if missing[3:] else ''};"
            f" ARKit's {len(ARKIT52)} names are needed."
        )
    weights = _columns(lines[1:], [table[title.lower()] for title in ARKIT52], header, name)
    frames = len(weights)
    notes: tuple[str, ...] = ()
    pose = torch.tensor([0.0, 0, 0, 0, 0, 0, 1]).repeat(frames, 1)
    if all(title in table for title in POSE):
        pose = _columns(lines[1:], [table[title] for title in POSE], header, name)
    else:
        notes = (f"'{name}' has no columns {', '.join(POSE)}: the head stays as in the portrait.",)
    rate = _rate(lines, table, header, name) if "seconds" in table else fps
    if rate is None:
        raise PayloadError(
            f"'{name}' has no column \"seconds\". Say how many frames per second it has."
        )
    return Motion(
        space="arkit52",
        values=weights,
        rotation=pose[:, :3].contiguous(),
        translation=pose[:, 3:6].contiguous(),
        scale=pose[:, 6].contiguous(),
        timeline=Timeline.for_frames(frames, rate),
        notes=notes,
    )


def _columns(rows: list[list[str]], columns: list[int], header: list[str], name: str) -> Tensor:
    """Some columns of a table as numbers, `[T, N]`; errors say which line and column."""
    return torch.tensor(list(_parsed(rows, columns, header, name)), dtype=torch.float64).float()


def _parsed(
    rows: list[list[str]], columns: list[int], header: list[str], name: str
) -> Iterator[list[float]]:
    for line, row in enumerate(rows, 2):
        numbers = []
        for column in columns:
            try:
                value = float(row[column])
            except (IndexError, ValueError):
                value = float("nan")
            if abs(value) == float("inf") or value != value:
                given = f"'{row[column]}'" if column < len(row) else "missing"
                raise PayloadError(
                    f"'{name}', line {line}: '{header[column]}' is {given}, not a finite number."
                )
            numbers.append(value)
        yield numbers


def _rate(lines: list[list[str]], table: dict[str, int], header: list[str], name: str) -> Fraction:
    """Frames per second from the column "seconds", which must go in equal steps."""
    column = list(_parsed(lines[1:], [table["seconds"]], header, name))
    seconds = torch.tensor(column, dtype=torch.float64)[:, 0]
    if len(seconds) == 1:
        return parse_fps(round(0.5 / max(float(seconds[0]), 1e-3), 3))
    step = float(seconds[-1] - seconds[0]) / (len(seconds) - 1)
    if step <= 0 or float((seconds.diff() - step).abs().max()) > 0.1 * step:
        raise PayloadError(f"'{name}': the column \"seconds\" does not go in equal steps.")
    return parse_fps(round(1 / step, 3))
