"""How well KSDiff's keyframe predictors find the keyframes of speakers they never heard.

    python -m soliloquy.training.ksdiff_keyframes_score DATA

DATA is what `ksdiff_data` wrote. The rival is the peaks of the voice's loudness, as they come and
at the best of many rates and delays, chosen on the very same speech: more than a fair chance.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..models import checkpoints
from ..models.keyframes import ksdiff as keyframes
from ..models.keyframes.energy_peaks import RATES, loudest
from ..models.keyframes.establish import SMOOTHING
from ..models.keyframes.predictor import KeyframePredictors
from ..models.speech import ksdiff as speech
from . import measures
from .ksdiff_data import FRAME_RATE, Sessions, read_sessions
from .ksdiff_keyframes import PATHS, deviations, listen, marks_of

SWEEP = (1.5, 2.0, 2.5, 3.0, 3.5, 4.0)  # loudness peaks per second of speech
DELAYS = (-2, 0, 2)  # frames


def score(truth: Tensor, guess: Tensor, tolerance: int = 2) -> float:
    """F1 of marks `[N, T]` against those of all draws `[N, DRAWS, T]`."""
    pairs = [(row, draw) for row, draws in zip(guess, truth, strict=True) for draw in draws]
    return measures.keyframe_score(pairs, tolerance).f1


def energy_of(sessions: Sessions, count: int) -> Tensor:
    """Loudness `[N, T]`, 0 … 1, out of the prosody channels."""
    channel = torch.from_numpy(sessions.prosody[:count, :, 0].astype(np.float32))
    return (channel * 0.3 + 0.4).unflatten(1, (-1, 2)).mean(-1)


@torch.no_grad()
def rows(
    sessions: Sessions, usual: dict[str, Tensor], network: KeyframePredictors, heard: Tensor
) -> Iterator[tuple[str, float, float]]:
    """What marked the keyframes, and F1 at ±1 and ±2 frames."""
    count = len(heard)
    true = torch.stack(
        [
            torch.stack([marks_of(torch.from_numpy(draw).float(), usual) > 0 for draw in draws])
            for draws in sessions.motion[:count]
        ]
    )
    energy = energy_of(sessions, count)
    for index, path in enumerate(PATHS):
        truth, predictor = true[..., index], network.path(path)
        seen = predictor.look(heard[:, index].float(), heard[:, 2].float())
        nothing = seen.new_zeros(seen.shape[:2])
        found, _ = keyframes.decode(predictor, seen, nothing, float(predictor.threshold))
        peaks = {
            rate: torch.stack([loudest(e, FRAME_RATE, rate, SMOOTHING[path])[0] for e in energy])
            for rate in (*SWEEP, RATES[path])
        }
        swept = [peaks[rate].roll(delay, 1) for rate in SWEEP for delay in DELAYS]
        best = max(swept, key=lambda guess: score(truth, guess))
        named = {"predicted": found, "loudest": peaks[RATES[path]], "loudest, at best": best}
        for name, guess in named.items():
            yield f"{path}, {name}", score(truth, guess, 1), score(truth, guess, 2)
        others, first = truth[:, 1:], truth[:, 0]
        yield f"{path}, another draw", score(others, first, 1), score(others, first, 2)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m soliloquy.training.ksdiff_keyframes_score", description=__doc__
    )
    parser.add_argument("data", type=Path, help="with the folders `train` and `held_out`")
    parser.add_argument("--speech", type=Path, default=speech.WEIGHTS)
    parser.add_argument("--keyframes", type=Path, default=keyframes.WEIGHTS)
    parser.add_argument("--transcript", action="store_true", help="give the transcripts, too")
    given = parser.parse_args(arguments)
    sessions = read_sessions(given.data / "held_out")
    usual = deviations(read_sessions(given.data / "train"))
    encoder = checkpoints.load("ksdiff_speech", given.speech)
    network = checkpoints.load("ksdiff_keyframes", given.keyframes)
    heard = listen(encoder, sessions, np.arange(len(sessions)), 0.0 if given.transcript else 1.0)
    for name, near, far in rows(sessions, usual, network, heard):
        print(f"{name:<32} F1 ±1 {near:.3f}   ±2 {far:.3f}")


if __name__ == "__main__":
    main()
