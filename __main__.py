"""The command line `python -m soliloquy …`, a thin caller of `models/pipeline.py` and `benchmarks`.

Exit codes: 0 done, 2 something given cannot be used (one sentence says what), 130 interrupted.
Nothing heavy is imported until a command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from .models.payloads import Motion, Portrait
    from .models.pipeline import Settings

ASSETS = Path(__file__).resolve().parent / "assets"
DEMO_VIDEO = "soliloquy_demo.mp4"
BENCHMARKS = {
    "warp": (),
    "length": ("longest",),
    "memory": ("motion", "renderer"),
    "kdtalker": ("device", "steps", "batch"),
    "atl_diff": (),
    "moditalker": (),
}
"""Name → options that it takes."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return the exit code."""
    options = command_line().parse_args(arguments)
    try:
        options.run(options)
    except KeyboardInterrupt as interrupt:
        left = str(interrupt) or "Nothing was written."
        print(f"\nInterrupted. {left}", file=sys.stderr)
        return 130
    except Exception as error:
        from .models.payloads import PayloadError

        if not isinstance(error, (PayloadError, OSError)):
            raise
        print(f"soliloquy: {sentence(error)}", file=sys.stderr)
        return 2
    return 0


def sentence(error: Exception) -> str:
    """What went wrong, on one line; a list of files keeps its lines."""
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{where}."
    return "\n".join(line.rstrip() for line in str(error).splitlines() if line.strip())


def command_line() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(
        prog="python -m soliloquy", description="Any still portrait speaks."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help=f"make {DEMO_VIDEO}, from what is in the package")
    demo.add_argument("-o", "--output", default=DEMO_VIDEO, metavar="OUT.mp4")
    _add_choices(demo)
    demo.set_defaults(run=run_demo)

    animate = commands.add_parser("animate", help="a portrait and a sound become a video")
    animate.add_argument("portrait", metavar="PORTRAIT", help="a picture with a face")
    animate.add_argument("audio", metavar="AUDIO", help="any file with sound, a video too")
    animate.add_argument("-o", "--output", required=True, metavar="OUT.mp4")
    _add_face(animate)
    _add_choices(animate)
    animate.set_defaults(run=run_animate)

    motion = commands.add_parser("motion", help="a sound becomes motion, in a JSON file")
    motion.add_argument("audio", metavar="AUDIO", help="any file with sound, a video too")
    motion.add_argument("-o", "--output", required=True, metavar="FILE.json")
    motion.add_argument(
        "--landmarks", action="store_true", help="add the 68 landmarks of the mean face"
    )
    _add_choices(motion, renderer=False)
    motion.set_defaults(run=run_motion)

    sheet = commands.add_parser("contact-sheet", help="a portrait in extreme poses, side by side")
    sheet.add_argument("portrait", metavar="PORTRAIT", help="a picture with a face")
    sheet.add_argument("-o", "--output", required=True, metavar="SHEET.png")
    sheet.add_argument("--renderer", default="warp", metavar="NAME")
    sheet.add_argument("--device", default="auto", metavar="D", help="auto, cpu, … (auto)")
    _add_face(sheet)
    sheet.set_defaults(run=run_contact_sheet)

    bench = commands.add_parser("bench", help="measure speed and memory, or length and sync")
    bench.add_argument("benchmark", choices=BENCHMARKS)
    bench.add_argument("--json", metavar="FILE", help="write the numbers to a file, too")
    bench.add_argument(
        "--longest", type=int, metavar="S", help="length: the longest sound, seconds (1800)"
    )
    bench.add_argument("--motion", metavar="NAME", help="memory: motion (starter)")
    bench.add_argument("--renderer", metavar="NAME", help="memory: renderer (warp)")
    bench.add_argument("--device", metavar="D", help="kdtalker: where to compute (cpu)")
    bench.add_argument("--steps", type=int, metavar="N", help="kdtalker: of diffusion (10)")
    bench.add_argument("--batch", type=int, metavar="N", help="kdtalker: frames at a time (1)")
    bench.set_defaults(run=run_bench)

    from .training_command import add_parser as add_training
    from .weights_command import add_parser as add_weights

    add_weights(commands)
    add_training(commands)
    return parser


