"""Keyframe establishment learning: what counts as a keyframe, and predictors that learn it.

The speech encoder is frozen here; `training/ksdiff.py` trains it. Source of the idea: KSDiff
(Lyu et al. 2025), which publishes neither the loss nor how exposure bias is met; both are ours.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import checkpoints
from ..models.keyframes.establish import MARKED_WEIGHTS, SMOOTHING, deviation, peaks, speed
from ..models.keyframes.ksdiff import decode
from ..models.keyframes.predictor import BEGIN, KeyframePredictors, PredictorConfig
from ..models.speech.dual_path import DualPathSpeech
from .ksdiff_data import FRAME_RATE, FRAMES, Sessions, read_sessions
from .loop import Log, LoopConfig, is_main_process, train

PATHS = {"expression": list(MARKED_WEIGHTS), "pose": list(range(52, 59))}
APART = 3.0  # frames
SOFT = 0.5  # target of the frames beside a keyframe: 40 ms are hardly seen
HEAVIEST = 10.0  # weight of a keyframe over a frame that is none


@dataclass(frozen=True, kw_only=True)
class KeyframeRecipe:
    """Everything that decides what comes out."""

    data: Path = Path("ksdiff_data")
    speech: Path = Path("ksdiff_speech.safetensors")
    predictor: PredictorConfig = field(default_factory=lambda: PredictorConfig(width=96, layers=2))
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(steps=1500, learning_rate=1e-3, warmup=100)
    )
    batch: int = 12  # windows
    window: int = 192  # frames
    sessions: int = 600  # of the data, whose speech streams are kept in memory
    seed: int = 0
    replaced: float = 0.15  # share of the marks so far that are the network's own
    without_text: float = 0.5
    rounds: int = 8  # of halving the interval in which the threshold lies

    def run(self, folder: Path, on_log: Log | None = None) -> None:
        """Train, or go on, and leave `ksdiff_keyframes.safetensors` in `folder`."""
        torch.manual_seed(self.seed)
        sessions = read_sessions(self.data / "train")
        strength = mark_sessions(sessions, self.data / "train")
        encoder = checkpoints.load("ksdiff_speech", self.speech)
        chosen = np.flatnonzero(sessions.frames == FRAMES)[: self.sessions]
        streams = listen(encoder, sessions, chosen, self.without_text)
        marks = torch.from_numpy(strength[chosen] > 0)
        network = KeyframePredictors(self.predictor)
        windows = MarkedSpeech(self, streams, marks)
        average = train(
            network,
            windows.batch,
            lambda n, b: keyframe_loss(n, b, self.replaced),
            self.loop,
            on_log,
            folder=folder / "keyframes",  # beside a run of `ksdiff` in the same folder
        )
        if not is_main_process():
            return
        calibrate(average, streams[:32], marks[:32], self.rounds)
        config = asdict(self.predictor)
        checkpoints.save(
            average, folder / "ksdiff_keyframes.safetensors", config, recipe=repr(self.loop)
        )


def mark_sessions(sessions: Sessions, folder: Path | None = None) -> np.ndarray:
    """Strength of the true keyframes of every session and draw, `[N, DRAWS, T, 2]` float16.

    With a folder they are kept there, and read if they fit.
    """
    path = folder / "marks.npy" if folder else None
    shape = (*sessions.motion.shape[:3], 2)
    if path and path.exists():
        kept = np.load(path)
        if kept.shape == shape:
            return kept
    strength = np.zeros(shape, np.float16)
    usual = deviations(sessions)
    for index, draw in np.ndindex(*shape[:2]):
        real = sessions.frames[index]
        motion = torch.from_numpy(sessions.motion[index, draw, :real]).float()
        strength[index, draw, :real] = marks_of(motion, usual).numpy()
    if path:
        unfinished = path.with_suffix(f".{os.getpid()}.npy")
        np.save(unfinished, strength)
        unfinished.replace(path)
    return strength


def deviations(sessions: Sessions) -> dict[str, Tensor]:
    """How much each coefficient of each path changes from frame to frame."""
    some = torch.from_numpy(sessions.motion[:: max(1, len(sessions) // 100)]).float()
    return {path: deviation(some[..., columns]) for path, columns in PATHS.items()}


def marks_of(motion: Tensor, usual: dict[str, Tensor]) -> Tensor:
    """Strength of the keyframes of `motion [T, 59]`, expression and pose: `[T, 2]`."""
    found = []
    for path, columns in PATHS.items():
        sigma = SMOOTHING[path] * FRAME_RATE
        found.append(peaks(speed(motion[:, columns], usual[path], sigma), APART)[1])
    return torch.stack(found, 1)


@torch.no_grad()
def listen(
    encoder: DualPathSpeech, sessions: Sessions, chosen: np.ndarray, without_text: float
) -> Tensor:
    """What the frozen encoder hears in some sessions: expression, pose, text, `[N, 3, T, D]` half.

    Every so often it is not told the text.
    """
    source = np.random.default_rng(0)
    heard = []
    for index in chosen:
        features, prosody, text, times = (
            torch.from_numpy(array[index : index + 1])
            for array in (sessions.features, sessions.prosody, sessions.text, sessions.times)
        )
        said = text.long() * int(source.random() >= without_text)
        found = encoder(features.float(), prosody.float(), said, times)
        heard.append(torch.cat([found.expression, found.pose, found.text]).half())
    return torch.stack(heard)


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Windows of speech and their keyframes."""

    streams: Tensor  # [B, 3, T, D] expression, pose, text
    marks: Tensor  # [B, T, 2] bool
    before: Tensor  # [B, 2] int64, the marks of the frame before the window; 2 where it begins


