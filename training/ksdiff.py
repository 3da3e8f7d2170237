"""KSDiff's recipe: the dual-path speech encoder and both denoisers together, keyframes after them.

    python -m soliloquy.training.starter synthesise CORPUS --hours 10
    python -m soliloquy.training.ksdiff_data CORPUS DATA
    python -m soliloquy train ksdiff --set data=DATA -o FOLDER
    python -m soliloquy train ksdiff_keyframes --set data=DATA --set speech=FOLDER/… -o FOLDER

Denoisers learn with the true keyframes, some of them dropped or a frame off, because what they are
given later is a prediction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..models import checkpoints
from ..models.motion.ksdiff import CHANNELS, KSDiff, PathConfig, PathDenoiser, schedule
from ..models.speech.dual_path import DualPathConfig, DualPathSpeech, Heard
from . import ksdiff_losses as losses
from .ksdiff_data import LIPS, Sessions, read_sessions
from .ksdiff_keyframes import mark_sessions
from .loop import Log, LoopConfig, is_main_process, recorded, train

WINDOW = 100  # frames, 4 s
REST = 10  # frames of the portrait as it is, which the first window of a sound goes on from
PATHS = {"expression": slice(0, 52), "pose": slice(52, 59)}
RIDGE = 0.1  # of the readout of the lips, per row of speech whose features deviate by about 1


@dataclass(frozen=True, kw_only=True)
class KSDiffRecipe:
    """Everything that decides what comes out."""

    data: Path = Path("ksdiff_data")
    speech: DualPathConfig = field(default_factory=DualPathConfig)
    expression: PathConfig = field(default_factory=lambda: PathConfig(readout=True))
    pose: PathConfig = field(default_factory=lambda: PathConfig(channels=7, width=96, band=12))
    both: PathConfig = field(
        default_factory=lambda: PathConfig(
            channels=59, speech=256, band=12, keyframes=2, readout=True
        )
    )
    dual: bool = True  # False: one denoiser, `both`, for expression and pose
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(steps=5000, learning_rate=1.5e-3))
    batch: int = 16  # windows of 4 s
    seed: int = 0
    velocity: float = 0.2  # weights of the terms of the loss
    spectral: float = 0.05
    dynamics: float = 0.1
    lips: float = 2.0
    miss: float = 1.0
    emphasis: float = 1.0  # of frames around keyframes
    noise_floor: float = 0.7  # least weight of position and velocity, in the noisiest steps
    dropped_keyframes: float = 0.1
    moved_keyframes: float = 0.05
    without_keyframes: float = 0.25
    without_speech: float = 0.1
    without_text: float = 0.4  # most users give none
    from_rest: float = 0.08  # share of windows that begin where the sound begins
    trust: float = 0.7  # share of the linear readout in the lips, see `fit_readout`
    lip_contrast: float = 1.25  # of the movements in the end, see `widen`
    head_contrast: float = 1.8

    def run(self, folder: Path, on_log: Log | None = None) -> None:
        """Train, or go on, and leave `ksdiff_speech` and `ksdiff_motion` in `folder`."""
        torch.manual_seed(self.seed)
        sessions = read_sessions(self.data / "train")
        network = build(self, sessions)
        windows = Windows(self, sessions)
        average = train(
            network,
            windows.batch,
            lambda n, b: ksdiff_loss(n, b, self),
            self.loop,
            on_log,
            folder=folder,
        )
        if is_main_process():
            finish(average, sessions, self)
            save(average, folder, self)


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Windows of 4 s; keyframe strengths below 0 mean that nobody said."""

    features: Tensor  # [B, 2T, 192]
    prosody: Tensor  # [B, 2T, 2]
    text: Tensor  # [B, L] int64, 0 pads
    times: Tensor  # [B, L]
    motion: Tensor  # [B, T, 59]
    marks: Tensor  # [B, T, 2] strength of the true keyframes, expression and pose
    strength: Tensor  # [B, T, 2] what the denoiser is told
    heard: Tensor  # [B] bool
    known: Tensor  # [B, T] bool


