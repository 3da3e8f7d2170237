"""How fast faces move where the windows of the small AToM meet.

    python -m soliloquy.training.atom_borders SOUND … --starts 14 --seeds 2

Borders always fall on the same words of a sound, and some words are faster than others. The sound
is therefore begun at many places, so that every word lies at a border now and then; and the speed
at borders is told in mean speeds of the same clip, with its standard error.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..models.motion.atom_motion import FPS, OVERLAP, AToMMotion, load_small, plan_windows
from ..models.payloads import Speech, Timeline
from ..models.speech import starter
from ..models.speech.audio import MODEL_RATE, read_sound
from .image_measures import share_below

# Frames, counted from where the old window begins to fade: the first step of the fading, its
# middle, its last, the first into a frame that is the new window's alone, and far from a border.
PLACES = {"begins": 1, "middle": 8, "last": 15, "own": 16, "after": 17, "far": 40}


@dataclass(frozen=True, kw_only=True, eq=False)
class Steps:
    """Steps from frame to frame at one place of many borders, in mean steps of their clips."""

    speeds: Tensor  # [n]
    calm: Tensor  # [n] 0 or 1, whether it lies within the 95th percentile of its clip

    def row(self) -> str:
        """Numbers for people."""
        error = float(self.speeds.std()) / len(self.speeds) ** 0.5
        return (
            f"{len(self.speeds)} borders, speed {float(self.speeds.mean()):.3f} ± {error:.3f} of"
            f" the mean, {100 * float(self.calm.mean()):.1f} % within the 95th percentile"
        )


def measure(
    model: AToMMotion, sounds: Iterable[Speech], *, starts: int = 1, seeds: int = 1
) -> dict[str, Steps]:
    """The steps at each of `PLACES`.

    Args:
        model: that speaks.
        sounds: at 25 frames per second.
        starts: at how many places each sound is begun, up to the distance of two borders.
        seeds: of every clip.
    """
    size = model.speaker().window
    stride = size - min(OVERLAP, size // 2)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in PLACES}
    for sound in sounds:
        for number in range(starts):
            speech = begun_at(sound, number * stride // starts)
            for seed in range(seeds):
                # Another seed for another start: their noise lies alike around borders else.
                values = model.sample(speech, seed=seed * starts + number).values
                for name, step in at_borders(values, size):
                    found[name].append(step)
    columns = {name: torch.tensor(steps).reshape(-1, 2) for name, steps in found.items()}
    return {name: Steps(speeds=c[:, 0], calm=c[:, 1]) for name, c in columns.items()}


def at_borders(values: Tensor, size: int) -> list[tuple[str, tuple[float, float]]]:
    """Place, and (step in mean steps, 1 if it lies within the 95th percentile).

    Args:
        values: `[T, 68, 3]`, the landmarks of a clip.
        size: frames of a window.
    """
    steps = values.flatten(1).diff(dim=0).norm(dim=1)
    mean, found = float(steps.mean()), []
    for window in plan_windows(len(values), size)[1:]:
        fading = window.start + window.known - min(OVERLAP, size // 2)
        for name, place in PLACES.items():
            if fading + place <= len(steps):
                step = steps[fading + place - 1]
                found.append((name, (float(step) / mean, share_below(step[None], steps))))
    return found


def begun_at(speech: Speech, first: int) -> Speech:
    """The speech without its first frames."""
    frames = speech.timeline.num_frames - first
    return Speech(
        streams={name: stream[first:] for name, stream in speech.streams.items()},
        timeline=Timeline.for_frames(frames, speech.timeline.fps),
    )


def heard(path: Path, seconds: float) -> Speech:
    """A sound file, repeated until it is at least as long, as the starter hears it."""
    _, waveform = read_sound(path)
    repeats = -int(-seconds * MODEL_RATE // waveform.shape[1])
    waveform = waveform.repeat(1, max(1, repeats))
    timeline = Timeline.for_sound(waveform.shape[1], MODEL_RATE, FPS)
    return starter.load().encode(waveform, MODEL_RATE, timeline)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m soliloquy.training.atom_borders",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sounds", type=Path, nargs="+")
    parser.add_argument("--starts", type=int, default=14, help="places where each sound is begun")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument(
        "--seconds", type=float, default=24, help="repeat shorter sounds until then"
    )
    parser.add_argument("--weights", type=Path, help="instead of the bundled ones")
    parser.add_argument("--gestures", action="store_true", help="with blinks and brows")
    given = parser.parse_args(arguments)
    model = load_small(path=given.weights)
    model.gestures = given.gestures
    sounds = [heard(path, given.seconds) for path in given.sounds]
    for name, steps in measure(model, sounds, starts=given.starts, seeds=given.seeds).items():
        print(f"{name:<7} {steps.row()}", flush=True)


if __name__ == "__main__":
    main()
