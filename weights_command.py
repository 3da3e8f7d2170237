"""`python -m soliloquy weights list | verify | convert | fetch`.

The only place that downloads weights, and only when it is told to. The host never imports it.
Listing needs no torch, so nothing that does is imported at the top.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from .models import catalogue
from .models.catalogue import Weight

PACKAGE = Path(__file__).resolve().parent
SUFFIXES = {".safetensors", ".sft", ".pth", ".pt", ".ckpt", ".task"}


def add_parser(commands: Any) -> None:
    """Add `weights` and its four commands to the command line."""
    weights = commands.add_parser("weights", help="list, check, convert or download weight files")
    actions = weights.add_subparsers(required=True, metavar="ACTION")

    listing = actions.add_parser("list", help="every published file: size, licence, folder, link")
    listing.add_argument("names", nargs="*", metavar="NAME", help="a system or a file (all)")
    listing.add_argument("--markdown", action="store_true", help="as the table of the README")
    listing.set_defaults(run=run_list)

    check = actions.add_parser("verify", help="compare files with the published size and sha256")
    check.add_argument(
        "paths",
        nargs="*",
        metavar="FOLDER|FILE|NAME",
        help="(the host's models directory) a system means its files there",
    )
    check.set_defaults(run=run_verify)

    convert = actions.add_parser("convert", help="make a safetensors file of a PyTorch file")
    convert.add_argument("file", metavar="FILE", help="a .pth, .pt or .ckpt")
    convert.add_argument("-o", "--output", metavar="OUT.safetensors", help="(beside the file)")
    convert.set_defaults(run=run_convert)

    fetch = actions.add_parser("fetch", help="download files to where they belong")
    fetch.add_argument("names", nargs="+", metavar="NAME", help="a system or a file")
    fetch.add_argument("--folder", metavar="DIR", help="the host's models directory")
    fetch.set_defaults(run=run_fetch)


def run_list(options: argparse.Namespace) -> None:
    """`list`: a table on the terminal, or the README's."""
    rows = _rows(options.names) if options.names else catalogue.CATALOGUE
    print(markdown_table(rows) if options.markdown else text_table(rows))


def text_table(rows: Iterable[Weight]) -> str:
    """What each file is and where it comes from, and where there is one, its catch."""
    lines = []
    for row in rows:
        lines.append(f"{row.name:<56} {row.size_text:>8}  {row.licence_text}")
        lines.append(f"    {row.title}; for {', '.join(row.systems)}. {row.url}")
        lines += [f"    {row.note}"] if row.note else []
    return "\n".join(lines)


def markdown_table(rows: Iterable[Weight] = catalogue.CATALOGUE) -> str:
    """One row per set of weights, with a link for each container it is published in."""
    first: dict[str, Weight] = {}
    for row in rows:
        first.setdefault(row.role, catalogue.stand_ins(row)[0])
    lines = ["| file | what | size | licence | folder in `models/` |", "|---|---|---|---|---|"]
    for row in first.values():
        licence = row.licence if row.commercial else f"**{row.licence}, non-commercial**"
        same = catalogue.stand_ins(row)
        files = " or ".join(f"[`{other.file}`]({other.url})" for other in same)
        lines.append(f"| {files} | {row.title} | {row.size_text} | {licence} | `{row.folder}` |")
    return "\n".join(lines)


def run_verify(options: argparse.Namespace) -> None:
    """`verify`: one line per file; an error when a file is not what its name says."""
    files = _files(options.paths or [models_folder()])
    if not files and options.paths and not any(Path(path).exists() for path in options.paths):
        refuse(f"None of these files is in '{models_folder()}'.")
    if not files:
        refuse("There are no weight files in the given folders.")
    bad = 0
    for path in files:
        verdict = catalogue.verify(path)
        sentence = verdict.sentence
        if verdict.state == "unknown" and verdict.weight:
            sentence += f" {_looks_like(path)}"
        print(f"{verdict.state:<10}  {path}: {sentence}", flush=True)
        bad += verdict.bad
    if bad:
        refuse(f"{bad} of {len(files)} files are not what they should be.")