class Windows:
    """Batches by number: all that is random in them follows from the number."""

    def __init__(
        self, recipe: KSDiffRecipe, sessions: Sessions, folder: Path | None = None
    ) -> None:
        self.recipe, self.sessions = recipe, sessions
        self.marks = mark_sessions(sessions, folder or recipe.data / "train")
        self.long = np.flatnonzero(sessions.frames >= WINDOW)

    def batch(self, number: int) -> Batch:
        """Batch `number`."""
        source = np.random.default_rng([self.recipe.seed, number])
        rows = [self.window(source) for _ in range(self.recipe.batch)]
        longest = max(len(row["text"]) for row in rows)
        for row in rows:
            row["text"] = np.pad(row["text"], (0, longest - len(row["text"])))
            row["times"] = np.pad(row["times"], (0, longest - len(row["times"])))
        stacked = {
            name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]
        }
        return Batch(**stacked)

    def window(self, source: np.random.Generator) -> dict[str, np.ndarray]:
        """One window; some go on from the portrait at rest, as the first one of a sound does."""
        sessions, recipe = self.sessions, self.recipe
        index = int(source.choice(self.long))
        drawn = int(source.integers(sessions.motion.shape[1]))
        known = known_frames(source)
        start = int(source.integers(sessions.frames[index] - WINDOW + 1))
        if source.random() < recipe.from_rest:
            start, known = -REST, REST
        frames = np.arange(start, start + WINDOW)
        held = frames.clip(min=0)
        heard = (2 * held[:, None] + np.arange(2)).ravel()
        before = frames[:, None] < 0
        times = sessions.times[index] - start
        said = (times >= 0) & (times < WINDOW) & (sessions.text[index] > 0)
        said &= source.random() >= recipe.without_text
        marks = np.where(before, 0, self.marks[index, drawn, held]).astype(np.float32)
        return {
            "features": sessions.features[index, heard].astype(np.float32),
            "prosody": sessions.prosody[index, heard].astype(np.float32),
            "text": sessions.text[index][said].astype(np.int64),
            "times": (times[said] + source.normal(0, 3)).astype(np.float32),
            "motion": np.where(before, 0, sessions.motion[index, drawn, held]).astype(np.float32),
            "marks": marks,
            "strength": self.told(marks, source),
            "heard": np.array(source.random() >= recipe.without_speech),
            "known": np.arange(WINDOW) < known,
        }

    def told(self, marks: np.ndarray, source: np.random.Generator) -> np.ndarray:
        """Keyframes as a predictor might have them, or −1 everywhere."""
        recipe = self.recipe
        told = np.zeros_like(marks)
        for path in range(2):
            if source.random() < recipe.without_keyframes:
                told[:, path] = -1
                continue
            for frame in np.flatnonzero(marks[:, path]):
                if source.random() < recipe.dropped_keyframes:
                    continue
                off = source.choice((-1, 1)) if source.random() < recipe.moved_keyframes else 0
                told[np.clip(frame + off, 0, WINDOW - 1), path] = marks[frame, path]
        return told


def known_frames(source: np.random.Generator) -> int:
    """How many frames at the beginning of a window are known: none, 10, or any number to 16."""
    kind = source.random()
    if kind < 0.4:
        return 0
    return 10 if kind < 0.9 else int(source.integers(1, 17))


