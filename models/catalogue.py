"""Looks up published weight files: which are needed, where they lie, whether they are whole.

The rows stand in `published.py`. Nothing here opens a connection.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .published import CATALOGUE, PIPELINES, Weight

BLOCK = 1 << 22  # bytes read at a time
FETCH = "python -m soliloquy weights fetch"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What `verify` found out about a file."""

    state: str  # "ok", "wrong size", "wrong hash" or "unknown"
    sentence: str
    weight: Weight | None = None

    @property
    def bad(self) -> bool:
        """True for a file that is certainly not what its name says."""
        return self.state.startswith("wrong")


def find(name: str) -> tuple[Weight, ...]:
    """The rows that `name` means: a pipeline, a system, a format, a file, or folder/file.

    A system means every file it needs, once, and a pipeline those of its systems, as "moditalker"
    does of its speech encoder, motion model and renderer; a format means the file to get first.

    Raises:
        PayloadError: nothing is called that; the message lists what there is.
    """
    exact = tuple(row for row in CATALOGUE if name in (row.name, row.file))
    if exact:
        return exact
    by_format = tuple(row for row in CATALOGUE if name in row.formats)
    systems = PIPELINES.get(name, (name,))
    needed = tuple(dict.fromkeys(row for system in systems for row in needed_for(system)))
    found = needed or by_format[:1]
    if not found:
        known = ", ".join(dict.fromkeys(s for row in CATALOGUE for s in row.systems))
        files = ", ".join(row.name for row in CATALOGUE)
        from .payloads import PayloadError  # here, so that listing files does not wait for torch

        raise PayloadError(f"No weights are called '{name}'. Systems: {known}. Files: {files}.")
    return found


def is_system(name: str) -> bool:
    """Whether `name` is that of a system or a pipeline with published files."""
    return name in PIPELINES or any(name in row.systems for row in CATALOGUE)


def needed_for(system: str) -> tuple[Weight, ...]:
    """The files that a system needs, each in the container to get first; empty for bundled ones."""
    first: dict[str, Weight] = {}
    for row in CATALOGUE:
        if system in row.systems:
            first.setdefault(row.role, row)
    return tuple(first.values())


def stand_ins(weight: Weight) -> tuple[Weight, ...]:
    """Every row that holds the same weights, `weight` included."""
    return tuple(row for row in CATALOGUE if row.role == weight.role)


def missing(system: str, roots: Sequence[str | Path]) -> tuple[Weight, ...]:
    """The files a system needs that are in none of `roots`, the host's models directories."""
    return tuple(row for row in needed_for(system) if locate(row.role, roots) is None)


def locate(role: str, roots: Sequence[str | Path]) -> Path | None:
    """The file that plays a role, such as "kdtalker/KDTalker", below one of `roots`.

    What `weights convert` has made of a published file counts, too, and comes first.
    """
    rows = tuple(row for row in CATALOGUE if row.role == role)
    converted = tuple(
        replace(
            row,
            file=f"{Path(row.file).stem}.safetensors",
            path=Path(row.path).with_suffix(".safetensors").as_posix() if row.path else "",
        )
        for row in rows
    )
    return next((path for row in (*converted, *rows) if (path := row.find(roots))), None)


def files_of(system: str, roots: Sequence[str | Path]) -> dict[str, Path]:
    """Role → file, of every file that a system needs.

    Raises:
        PayloadError: files are missing; the message says which belongs where.
    """
    found = {row.role: locate(row.role, roots) for row in needed_for(system)}
    if None in found.values():
        from .payloads import PayloadError

        raise PayloadError(missing_message(system, roots))
    return {role: path for role, path in found.items() if path is not None}


def missing_message(system: str, roots: Sequence[str | Path]) -> str:
    """Which files belong in which folder, with their links, in lines; empty when all are there.

    Args:
        system: "liveportrait", "kdtalker", …
        roots: the host's models directories, the one to put files into first.
    """
    absent = missing(system, roots)
    if not absent:
        return ""
    base = Path(roots[0]) if roots else Path("models")
    lines = [
        f"{'1 file is' if len(absent) == 1 else f'{len(absent)} files are'} missing for '{system}'."
    ]
    for folder in dict.fromkeys(row.folder for row in absent):
        rows = [row for row in absent if row.folder == folder]
        belong = "This belongs" if len(rows) == 1 else "These belong"
        lines.append(f"{belong} in '{(base / folder).as_posix()}':")
        for row in rows:
            lines += [f"  {row.file} ({row.size_text}, {row.licence_text})", f"    {row.url}"]
            lines += [f"    {row.note}"] if row.note else []
    if not any(row.by_hand for row in absent):
        lines.append(f"Or, on the command line: {FETCH} {system}")
    return "\n".join(lines)


def verify(path: str | Path, weight: Weight | None = None) -> Verdict:
    """Compare a file's size and sha256 with the catalogue.

    Args:
        path: the file.
        weight: the row it should be; by default the rows of its name, then any of its size.

    Raises:
        PayloadError: there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        from .payloads import PayloadError

        raise PayloadError(f"There is no file '{path}'.")
    size = path.stat().st_size
    named = (weight,) if weight else tuple(row for row in CATALOGUE if row.file == path.name)
    same_size = tuple(row for row in named or CATALOGUE if row.size == size)
    for row in same_size:
        if row.sha256 and sha256(path) == row.sha256:
            return Verdict(state="ok", weight=row, sentence=f"{row.title}, {row.licence_text}.")
    return _doubt(path, size, named, same_size if named else ())


def _doubt(
    path: Path, size: int, named: tuple[Weight, ...], same_size: tuple[Weight, ...]
) -> Verdict:
    """The verdict on a file that is not exactly one of the catalogue."""
    if not named:
        return Verdict(state="unknown", sentence="Not a file of the catalogue.")
    row = (same_size or named)[0]
    if same_size:
        sentence = "Its size is right, its content is not: damaged or another file. Get it again."
        return Verdict(state="wrong hash", weight=row, sentence=sentence)
    if row.size:
        what = "truncated or another file" if size < row.size else "another file"
        sentence = f"It has {size:,} bytes, not {row.size:,}: {what}. Get it again from {row.url}"
        return Verdict(state="wrong size", weight=row, sentence=sentence)
    sentence = f"{row.title}; its hash is not published. This one's sha256 is {sha256(path)}."
    return Verdict(state="unknown", weight=row, sentence=sentence)


def sha256(path: str | Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """The hash of a file, in hexadecimal digits; `on_bytes(count)` hears of every block read."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            if on_bytes:
                on_bytes(len(block))
    return digest.hexdigest()