class MarkedSpeech:
    """Batches by number: all that is random in them follows from the number."""

    def __init__(self, recipe: KeyframeRecipe, streams: Tensor, marks: Tensor) -> None:
        self.recipe, self.streams, self.marks = recipe, streams, marks

    def batch(self, number: int) -> Batch:
        """Batch `number`; windows begin anywhere, one in eight where the sound begins."""
        recipe = self.recipe
        source = np.random.default_rng([recipe.seed, number])
        streams, marks, before = [], [], []
        for _ in range(recipe.batch):
            index, drawn = (int(source.integers(size)) for size in self.marks.shape[:2])
            start = int(source.integers(FRAMES - recipe.window + 1))
            start = start if source.random() > 1 / 8 else 0
            streams.append(self.streams[index, :, start : start + recipe.window].float())
            found = self.marks[index, drawn]
            marks.append(found[start : start + recipe.window])
            before.append(found[start - 1].long() if start else torch.full((2,), BEGIN))
        return Batch(
            streams=torch.stack(streams), marks=torch.stack(marks), before=torch.stack(before)
        )


def keyframe_loss(
    network: nn.Module, batch: Batch, replaced: float
) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy of both paths, some of the marks so far being the network's own."""
    total, parts = batch.streams.new_zeros(()), {}
    for index, path in enumerate(PATHS):
        speech, text, marks = batch.streams[:, index], batch.streams[:, 2], batch.marks[..., index]
        previous = torch.cat([batch.before[:, index, None], marks[:, :-1].long()], dim=1)
        with torch.no_grad():
            likely = network(path, speech, previous, text).sigmoid()
            share = marks.float().mean().clamp(min=0.01)
            weight = ((1 - share) / share).clamp(max=HEAVIEST)
            # What the weights below do to the logits is taken back, so that draws are as rare.
            odds = likely / (1 - likely).clamp(min=1e-4) / weight
            drawn = torch.bernoulli(odds / (1 + odds))[:, :-1].long()
            swapped = torch.rand(drawn.shape).to(speech) < replaced
            previous[:, 1:] = torch.where(swapped, drawn, previous[:, 1:])
        logits = network(path, speech, previous, text)
        value = F.binary_cross_entropy_with_logits(logits, softened(marks), pos_weight=weight)
        total = total + value
        parts[path] = float(value.detach())
    return total, {"loss": float(total.detach()), **parts}


def softened(marks: Tensor) -> Tensor:
    """Targets `[B, T]`: 1 on keyframes, a half beside them."""
    near = F.max_pool1d(marks.float()[:, None], 3, stride=1, padding=1)[:, 0]
    return torch.maximum(marks.float(), SOFT * near)


@torch.no_grad()
def calibrate(network: KeyframePredictors, streams: Tensor, marks: Tensor, rounds: int = 8) -> None:
    """Set each path's rate to the data's and its threshold to the one that gives that rate.

    Args:
        network: of both paths.
        streams: `[N, 3, T, D]`.
        marks: `[N, DRAWS, T, 2]` bool.
        rounds: of halving the interval of 12 logits.
    """
    for index, path in enumerate(PATHS):
        predictor = network.path(path)
        wanted = float(marks[..., index].float().mean())
        seen = predictor.look(streams[:, index].float(), streams[:, 2].float())
        low, high = -6.0, 6.0
        for _ in range(rounds):
            middle = (low + high) / 2
            found, _ = decode(predictor, seen, seen.new_zeros(seen.shape[:2]), middle)
            low, high = (middle, high) if float(found.float().mean()) > wanted else (low, middle)
        predictor.threshold.fill_((low + high) / 2)
        predictor.rate.fill_(wanted * FRAME_RATE)
