"""KSDiff's keyframe predictors at work: speech of any length and frame rate → Keyframes.

Stage 2. The sound is cut into windows that are predicted side by side, frame by frame; every window
but the first begins a little earlier, so that it knows what happened before. What a seed draws
belongs to the frames and not to the windows.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from .. import checkpoints
from ..payloads import KEYFRAME_PATHS, Keyframes, Speech, Timeline
from .energy_peaks import rate_factor
from .establish import APART, keep_apart
from .predictor import BEGIN, KeyframePredictor, KeyframePredictors

WEIGHTS = Path(__file__).resolve().parents[2] / "weights" / "ksdiff_keyframes.safetensors"
FRAME_RATE = 25  # frames per second inside the system
REFRACTORY = round(APART * FRAME_RATE)  # frames between two keyframes of one path, at least
WINDOW, WARM_UP = 100, 25  # frames that a window says, and that it begins earlier
BATCH = 75  # windows predicted side by side: 5 minutes
VARIETY = 0.15  # of the logistic noise on the logits, by which seeds differ
ROUNDS = 2  # of finding the threshold for a rate that is asked for
OnStep = Callable[[int, int], None]


class KSDiffKeyframeModel:
    """Speech with the streams "expression", "pose" and "text" -> keyframes of both paths."""

    def __init__(self, network: KeyframePredictors, device: str | torch.device = "cpu") -> None:
        self.network = network.to(device)
        self.device = torch.device(device)

    def predict(
        self,
        speech: Speech,
        seed: int = 0,
        *,
        rate: float | None = None,
        on_step: OnStep | None = None,
    ) -> Keyframes:
        """Which frames matter.

        Args:
            speech: of the KSDiff speech encoder.
            seed: another one marks somewhat other frames.
            rate: expression keyframes/s on average, those of the pose in proportion; by default as
                many as the faces had that this was trained on.
            on_step: called with (batches of windows done, in total).

        Raises:
            PayloadError: a stream is missing or the rate is impossible.
        """
        usual = float(self.network.path("expression").rate)
        factor = rate_factor(rate, usual)
        timeline = speech.timeline
        text = at_frame_rate(speech.stream("text", "KSDiff's keyframes"), timeline)
        rounds = 1 if factor == 1 else 1 + ROUNDS
        report = _counter(on_step, rounds * len(KEYFRAME_PATHS) * batches(len(text)))
        marks = {}
        for path in KEYFRAME_PATHS:
            stream = at_frame_rate(speech.stream(path, "KSDiff's keyframes"), timeline)
            noise = VARIETY * logistic_noise(len(stream), seed, path)
            found = self.mark(path, stream, text, noise, factor=factor, on_batch=report)
            marks[path] = on_timeline(found, timeline)
        strength = {path: found.float() for path, found in marks.items()}
        return Keyframes(marks=marks, strength=strength, timeline=timeline)

    @torch.no_grad()
    def mark(
        self,
        path: str,
        stream: Tensor,
        text: Tensor,
        noise: Tensor | None = None,
        *,
        factor: float = 1.0,
        on_batch: Callable[[], None] | None = None,
    ) -> Tensor:
        """Marks `[T]` of one path at 25 frames/s.

        Args:
            path: "expression" or "pose".
            stream: `[T, D]`, that path's speech.
            text: `[T, D]`.
            noise: `[T]`, added to the logits; none by default.
            factor: how many times as many keyframes as usual.
            on_batch: called after each batch of windows.
        """
        network = self.network.path(path)
        noise = torch.zeros(len(stream)) if noise is None else noise
        threshold = float(network.threshold)
        marks, logits = self._mark(network, stream, text, noise, threshold, on_batch)
        wanted = factor * float(marks.sum())
        for _ in range(ROUNDS if factor != 1 else 0):
            threshold = threshold_for(wanted, marks, logits, threshold)
            marks, logits = self._mark(network, stream, text, noise, threshold, on_batch)
        return keep_apart(marks, logits, REFRACTORY)  # where two windows meet

    def _mark(
        self,
        network: KeyframePredictor,
        stream: Tensor,
        text: Tensor,
        noise: Tensor,
        threshold: float,
        on_batch: Callable[[], None] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Marks and logits `[T]`: all windows, a batch at a time."""
        marks = torch.zeros(len(stream), dtype=torch.bool)
        logits = torch.full((len(stream),), float("-inf"))
        starts = window_starts(len(stream))
        for group in (starts[i : i + BATCH] for i in range(0, len(starts), BATCH)):
            index = torch.tensor(group)[:, None] + torch.arange(WINDOW + WARM_UP)
            index = index.clamp(max=len(stream) - 1)  # the last frame goes on
            seen = network.look(stream[index].to(self.device), text[index].to(self.device))
            said, heights = decode(network, seen, noise[index].to(self.device), threshold)
            for row, start in enumerate(group):
                kept = WARM_UP if start else 0
                last = min(start + WINDOW + WARM_UP, len(stream))
                marks[start + kept : last] = said[row, kept : last - start].cpu()
                logits[start + kept : last] = heights[row, kept : last - start].cpu()
            if on_batch:
                on_batch()
        return marks, logits


