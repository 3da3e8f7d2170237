"""The bundled starter, from nothing to weights.

    python -m soliloquy.training.starter synthesise FOLDER --hours 10   # 5 minutes
    python -m soliloquy.training.starter train FOLDER                   # two CPU cores

`weights/starter_speech.md` tells which Debian packages bring the voices and what the result scores.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..models import checkpoints
from ..models.motion.arkit import INDEX
from ..models.motion.rig import load_rig
from ..models.motion.starter import StarterMotion, StarterMotionConfig
from ..models.speech.starter import StarterSpeech, StarterSpeechConfig
from . import synthesis
from .loop import Log, LoopConfig, train
from .phones import PHONES
from .speech_data import Batch, batches, read_corpus
from .visemes import LIP_CHANNELS, lip_weights

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"


@dataclass(frozen=True, kw_only=True)
class StarterRecipe:
    """Everything that decides what comes out."""

    speech: StarterSpeechConfig = field(default_factory=StarterSpeechConfig)
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(steps=3000))
    batch: int = 8  # crops of 5.12 s
    seed: int = 0
    track_weight: float = 1.0  # of the error in aperture and width as the rig shows them
    correlation_weight: float = 0.1  # of 1 - r in both
    phone_weight: float = 0.05  # of the auxiliary phone classifier
    contrast: float = 1.3  # of the lips' movements in the end, see `restore_contrast`
    corpus: Path = Path("corpus")  # what `synthesise` wrote

    def run(self, folder: Path, on_log: Log | None = None) -> None:
        """Train from the beginning and leave the two weight files in `folder`."""
        save(train_starter(read_corpus(self.corpus), self, on_log), folder, self)


class Starter(nn.Module):
    """The two networks as they train together, with a phone classifier that is thrown away."""

    def __init__(self, speech: StarterSpeechConfig) -> None:
        super().__init__()
        self.speech = StarterSpeech(speech)
        channels = StarterMotionConfig(features=speech.features, channels=LIP_CHANNELS)
        self.motion = StarterMotion(channels)
        self.phones = nn.Linear(speech.width, len(PHONES))

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Lip weights `[B, T, 20]` and phone scores `[B, T, P]` for a spectrum `[B, 2T, 80]`."""
        hidden = self.speech.hidden(seen)
        return self.motion.lips(self.speech.out(hidden)), self.phones(hidden)


def lip_gauges() -> Tensor:
    """How much each lip channel adds to the rig's inner-lip gap and to its lip width, `[20, 2]`."""
    basis = load_rig().basis[[INDEX[name] for name in LIP_CHANNELS]]
    gap = basis[:, 66, 1] - basis[:, 62, 1]
    width = basis[:, 54, 0] - basis[:, 48, 0]
    return torch.stack([gap, width], -1) / torch.stack([gap.abs().max(), width.abs().max()])


def starter_loss(
    network: Starter, batch: Batch, recipe: StarterRecipe
) -> tuple[Tensor, dict[str, float]]:
    """Error in the weights, in opening and width of the lips, their correlation, the phones."""
    wanted = torch.from_numpy(lip_weights(batch.track.cpu().numpy())).to(batch.track.device)
    weights, scores = network(batch.seen)
    gauges = lip_gauges().to(weights.device)
    wanted_gauge, gauge = wanted @ gauges, weights @ gauges
    weight_error = (weights - wanted).square().mean() * 20
    track_error = (gauge - wanted_gauge).square().mean() * 4
    miss = 1 - correlation(gauge, wanted_gauge).mean()
    phone_error = functional.cross_entropy(scores.flatten(0, 1), batch.phones.flatten())
    value = (
        weight_error
        + recipe.track_weight * track_error
        + recipe.correlation_weight * miss
        + recipe.phone_weight * phone_error
    )
    parts = {"weights": weight_error, "track": track_error, "miss": miss, "phones": phone_error}
    return value, {name: float(part.detach()) for name, part in parts.items()}


def correlation(guess: Tensor, truth: Tensor) -> Tensor:
    """Pearson's r over time of `[B, T, D]`: `[B, D]`; silent crops count for nothing."""
    guess, truth = guess - guess.mean(1, keepdim=True), truth - truth.mean(1, keepdim=True)
    spread = (guess.square().mean(1) + 1e-4).sqrt() * (truth.square().mean(1) + 1e-4).sqrt()
    return (guess * truth).mean(1) / spread


def train_starter(
    corpus: dict[str, list[synthesis.Utterance]], recipe: StarterRecipe, on_log: Log | None = None
) -> Starter:
    """Train on a corpus; returns the averaged networks."""
    torch.manual_seed(recipe.seed)
    network = Starter(recipe.speech)
    data = batches(corpus, recipe.batch, recipe.seed)
    average = train(network, data, lambda n, b: starter_loss(n, b, recipe), recipe.loop, on_log)
    restore_contrast(average, data, recipe.contrast)
    return average


@torch.no_grad()
def restore_contrast(network: Starter, data: Iterator[Batch], contrast: float) -> None:
    """Widen the movements of the lips around their mean, in place.

    A least-squares guess with correlation r to the truth has only r times its deviation: the mean
    of all that lips may do moves less than lips. `contrast` is about 1 / r.
    """
    lips = network.motion.lips
    guesses = torch.cat([network(next(data).seen)[0].flatten(0, 1) for _ in range(16)])
    lips.bias.copy_(guesses.mean(0) + contrast * (lips.bias - guesses.mean(0)))
    lips.weight.mul_(contrast)


def save(network: Starter, folder: Path, recipe: StarterRecipe) -> None:
    """Write `starter_speech.safetensors` and `starter_motion.safetensors`."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {"recipe": repr(recipe)}
    speech, motion = network.speech, network.motion
    checkpoints.save(speech, folder / "starter_speech.safetensors", asdict(speech.config), **told)
    checkpoints.save(motion, folder / "starter_motion.safetensors", asdict(motion.config), **told)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m soliloquy.training.starter", description=__doc__
    )
    parser.add_argument("action", choices=("synthesise", "train"))
    parser.add_argument("folder", type=Path, help="where the synthesised speech lies")
    parser.add_argument("--hours", type=float, default=10.0, help="of speech to synthesise")
    parser.add_argument("--steps", type=int, default=StarterRecipe().loop.steps)
    parser.add_argument("--output", type=Path, default=WEIGHTS, help="folder for the weights")
    given = parser.parse_args(arguments)
    if given.action == "synthesise":
        synthesis.synthesise(given.folder, hours=given.hours)
        return
    recipe = StarterRecipe(loop=LoopConfig(steps=given.steps))
    network = train_starter(read_corpus(given.folder), recipe, report)
    save(network, given.output, recipe)


def report(step: int, parts: dict[str, float], network: nn.Module) -> None:
    """One line per log."""
    print(
        f"step {step}: " + ", ".join(f"{name} {value:.3f}" for name, value in parts.items()),
        flush=True,
    )


if __name__ == "__main__":
    main()