def _files(paths: Iterable[str | Path]) -> list[Path]:
    """Files as given; of folders, what the catalogue knows by name; of systems, what is there.

    A models directory is full of files that are none of our business. Files of a system that are
    not there get a line of their own.
    """
    names = {row.file for row in catalogue.CATALOGUE}
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            found += [p for p in sorted(path.rglob("*")) if p.name in names and p.is_file()]
        elif not path.exists() and catalogue.is_system(str(path)):
            found += _present(str(path))
        else:
            found.append(path)
    return found


def _present(system: str) -> list[Path]:
    """The files of a system in the host's models directory; absent ones are said so."""
    roots, found = [models_folder()], []
    for row in catalogue.find(system):
        path = catalogue.locate(row.role, roots)
        if path is None:
            print(f"absent      {roots[0] / row.name}: {row.title}. {row.url} {row.note}".rstrip())
        else:
            found.append(path)
    return found


def _looks_like(path: Path) -> str:
    """For a file of which no hash is published: can it be read, and what is in it?"""
    from .models.checkpoints import CheckpointError, read

    if path.suffix not in SUFFIXES - {".task"}:
        return ""
    try:
        tensors = len(read(path)[0])
    except CheckpointError as error:
        return str(error)
    return f"It can be read: {tensors} entries."


def run_convert(options: argparse.Namespace) -> None:
    """`convert`: a PyTorch file becomes safetensors, and nothing in it is run."""
    from .weights_convert import convert

    done = convert(options.file, options.output)
    if done.inert:
        names = ", ".join(done.inert[:5]) + (", …" if len(done.inert) > 5 else "")
        print(f"Left closed: {names}.", file=sys.stderr)
    print(
        f"{done.output}: {', '.join(done.titles)}; {done.num_tensors} tensors,"
        f" {done.num_left_out} others left out"
    )


def run_fetch(options: argparse.Namespace) -> None:
    """`fetch`: download, verify, and only then put in place; then name what only people can get."""
    rows = _rows(options.names)
    folder = Path(options.folder) if options.folder else models_folder()
    for row in rows:
        if not row.by_hand:
            print(f"{row.name}: {row.title} ({row.size_text}, {row.licence_text})", flush=True)
            print(f"    {fetch(row, folder)}", flush=True)
    absent = [row for row in rows if row.by_hand and not catalogue.locate(row.role, [folder])]
    if absent:
        sentences = [
            f"These must be downloaded by hand into '{folder / place}': "
            + "; ".join(f"{r.file} from {r.url}" for r in absent if r.folder == place)
            + "."
            for place in dict.fromkeys(row.folder for row in absent)
        ]
        notes = [f"{row.file}: {row.note}" for row in absent if row.note]
        refuse(" ".join([*sentences, *notes]))


def _rows(names: Iterable[str]) -> list[Weight]:
    return list(dict.fromkeys(row for name in names for row in catalogue.find(name)))


def models_folder() -> Path:
    """The models directory of the ComfyUI that this package is installed in.

    Raises:
        PayloadError: it is in none, and none is at `COMFYUI_PATH` or `~/comfy/ComfyUI`.
    """
    hosts = [Path(os.environ.get("COMFYUI_PATH") or "~/comfy/ComfyUI").expanduser()]
    if PACKAGE.parent.name == "custom_nodes":
        hosts.insert(0, PACKAGE.parent.parent)
    for host in hosts:
        if (host / "models").is_dir():
            return host / "models"
    refuse(
        "No ComfyUI was found. Say where its models directory is, with --folder DIR (fetch) or as"
        " FOLDER (verify), or set COMFYUI_PATH."
    )