class Joint(nn.Module):
    """Everything that is trained together; Accelerate needs it to be called as one."""

    alphas: Tensor

    def __init__(self, speech: DualPathSpeech, motion: KSDiff) -> None:
        super().__init__()
        self.speech, self.motion = speech, motion
        self.register_buffer("alphas", schedule().alphas, persistent=False)

    def forward(
        self, batch: Batch, timestep: Tensor, noise: Mapping[str, Tensor]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Per path the guess and the truth, standardised, of motion with noise."""
        heard = self.speech(batch.features, batch.prosody, batch.text, batch.times)
        alpha = self.alphas[timestep][:, None, None]
        results = {}
        for name in self.motion.configs:
            path = self.motion.path(name)
            truth = path.standardise(motion_of(batch.motion, name))
            noisy = alpha.sqrt() * truth + (1 - alpha).sqrt() * noise[name]
            noisy = torch.where(batch.known[..., None], truth, noisy)
            guess = path(
                noisy,
                timestep,
                speech_of(heard, name),
                strength_of(batch.strength, name) if path.config.keyframes else None,
                heard.text if path.config.transcript else None,
                heard=batch.heard,
                known=batch.known,
            )
            results[name] = (guess, truth)
        return results


def motion_of(motion: Tensor, path: str) -> Tensor:
    """The coefficients of a path out of all 59."""
    return motion[..., PATHS.get(path, slice(0, 59))]


def speech_of(heard: Heard, path: str) -> Tensor:
    """The stream that a path listens to."""
    if path == "both":
        return torch.cat([heard.expression, heard.pose], dim=-1)
    return heard.pose if path == "pose" else heard.expression


def strength_of(strength: Tensor, path: str) -> Tensor:
    """The keyframes that a path is told."""
    return strength if path == "both" else strength[..., list(PATHS).index(path)]


def build(recipe: KSDiffRecipe, sessions: Sessions) -> Joint:
    """New networks, with the mean and deviation of the data."""
    paths = {"expression": recipe.expression, "pose": recipe.pose}
    motion = KSDiff(paths if recipe.dual else {"both": recipe.both})
    values = torch.from_numpy(sessions.motion[:: max(1, len(sessions) // 200)]).float()
    mean, deviation = values.mean((0, 1, 2)), values.std((0, 1, 2)).clamp(min=0.01)
    for name in motion.configs:
        path = motion.path(name)
        path.mean.copy_(motion_of(mean, name))
        path.deviation.copy_(motion_of(deviation, name))
    return Joint(DualPathSpeech(recipe.speech), motion)


def ksdiff_loss(
    network: nn.Module, batch: Batch, recipe: KSDiffRecipe
) -> tuple[Tensor, dict[str, float]]:
    """All terms for all paths, at random amounts of noise."""
    alphas = schedule().alphas.to(batch.motion.device)
    clips = len(batch.motion)
    timestep = torch.randint(0, len(alphas), (clips,)).to(batch.motion.device)
    shape = batch.motion.shape[:2]
    names = ("expression", "pose") if recipe.dual else ("both",)
    noise = {
        name: torch.randn(*shape, {**CHANNELS, "both": 59}[name]).to(batch.motion) for name in names
    }
    found = network(batch, timestep, noise)
    strong = losses.noise_weight(alphas[timestep])
    firm = losses.noise_weight(alphas[timestep], recipe.noise_floor)
    total, parts = batch.motion.new_zeros(()), {}
    for name, (guess, truth) in found.items():
        near = losses.emphasis(
            (strength_of(batch.marks, name) > 0).float().reshape(*shape, -1).amax(-1),
            recipe.emphasis,
        )
        terms = {
            "position": (1.0, losses.position_loss(guess, truth, near) * firm),
            "velocity": (recipe.velocity, losses.velocity_loss(guess, truth) * firm),
            "spectral": (recipe.spectral, losses.spectral_loss(guess, truth) * strong),
            "dynamics": (recipe.dynamics, losses.dynamics_loss(guess, truth) * strong),
        }
        if name != "pose":
            path = _bare(network).motion.path(name)
            weights = path.restore(guess)[..., :52], path.restore(truth)[..., :52]
            off, miss = losses.lip_loss(*weights)
            terms |= {"lips": (recipe.lips, off * firm), "miss": (recipe.miss, miss * firm)}
        for term, (weight, value) in terms.items():
            total = total + weight * value.mean()
            parts[f"{name} {term}"] = float(value.mean().detach())
    return total, {"loss": float(total.detach()), **parts}


def _bare(network: nn.Module) -> Any:
    """The network inside what Accelerate wraps around it on several GPUs."""
    return getattr(network, "module", network)


@torch.no_grad()
def finish(network: Joint, sessions: Sessions, recipe: KSDiffRecipe) -> None:
    """What follows the training: a linear readout of the lips, and as much movement as there is."""
    for name in network.motion.configs:
        path = network.motion.path(name)
        if path.config.readout:
            heard, wanted = spoken(network, sessions, name)
            fit_readout(path, heard, wanted, recipe.trust)
        if name == "expression":
            widen(path, LIPS, recipe.lip_contrast)
        elif name == "pose":
            widen(path, list(range(path.config.channels)), recipe.head_contrast)


def spoken(network: Joint, sessions: Sessions, name: str) -> tuple[Tensor, Tensor]:
    """The speech `[M, D]` that a path hears without a transcript, and its motion `[M, C]`."""
    heard, wanted = [], []
    for index in range(0, len(sessions), max(1, len(sessions) // 300)):
        real = int(sessions.frames[index])
        features, prosody = (
            torch.from_numpy(array[index : index + 1, : 2 * real]).float()
            for array in (sessions.features, sessions.prosody)
        )
        heard.append(speech_of(network.speech(features, prosody), name)[0])
        wanted.append(motion_of(torch.from_numpy(sessions.motion[index, 0, :real]).float(), name))
    return torch.cat(heard), torch.cat(wanted)


@torch.no_grad()
def fit_readout(path: PathDenoiser, heard: Tensor, wanted: Tensor, trust: float) -> None:
    """Ridge regression of the lips on the speech, in place.

    The denoiser follows synthetic voices better than a linear layer does, and real ones a little
    worse in the lips' width; the mean of both follows real ones best.
    """
    rows = torch.nn.functional.pad(heard, (0, 1), value=1.0).double()
    gram = rows.T @ rows + RIDGE * len(rows) * torch.eye(rows.shape[1], dtype=torch.float64)
    fitted = torch.linalg.solve(gram, rows.T @ path.standardise(wanted).double()).float()
    path.readout.weight.copy_(fitted[:-1].T)
    path.readout.bias.copy_(fitted[-1])
    path.trust.zero_()
    path.trust[LIPS] = trust


def widen(path: PathDenoiser, coefficients: list[int], contrast: float) -> None:
    """Let coefficients move further around their mean: few steps of diffusion move them less."""
    path.deviation[coefficients] *= contrast


def save(network: Joint, folder: Path, recipe: KSDiffRecipe) -> None:
    """Write `ksdiff_speech.safetensors` and `ksdiff_motion.safetensors`."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {"recipe": recorded(recipe)}
    speech, motion = network.speech, network.motion
    checkpoints.save(speech, folder / "ksdiff_speech.safetensors", asdict(speech.config), **told)
    checkpoints.save(motion, folder / "ksdiff_motion.safetensors", motion.config(), **told)