def decode(
    network: KeyframePredictor, seen: Tensor, noise: Tensor, threshold: float
) -> tuple[Tensor, Tensor]:
    """Frame by frame, each window by itself: marks `[B, T]` bool and logits `[B, T]`.

    A frame is marked when it is above the threshold, not too close to the last mark, and the next
    one would not be likelier still. So the next frame is asked before it is decided.

    Args:
        network: of one path.
        seen: `[B, T, C]`, what its `look` returned.
        noise: `[B, T]`, added to the logits.
        threshold: a logit.
    """
    batch, frames, _ = seen.shape
    memory, biases = network.empty_memory(batch, seen), network.biases(seen.device)
    unmarked = torch.zeros(batch, dtype=torch.int64, device=seen.device)
    previous, rest = unmarked + BEGIN, unmarked.clone()  # rest: frames without a mark to come
    marks, logits = [], []
    logit, memory = network.step(seen[:, 0], previous, memory, biases)
    logit = logit + noise[:, 0]
    for frame in range(frames):
        mark = (logit > threshold) & (rest == 0)
        if frame + 1 < frames:
            following, _ = network.step(seen[:, frame + 1], unmarked, memory, biases)
            mark &= logit >= following + noise[:, frame + 1]
        marks.append(mark)
        logits.append(logit)
        rest = torch.where(mark, REFRACTORY - 1, (rest - 1).clamp(min=0))
        if frame + 1 < frames:
            logit, memory = network.step(seen[:, frame + 1], mark.long(), memory, biases)
            logit = logit + noise[:, frame + 1]
    return torch.stack(marks, dim=1), torch.stack(logits, dim=1)


def threshold_for(wanted: float, marks: Tensor, logits: Tensor, threshold: float) -> float:
    """A threshold that marks about `wanted` frames, from what another one marked.

    As many maxima of the logits lie above it, times how many of those the other one marked.
    """
    inside = logits[1:-1]
    top = torch.zeros_like(marks)
    top[1:-1] = (inside >= logits[:-2]) & (inside >= logits[2:])
    heights = logits[keep_apart(top, logits, REFRACTORY)].sort(descending=True).values
    share = float((heights > threshold).sum()) / max(int(marks.sum()), 1) or 1.0
    last = min(round(wanted * share), len(heights)) - 1
    if last < 0:
        return float(logits.max()) if wanted < 0.5 else threshold
    return float(heights[last]) - 1e-4


def window_starts(frames: int) -> list[int]:
    """Where windows begin; the first says all of its frames, others what comes after a warm-up."""
    return [WINDOW * i for i in range(max(ceil((frames - WARM_UP) / WINDOW), 1))]


def batches(frames: int) -> int:
    """How many batches of windows that many frames take."""
    return ceil(len(window_starts(frames)) / BATCH)


def logistic_noise(frames: int, seed: int, path: str) -> Tensor:
    """One draw per frame and path, `[T]`; with it a threshold becomes a draw by probability."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(KEYFRAME_PATHS.index(path) + 1):
        drawn = torch.rand(frames, generator=generator, dtype=torch.float64)
    return torch.logit(drawn.clamp(1e-6, 1 - 1e-6)).float()


def at_frame_rate(stream: Tensor, timeline: Timeline) -> Tensor:
    """A stream `[T, D]` of the timeline at 25 frames/s, linearly interpolated."""
    fps, frames = float(timeline.fps), max(ceil(timeline.seconds * FRAME_RATE - 1e-6), 1)
    centres = (torch.arange(frames, dtype=torch.float64) + 0.5) / FRAME_RATE
    place = (centres * fps - 0.5).clamp(0, len(stream) - 1)
    before = place.floor().long()
    after = (before + 1).clamp(max=len(stream) - 1)
    return stream[before].lerp(stream[after], (place - before).float()[:, None])


def on_timeline(marks: Tensor, timeline: Timeline) -> Tensor:
    """Marks at 25 frames/s on the frames of the timeline that show those moments, `[T]` bool."""
    moments = (marks.nonzero()[:, 0].double() + 0.5) / FRAME_RATE
    frames = (moments * float(timeline.fps)).floor().long().clamp(max=timeline.num_frames - 1)
    result = torch.zeros(timeline.num_frames, dtype=torch.bool)
    result[frames] = True
    return result


def _counter(on_step: OnStep | None, total: int) -> Callable[[], None]:
    done = 0

    def report() -> None:
        nonlocal done
        done += 1
        if on_step:
            on_step(done, total)

    return report


def load(
    device: str | torch.device = "cpu",
    path: str | Path | None = None,
    operations: ModuleType | Any = nn,
) -> KSDiffKeyframeModel:
    """The bundled predictors, or those with the weights at `path`."""
    return KSDiffKeyframeModel(
        checkpoints.load("ksdiff_keyframes", path or WEIGHTS, operations), device
    )