def _add_face(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--landmarks", metavar="FILE", help="JSON with the landmarks of the face; no detector runs"
    )
    command.add_argument(
        "--face-landmarker", metavar="FILE.task", help="MediaPipe's model, to find the face with"
    )
    command.add_argument(
        "--face-index", type=int, default=0, metavar="N", help="which face, 0 = the largest (0)"
    )


def _add_choices(command: argparse.ArgumentParser, renderer: bool = True) -> None:
    command.add_argument("--motion", default="starter", metavar="NAME", help="motion (starter)")
    if renderer:
        command.add_argument("--renderer", default="warp", metavar="NAME", help="renderer (warp)")
    command.add_argument(
        "--fps", default="25", metavar="F", help="frames per second, 1 to 120 (25)"
    )
    command.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of all that is random (0)"
    )
    command.add_argument("--device", default="auto", metavar="D", help="auto, cpu, … (auto)")
    command.add_argument(
        "--models", metavar="DIR", help="published weights (the models directory of ComfyUI)"
    )


def run_demo(options: argparse.Namespace) -> None:
    """The astronaut says a sentence; everything needed is in the package or its dependencies."""
    from .models.payloads import PayloadError

    _check_output(options.output, ".mp4")
    try:
        import torch
        from skimage.data import astronaut
    except ImportError:
        raise PayloadError(
            "The demo takes its portrait from scikit-image. Install it: pip install scikit-image."
        ) from None
    options.landmarks, options.face_landmarker = str(ASSETS / "astronaut_landmarks.json"), None
    options.face_index, options.audio = 0, str(ASSETS / "demo.wav")
    _animate(options, portrait_of(torch.from_numpy(astronaut().copy()), options))


def run_animate(options: argparse.Namespace) -> None:
    """`animate`: a portrait and a sound become a video."""
    from .models.portrait.crop import read_image

    _check_output(options.output, ".mp4")
    _check_inputs(options.portrait, options.audio, options.fps)
    _animate(options, portrait_of(read_image(options.portrait), options))


def _animate(options: argparse.Namespace, portrait: Portrait) -> None:
    from .models.pipeline import speak

    started = time.monotonic()
    with ProgressBar() as bar:
        motion = speak(
            portrait, options.audio, options.output, settings(options), on_progress=bar.update
        )
    height, width = portrait.size
    _conclude(options.output, motion, time.monotonic() - started, f", {width}×{height}")


def run_motion(options: argparse.Namespace) -> None:
    """`motion`: a sound becomes a motion file."""
    from .models.motion.files import write_motion
    from .models.pipeline import perform

    _check_output(options.output, ".json", ".csv")
    _check_inputs(options.audio, options.fps)
    started = time.monotonic()
    with ProgressBar() as bar:
        _, motion = perform(options.audio, settings(options), on_progress=bar.update)
    write_motion(motion, options.output, landmarks=options.landmarks)
    _conclude(options.output, motion, time.monotonic() - started)


def run_contact_sheet(options: argparse.Namespace) -> None:
    """`contact-sheet`: the extremes of a face, side by side."""
    from PIL import Image

    from .models.formats import find_system
    from .models.pipeline import choose_device
    from .models.portrait.crop import read_image
    from .models.render.contact_sheet import contact_sheet

    _check_output(options.output, ".png", ".jpg")
    system = find_system("render", options.renderer)
    weights = system.find_weights(_models(options))
    renderer = system.load(device=choose_device(options.device), **weights)
    portrait = portrait_of(read_image(options.portrait), options)
    Image.fromarray(contact_sheet(portrait, renderer).numpy()).save(options.output)
    print(options.output)


def run_bench(options: argparse.Namespace) -> None:
    """`bench`: measure, print a table, and write it as JSON when asked to."""
    import json
    from importlib import import_module

    if options.json:
        _check_output(options.json, ".json")
    given = {name: getattr(options, name) for name in BENCHMARKS[options.benchmark]}
    chosen = {name: value for name, value in given.items() if value}
    if "device" in chosen:
        from .models.pipeline import choose_device

        chosen["device"] = choose_device(chosen["device"])
    report = import_module(f".benchmarks.{options.benchmark}", __package__).measure(**chosen)
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _check_output(output: str, *endings: str) -> None:
    """Refuse an output that cannot be written before anything heavy is loaded."""
    from .models.payloads import PayloadError
    from .models.render.video import check_writable

    if Path(output).suffix.lower() not in endings:
        raise PayloadError(f"The name '{output}' must end in {' or '.join(endings)}.")
    check_writable(Path(output))