def fetch(weight: Weight, folder: Path) -> str:
    """Bring one file below the models directory `folder`; returns what happened.

    An interrupted download is continued by the next call. The file appears under its name only when
    its size and hash are right: the catalogue's, or else those that the hub states.

    Raises:
        PayloadError: no connection, or another file than the published one; what was in place
        stays.
    """
    target = folder / weight.folder / weight.file
    if target.is_file() and not catalogue.verify(target, weight).bad:
        return f"already there: {target}"
    hub = _hub()
    url, headers = _address(hub, weight)
    expected = _stated(hub, weight, url, headers) if weight.repository else weight
    part = target.with_name(f".{target.name}.{expected.sha256[:8]}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        _download(hub, expected, url, headers, part)
        verdict = catalogue.verify(part, expected)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_left(part, weight)) from None
    if verdict.bad:
        part.unlink()
        refuse(
            f"{weight.file} was received, but is not the published file ({verdict.state})."
            " It was thrown away. Fetch it again; if that does not help, the mirror is wrong."
        )
    os.replace(part, target)
    checked = "verified" if verdict.state == "ok" else "no hash to compare with is published"
    return f"written, {checked}: {target}"


def _left(part: Path, weight: Weight) -> str:
    """What an interruption has left of a download; an empty file is removed."""
    received = part.stat().st_size if part.exists() else 0
    if not received:
        part.unlink(missing_ok=True)
        return f"Of {weight.file} nothing has arrived yet."
    return (
        f"{received:,} bytes of {weight.file} stay in '{part}'; run the command again to continue."
    )


def _hub() -> Any:
    try:
        import huggingface_hub.file_download
    except ImportError:
        refuse(
            "Downloading needs the package huggingface_hub: pip install huggingface_hub."
            " Or follow the links of `weights list` by hand."
        )
    return huggingface_hub


def _address(hub: Any, weight: Weight) -> tuple[str, dict[str, str]]:
    """Link and headers; a token goes to the hub (or the mirror in HF_ENDPOINT) and nowhere else."""
    if not weight.repository:
        return weight.url, {}
    url = hub.hf_hub_url(
        weight.repository,
        weight.path,
        revision=weight.revision,
        endpoint=os.environ.get("HF_ENDPOINT") or None,
    )
    return url, hub.utils.build_hf_headers()


def _stated(hub: Any, weight: Weight, url: str, headers: dict[str, str]) -> Weight:
    """The row with what the hub states of the file where the catalogue knows nothing.

    Raises:
        PayloadError: no connection, no such file, or one of another size.
    """
    try:
        stated = hub.get_hf_file_metadata(url, headers=headers)
    except Exception as error:  # the hub's own kinds, and those of the library beneath it
        _fail(weight, error)
    if weight.size and stated.size and weight.size != stated.size:
        refuse(
            f"{url} has {stated.size:,} bytes, the published {weight.file} {weight.size:,}: it is"
            " another file. Nothing was downloaded."
        )
    is_hash = re.fullmatch(r"[0-9a-f]{64}", stated.etag or "")  # of a small file it is not
    known = weight.sha256 or (stated.etag if is_hash else "")
    return replace(weight, size=weight.size or stated.size, sha256=known)


def _download(hub: Any, weight: Weight, url: str, headers: dict[str, str], part: Path) -> None:
    """Append what is missing of `part`, with a progress bar."""
    try:
        with part.open("ab") as file:
            hub.file_download.http_get(
                url,
                file,
                resume_size=file.tell(),
                headers=headers,
                expected_size=weight.size,
            )
    except Exception as error:
        received = part.stat().st_size
        if not received or (weight.size and received > weight.size):
            part.unlink()  # nothing came, or a server began anew instead of continuing
        _fail(weight, error)


def _fail(weight: Weight, error: Exception) -> NoReturn:
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    refuse(
        f"{weight.file} could not be downloaded ({reason}). Run the command again to continue, or"
        f" get it by hand from {weight.url}"
    )


def refuse(sentence: str) -> NoReturn:
    """Stop with a sentence; the command line exits with 2."""
    from .models.payloads import PayloadError

    raise PayloadError(sentence) from None
