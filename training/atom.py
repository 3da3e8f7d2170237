"""The small AToM: landmarks that speak, by diffusion, and the rungs of the paper's Table 2.

    python -m soliloquy.training.starter synthesise CORPUS --hours 10
    python -m soliloquy.training.ksdiff_data CORPUS DATA
    python -m soliloquy train atom --set data=DATA -o FOLDER
    python -m soliloquy.training.atom_ladder DATA FOLDER --clips CLIPS   # Table 2

Loss and dropping as in MoDiTalker's program: the clean window is predicted, its velocity counts a
fifth, speech and face are unknown together now and then.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..models import checkpoints
from ..models.motion.atom_small import AToMSmall, AToMSmallConfig
from ..models.motion.rig import load_rig
from ..models.sampling import alphas_cumprod, cosine_betas
from .atom_data import Batch, Speakers, draw_batch, read_speakers
from .loop import Log, LoopConfig, recorded, train

WEIGHTS = "moditalker_motion.safetensors"
SMALLEST = 0.004  # inter-ocular distances: deviations below count as this, or noise would be seen
LIP_CHANNELS = slice(144, 204)


@dataclass(frozen=True, kw_only=True)
class AToMRecipe:
    """Everything that decides what comes out."""

    data: Path = Path("ksdiff_data")
    network: AToMSmallConfig = field(default_factory=AToMSmallConfig)
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(steps=420, learning_rate=2e-3, warmup=60)
    )
    batch: int = 16  # windows of 4 s
    files: int = 60  # of sessions, 5 minutes each
    seed: int = 0
    velocity: float = 0.2  # 1.5 : 7.5
    lips: float = 2.0  # how much more the channels of the lips count
    dropped: float = 0.1  # share of windows without speech and face

    def run(self, folder: Path, on_log: Log | None = None) -> None:
        """Train, or go on, and leave `moditalker_motion.safetensors` in `folder`."""
        torch.manual_seed(self.seed)
        speakers = read_speakers(self.data / "train", self.files)
        network = build(self, speakers)
        average = train(
            network,
            lambda number: self.draw(speakers, number),
            lambda n, b: atom_loss(n, b, self),
            self.loop,
            on_log,
            folder=folder,
        )
        config = asdict(self.network)
        checkpoints.save(average, folder / WEIGHTS, config, recipe=recorded(self))

    def draw(self, speakers: Speakers, number: int) -> Batch:
        """Batch `number`: all that is random in it follows from the number."""
        source = np.random.default_rng([self.seed, number])
        return draw_batch(speakers, self.batch, self.network.frames, source, self.dropped)


def build(recipe: AToMRecipe, speakers: Speakers) -> AToMSmall:
    """A new network that knows the mean and deviation of what it shall say."""
    network = AToMSmall(recipe.network)
    sample = draw_batch(speakers, 64, recipe.network.frames, np.random.default_rng(recipe.seed))
    said = network.standardise(sample.landmarks, sample.first).flatten(0, 1)
    network.mean.copy_(torch.zeros(204) if recipe.network.residual else said.mean(0))
    network.deviation.copy_(said.std(0).clamp(min=SMALLEST))
    network.face.copy_(load_rig().mean_face.flatten())
    return network


def atom_loss(
    network: nn.Module, batch: Batch, recipe: AToMRecipe
) -> tuple[Tensor, dict[str, float]]:
    """Error and velocity error of the clean window, at random amounts of noise."""
    bare: AToMSmall = getattr(network, "module", network)
    alphas = alphas_cumprod(cosine_betas()).to(batch.landmarks)
    clips = len(batch.landmarks)
    timestep = torch.randint(0, len(alphas), (clips,)).to(batch.landmarks.device)
    alpha = alphas[timestep][:, None, None]
    truth = bare.standardise(batch.landmarks, batch.first)
    noise = torch.randn(truth.shape).to(truth)
    noisy = alpha.sqrt() * truth + (1 - alpha).sqrt() * noise
    guess = network(noisy, batch.first, batch.speech, timestep, batch.kept)
    weight = truth.new_ones(204)
    weight[LIP_CHANNELS] = recipe.lips
    weight = weight / weight.mean()
    error = ((guess - truth).square() * weight).mean()
    velocity = ((guess - truth).diff(dim=1).square() * weight).mean()
    lips = (guess - truth)[..., LIP_CHANNELS].square().mean()
    value = error + recipe.velocity * velocity
    parts = {"error": error, "velocity": velocity, "lips": lips}
    return value, {name: float(part.detach()) for name, part in parts.items()}
