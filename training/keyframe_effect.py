"""Whether motion goes where keyframes are moved to: a correlation per path, and a figure.

Keyframes are taken from a motion, moved by hand, as it were, up to half a second, and given to the
motion model with the same speech. Where the new motion is fastest is compared with where the
keyframes are now and with where they were.

    python -m soliloquy.training.keyframe_effect SOUND … --seeds 2 --figure FILE.png
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..models.formats import find_system
from ..models.keyframes.establish import (
    SMOOTHING,
    coefficients,
    deviation,
    establish,
    smooth,
    speed,
)
from ..models.payloads import KEYFRAME_PATHS, Keyframes, Motion, Speech
from ..models.speech.audio import MODEL_RATE, read_sound

FARTHEST = 0.5  # seconds a keyframe is moved, at most
NEAREST = 0.2  # seconds a keyframe is moved, at least
OTHER = 1000  # seeds away: the keyframes are another performance's
WIDTH = 0.08  # seconds: what two moments may be apart and still count as almost one


def measure(model: Any, speeches: Sequence[Speech], seed: int = 0) -> dict[str, float]:
    """Per path the correlation of speed maxima with the keyframes given, and with those before.

    Args:
        model: a motion model that is led by keyframes.
        speeches: what it is to say.
        seed: of the motion and of how keyframes are moved.
    """
    found: dict[str, list[float]] = {}
    for number, speech in enumerate(speeches):
        before = establish(model.sample(speech, seed=seed + number + OTHER))
        given = moved(before, seed + number)
        motion = model.sample(speech, None, given, seed=seed + number)
        for path in KEYFRAME_PATHS:
            for name, marks in (("given", given), ("before", before)):
                value = agreement(marks, motion, path)
                found.setdefault(f"{path} keyframes {name}", []).append(value)
    return {name: sum(values) / len(values) for name, values in found.items()}


def moved(keyframes: Keyframes, seed: int) -> Keyframes:
    """Every keyframe somewhat earlier or later than it was."""
    generator = torch.Generator().manual_seed(seed)
    fps, count = float(keyframes.timeline.fps), keyframes.timeline.num_frames
    marks = {path: torch.zeros_like(row) for path, row in keyframes.marks.items()}
    strength = {path: torch.zeros_like(row) for path, row in keyframes.strength.items()}
    for path, row in keyframes.marks.items():
        old = row.nonzero().flatten()
        far = NEAREST + (FARTHEST - NEAREST) * torch.rand(len(old), generator=generator)
        side = 2 * torch.randint(0, 2, (len(old),), generator=generator) - 1
        new = (old + (side * far * fps).round().long()).clamp(0, count - 1)
        marks[path][new] = True
        strength[path][new] = keyframes.strength[path][old]
    return replace(keyframes, marks=marks, strength=strength)


def agreement(keyframes: Keyframes, motion: Motion, path: str) -> float:
    """Correlation of keyframes with the speed maxima of a motion, both blurred by 0.08 s."""
    fps = float(motion.timeline.fps)
    maxima = establish(motion)
    curves = [smooth(marks.marks[path].float(), WIDTH * fps) for marks in (keyframes, maxima)]
    return float(torch.corrcoef(torch.stack(curves))[0, 1].nan_to_num())


def draw(model: Any, speech: Speech, path: Path, seed: int = 0) -> None:
    """A figure of one speech: the speed of each path under keyframes and under moved ones."""
    from matplotlib.figure import Figure

    first = establish(model.sample(speech, seed=seed + OTHER))
    times = speech.timeline.frame_centres().float()
    figure = Figure(figsize=(11, 8), layout="constrained")
    rows = figure.subplots(4, 1, sharex=True)
    for axis, (name, title, given) in zip(
        rows,
        [
            (name, title, given)
            for name in KEYFRAME_PATHS
            for title, given in (("given", first), ("moved", moved(first, seed)))
        ],
        strict=True,
    ):
        motion = model.sample(speech, None, given, seed=seed)
        axis.plot(times, speed_of(motion, name), color="#1565c0")
        for moment in times[given.marks[name]]:
            axis.axvline(float(moment), color="#e65100", alpha=0.6, linewidth=1)
        value = agreement(given, motion, name)
        axis.set_ylabel(f"{name}\nspeed")
        axis.set_title(f"keyframes as {title}: correlation with the maxima {value:.2f}", loc="left")
    rows[-1].set_xlabel("seconds")
    figure.savefig(path, dpi=100)


def speed_of(motion: Motion, path: str) -> Tensor:
    """How fast a path moves, `[T]`, as keyframes are established from it."""
    values = coefficients(motion, path)
    return speed(values, deviation(values), SMOOTHING[path] * float(motion.timeline.fps))


def main(arguments: list[str] | None = None) -> None:
    """Print the correlations over all sounds, a line per seed, and draw the first sound."""
    parser = argparse.ArgumentParser(
        prog="python -m soliloquy.training.keyframe_effect", description=__doc__
    )
    parser.add_argument("sounds", nargs="+", type=Path, help="any files with sound")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--figure", type=Path)
    given = parser.parse_args(arguments)
    encoder, model = (find_system(stage, "ksdiff").load() for stage in ("speech", "motion"))
    speeches = []
    for path in given.sounds:
        heard, waveform = read_sound(path)
        speeches.append(encoder.encode(waveform, MODEL_RATE, heard.timeline(25)))
    for seed in range(given.seeds):
        found = measure(model, speeches, seed)
        print(f"seed {seed}: " + ", ".join(f"{name} {value:.2f}" for name, value in found.items()))
    if given.figure:
        draw(model, speeches[0], given.figure)


if __name__ == "__main__":
    main()