def _check_inputs(*values: str) -> None:
    """The frame rate (last) and the files are looked at first: a detector takes seconds to load."""
    from .models.payloads import PayloadError, parse_fps

    *paths, fps = values
    parse_fps(fps)
    for path in paths:
        if not Path(path).is_file():
            raise PayloadError(f"There is no file '{path}'.")


def portrait_of(image: Any, options: argparse.Namespace) -> Portrait:
    """The portrait in an image, found as the options say; says so when there were several faces."""
    from .models.portrait.crop import prepare_portrait

    with _quiet_libraries() if options.face_landmarker else nullcontext():
        portrait = prepare_portrait(
            image,
            landmarks=options.landmarks,
            face_landmarker=options.face_landmarker,
            face_index=options.face_index,
            allow_download=options.face_landmarker is None,
        )
    if portrait.num_faces > 1:
        print(
            f"{portrait.num_faces} faces; number {options.face_index} by size speaks"
            " (--face-index chooses).",
            file=sys.stderr,
        )
    return portrait


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """MediaPipe's C++ logs to file descriptor 2, past Python; nothing of it is for the user."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def settings(options: argparse.Namespace) -> Settings:
    """What the options choose about the performance."""
    from .models.pipeline import Settings

    chosen = {"motion": options.motion, "renderer": getattr(options, "renderer", "warp")}
    chosen |= {"fps": options.fps, "seed": options.seed, "device": options.device}
    return Settings(**chosen, models=_models(options))


def _models(options: argparse.Namespace) -> tuple[Path, ...]:
    """Where published weights are: as given, or in the ComfyUI that is found."""
    from .models.payloads import PayloadError
    from .weights_command import models_folder

    if getattr(options, "models", None):
        return (Path(options.models),)
    try:
        return (models_folder(),)
    except PayloadError:
        return ()


def _conclude(output: str, motion: Motion, seconds: float, size: str = "") -> None:
    for note in motion.notes:
        print(note, file=sys.stderr)
    timeline = motion.timeline
    print(
        f"{output}: {timeline.seconds:.2f} s, {timeline.num_frames} frames at"
        f" {float(timeline.fps):.6g} fps{size}, made in {seconds:.1f} s"
        f" ({timeline.num_frames / seconds:.1f} frames/s,"
        f" {timeline.seconds / seconds:.2f} × real time)"
    )


class ProgressBar:
    """One line per stage on stderr: redrawn on a terminal, written once at its end elsewhere."""

    WIDTH = 24
    REDRAW = 0.1  # seconds

    def __init__(self) -> None:
        self.stage = ""
        self.started = self.drawn = 0.0
        self.line = ""
        self.live = sys.stderr.isatty()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or self.live:
            self._end_line()

    def update(self, stage: str, done: int, total: int) -> None:
        """Show that `done` of `total` steps of `stage` are behind us."""
        now = time.monotonic()
        if stage != self.stage:
            self._end_line()
            self.stage, self.started, self.drawn = stage, now, 0.0
        self.line = self._draw(done, total, now - self.started)
        if self.live and (now - self.drawn > self.REDRAW or done == total):
            self.drawn = now
            print(f"\r{self.line}\x1b[K", end="", file=sys.stderr, flush=True)

    def _draw(self, done: int, total: int, seconds: float) -> str:
        share = min(1.0, done / total) if total else 1.0
        filled = round(share * self.WIDTH)
        bar = "#" * filled + "-" * (self.WIDTH - filled)
        line = f"{self.stage:<20} {bar} {done}/{total}"
        if self.stage.endswith("frames") and seconds > 0:
            left = seconds / done * (total - done) if done else 0
            line += f"  {done / seconds:.1f} frames/s" + (f"  {left:.0f} s left" if left else "")
        return line

    def _end_line(self) -> None:
        if self.line:
            print("" if self.live else self.line, file=sys.stderr, flush=True)
        self.line = ""


def _terminate(*_: object) -> NoReturn:
    raise KeyboardInterrupt  # so that half a file is removed when the process is told to end


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):  # a console without "×" shows "?" and goes on
        stream.reconfigure(errors="replace")
    sys.exit(main())
