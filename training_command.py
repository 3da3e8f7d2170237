"""`python -m soliloquy prepare | train | evaluate`: from videos to weights and their worth.

The host never imports it. Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

LANDMARKER = "face_landmarker.task"


def add_parser(commands: Any) -> None:
    """Add the three commands to the command line."""
    prepare = commands.add_parser(
        "prepare", help="a folder of talking videos becomes training data"
    )
    prepare.add_argument("videos", metavar="VIDEOS", help="a folder, searched to its depth")
    prepare.add_argument("output", metavar="OUT", help="folder; what is there already is kept")
    prepare.add_argument(
        "--face-landmarker",
        metavar="FILE.task",
        default=LANDMARKER,
        help=f"MediaPipe's model ({LANDMARKER})",
    )
    prepare.set_defaults(run=run_prepare)

    train = commands.add_parser("train", help="train a recipe, or go on with it")
    train.add_argument("recipe", metavar="RECIPE", help="its name; `list` shows all")
    train.add_argument("-o", "--output", metavar="FOLDER", help="for weights and logs (runs/NAME)")
    train.add_argument(
        "--set",
        dest="assignments",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="change a field, such as loop.steps=100",
    )
    train.add_argument("--show", action="store_true", help="only print the configuration")
    train.set_defaults(run=run_train)

    evaluate = commands.add_parser("evaluate", help="measure motion and keyframes on real clips")
    evaluate.add_argument(
        "clips", metavar="CLIPS", help="a folder that `prepare` wrote; or a video, see --against"
    )
    evaluate.add_argument(
        "--against", metavar="VIDEO", help="measure the frames of one video against another's"
    )
    evaluate.add_argument(
        "--face-landmarker",
        metavar="FILE.task",
        help="with --against: measure the landmarks of the faces, too, by MediaPipe's model",
    )
    evaluate.add_argument("--motion", default="starter", metavar="NAME", help="motion (starter)")
    evaluate.add_argument("--keyframes", metavar="NAME", help="keyframes that lead it (none)")
    evaluate.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="performances of each clip (3)"
    )
    evaluate.add_argument("--json", metavar="FILE", help="write the numbers to a file, too")
    evaluate.set_defaults(run=run_evaluate)


def run_prepare(options: argparse.Namespace) -> None:
    """`prepare`: progress on stderr, then how many clips there are and what was wrong with others.

    Raises:
        PayloadError: nothing could be prepared.
    """
    from .models.payloads import PayloadError
    from .training.prepare import prepare

    last = [0.0]

    def show(name: str, done: int, total: int) -> None:
        if done == total or time.monotonic() - last[0] > 5:
            last[0] = time.monotonic()
            print(f"{name}: {done}/{total} frames", file=sys.stderr, flush=True)

    report = prepare(
        Path(options.videos), Path(options.output), Path(options.face_landmarker), show
    )
    for name, reason in report.refused.items():
        print(f"{name}: left out. {reason}", file=sys.stderr)
    if not report.prepared + report.kept:
        raise PayloadError(f"None of the {len(report.refused)} videos can be used.")
    print(
        f"{options.output}: {report.prepared} clips prepared, {report.kept} there already,"
        f" {len(report.refused)} left out"
    )


def run_train(options: argparse.Namespace) -> None:
    """`train`: one line per log, weights in the end.

    Raises:
        PayloadError: no such recipe or field, or the data are absent.
    """
    from .models.payloads import PayloadError
    from .training.recipes import RECIPES, find_recipe, override

    if options.recipe == "list":
        for name, recipe in RECIPES.items():
            print(f"{name:<32} {(recipe.__doc__ or '').splitlines()[0]}")
        return
    config = override(find_recipe(options.recipe), options.assignments)
    if options.show:
        print("\n".join(settings(config)))
        return
    folder = Path(options.output or Path("runs") / options.recipe)
    if folder.exists() and not folder.is_dir():
        raise PayloadError(f"'{folder}' is a file; weights and logs need a folder.")
    config.run(folder, report)
    print(folder)


def settings(config: Any, prefix: str = "") -> list[str]:
    """The fields of a configuration as `key=value`, the way `--set` takes them."""
    import dataclasses

    lines = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            lines += settings(value, f"{prefix}{field.name}.")
        elif isinstance(value, tuple):
            lines.append(f"{prefix}{field.name}={','.join(map(str, value))}")
        else:
            lines.append(f"{prefix}{field.name}={value}")
    return lines


def report(step: int, parts: dict[str, float], _: Any) -> None:
    """One line per log."""
    told = ", ".join(f"{name} {value:.4g}" for name, value in parts.items())
    print(f"step {step}: {told}", flush=True)


def run_evaluate(options: argparse.Namespace) -> None:
    """`evaluate`: a table, and JSON if asked to.

    Raises:
        PayloadError: no clips, no such system, or no seeds.
    """
    import json

    from .models.payloads import PayloadError
    from .training.evaluate import evaluate, table

    if options.against:
        from .training.image_measures import compare_faces, compare_videos

        videos = Path(options.clips), Path(options.against)
        scores = compare_videos(*videos)
        if options.face_landmarker:
            scores |= compare_faces(*videos, Path(options.face_landmarker))
        print("\n".join(f"{name} {value:.4f}" for name, value in scores.items()))
        return
    if options.seeds < 1:
        raise PayloadError(f"--seeds must be 1 or more, not {options.seeds}.")
    report = evaluate(
        Path(options.clips),
        options.motion,
        keyframes=options.keyframes,
        seeds=options.seeds,
        on_clip=lambda name, _: print(name, file=sys.stderr, flush=True),
    )
    print(table(report))
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
