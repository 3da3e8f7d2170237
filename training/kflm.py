"""ATL-Diff's landmark generator, our own variant, and the ablations of the paper's table 3.

    python -m soliloquy train kflm --set data=SESSIONS
    python -m soliloquy.training.kflm ablate SESSIONS --seeds 3
    python -m soliloquy.training.kflm borders SOUND …

Sessions are those of KSDiff (`training/ksdiff_data.py`): what the starter's network hears, and how
the lips move to it. Through the rig they become landmarks of faces of many shapes. The voices are
synthesised and have no feelings: what an emotion looks like is laid over by hand
(`EMOTION_WEIGHTS`) and learned from there.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..models import checkpoints
from ..models.motion.arkit import ARKIT52, INDEX
from ..models.motion.atl_diff import ATLDiffMotion, load
from ..models.motion.dual_domain import EMOTIONS, DualDomain, DualDomainConfig
from ..models.motion.kflm import MOUTH
from ..models.motion.rig import Rig, load_rig
from ..models.speech import atl_diff
from ..models.speech.atl_diff import FEATURE_RATE
from ..models.speech.audio import read_sound
from .image_measures import (
    border_speeds,
    landmark_distance,
    mouth_landmark_distance,
    share_below,
)
from .ksdiff_data import FRAME_RATE, LIPS, Sessions, read_sessions
from .loop import Log, LoopConfig, train

NEUTRAL = EMOTIONS.index("neutral")
EMOTION_WEIGHTS: dict[str, dict[str, float]] = {
    "angry": {"browDown": 0.7, "noseSneer": 0.3, "mouthPress": 0.25, "eyeSquint": 0.3},
    "fear": {"browInnerUp": 0.7, "browOuterUp": 0.3, "eyeWide": 0.6, "mouthStretch": 0.3},
    "sad": {"browInnerUp": 0.6, "mouthFrown": 0.45, "eyeSquint": 0.15, "mouthShrugLower": 0.2},
    "contempt": {"mouthSmileLeft": 0.35, "mouthDimpleLeft": 0.4, "browDown": 0.15},
    "happy": {"mouthSmile": 0.5, "cheekSquint": 0.5, "eyeSquint": 0.25, "mouthDimple": 0.1},
    "surprised": {"browInnerUp": 0.7, "browOuterUp": 0.7, "eyeWide": 0.5, "jawOpen": 0.12},
    "disgusted": {"noseSneer": 0.7, "mouthUpperUp": 0.3, "browDown": 0.4, "mouthFrown": 0.2},
    "neutral": {},
}
"""A feeling that lasts as long as the clip, added to what the lips say."""
ABLATIONS: dict[str, dict[str, bool | int]] = {
    "full": {},
    "MLP of the same size": {"kan": False},
    "MLP of the same width": {"kan": False, "hidden": DualDomainConfig.curves},
    "no local domain": {"local_domain": False},
    "no global domain": {"global_domain": False},
}
ABLATION_STEPS = 200
CENTRES = slice(1, None, 2)  # features, 50 a second, at the centres of frames, 25 a second
Batch = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class KFLMRecipe:
    """Everything that decides what comes out."""

    network: DualDomainConfig = field(default_factory=DualDomainConfig)
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(steps=3000, learning_rate=2e-3, warmup=100)
    )
    batch: int = 4
    frames: int = 50  # of a crop, at 25 a second
    seed: int = 0
    mouth_weight: float = 0.8  # of the mouth's error; the whole face's has the rest, as published
    emotional: float = 0.5  # share of crops with another emotion than neutral
    contrast: float = 1.2  # of the movements in the end: a mean guess moves less than faces do
    data: Path = Path("sessions")  # with the folders `train` and `held_out`

    def run(self, folder: Path, on_log: Log | None = None) -> None:
        """Train and leave `atl_diff_landmarks.safetensors` in `folder`."""
        sessions = read_sessions(self.data / "train")
        network = self.train(sessions, folder, on_log)
        network.get_buffer("middle").copy_(middle(network, sessions))
        path = folder / "atl_diff_landmarks.safetensors"
        config = asdict(self.network) | {"contrast": self.contrast}
        checkpoints.save(network, path, config, licence="Apache-2.0")

    def train(
        self, sessions: Sessions, folder: Path | None = None, on_log: Log | None = None
    ) -> DualDomain:
        """The trained network."""
        torch.manual_seed(self.seed)
        network = DualDomain(self.network)
        faces = Faces(load_rig())

        def batches(number: int) -> Batch:
            return draw_batch(sessions, self, faces, number)

        return train(network, batches, self.loss, self.loop, on_log, folder=folder)

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """`0.2 · MSE(all) + 0.8 · MSE(mouth)`, in squared hundredths of inter-ocular distances."""
        found = network(batch["features"], batch["rest"], batch["emotion"], CENTRES)
        error = 1e4 * (found - batch["offsets"]).square()
        face, mouth = error.mean(), error[..., list(MOUTH), :].mean()
        value = (1 - self.mouth_weight) * face + self.mouth_weight * mouth
        parts = {"loss": value, "face": face, "mouth": mouth}
        return value, {name: float(part.detach()) for name, part in parts.items()}


class Faces:
    """Faces at rest of many shapes, made from the rig's own."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.emotions = torch.stack([emotion_weights(name) for name in EMOTIONS])

    def draw(self, generator: torch.Generator) -> Tensor:
        """A face at rest `[68, 3]`: longer or rounder, lips a little open or not."""
        stretch = 1 + 0.06 * torch.randn(3, generator=generator)
        stretch = stretch / stretch[0]  # the unit is the distance between the eyes
        parted = torch.zeros(1, len(ARKIT52))
        if torch.rand(1, generator=generator) < 0.3:
            parted[0, INDEX["jawOpen"]] = 0.15 * torch.rand(1, generator=generator)
        bumps = 0.01 * torch.randn(68, 3, generator=generator)
        return (self.rig.landmarks(parted)[0] + bumps) * stretch

    def offsets(self, lips: Tensor, emotion: int, rest: Tensor) -> Tensor:
        """Landmark offsets `[T, 68, 3]` of lip weights `[T, 20]` said with a feeling."""
        weights = self.emotions[emotion].repeat(len(lips), 1)
        weights[:, LIPS] += lips
        return self.rig.offsets(weights.clamp(0, 1), rest)


def emotion_weights(name: str) -> Tensor:
    """ARKit weights `[52]` of an emotion; a name without a side means both."""
    weights = torch.zeros(len(ARKIT52))
    for stem, value in EMOTION_WEIGHTS[name].items():
        for full in (stem, f"{stem}Left", f"{stem}Right"):
            if full in INDEX:
                weights[INDEX[full]] = value
    return weights


def draw_batch(sessions: Sessions, recipe: KFLMRecipe, faces: Faces, number: int) -> Batch:
    """Crops of random sessions, a face and a feeling each; everything depends on the number."""
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + number)
    source = np.random.default_rng([recipe.seed, number])
    rows: dict[str, list[Tensor]] = {"features": [], "rest": [], "emotion": [], "offsets": []}
    for _ in range(recipe.batch):
        index = int(source.integers(len(sessions)))
        room = max(int(sessions.frames[index]), recipe.frames) - recipe.frames
        start = int(source.integers(room + 1))
        felt = source.random() < recipe.emotional
        emotion = int(source.integers(NEUTRAL)) if felt else NEUTRAL
        rest = faces.draw(generator)
        features, lips = crop(sessions, index, slice(start, start + recipe.frames))
        rows["features"].append(features)
        rows["rest"].append(rest)
        rows["emotion"].append(torch.tensor(emotion))
        rows["offsets"].append(faces.offsets(lips, emotion, rest))
    return {name: torch.stack(values) for name, values in rows.items()}


def crop(sessions: Sessions, index: int, frames: slice) -> tuple[Tensor, Tensor]:
    """Features `[2T, 192]` and lip weights `[T, 20]` of some frames of a session."""
    features = sessions.features[index, 2 * frames.start : 2 * frames.stop]
    lips = sessions.motion[index, 0, frames][:, LIPS]
    return torch.from_numpy(features).float(), torch.from_numpy(lips).float()


@torch.no_grad()
def evaluate(
    network: DualDomain, sessions: Sessions, count: int = 16, seed: int = 7
) -> dict[str, float]:
    """LMD and M-LMD on `count` whole sessions, in hundredths of the inter-ocular distance."""
    faces = Faces(load_rig())
    generator = torch.Generator().manual_seed(seed)
    found = []
    for index in range(0, len(sessions), max(len(sessions) // count, 1)):
        rest, emotion = faces.draw(generator), index % len(EMOTIONS)
        features, lips = crop(sessions, index, slice(0, int(sessions.frames[index])))
        wanted = rest + faces.offsets(lips, emotion, rest)
        moved = network(features[None], rest[None], torch.tensor([emotion]), CENTRES)[0]
        given = rest + moved
        found.append((landmark_distance(given, wanted), mouth_landmark_distance(given, wanted)))
    face, mouth = (100 * sum(column) / len(column) for column in zip(*found, strict=True))
    return {"LMD": float(face), "M-LMD": float(mouth)}


@torch.no_grad()
def middle(network: DualDomain, sessions: Sessions, count: int = 16) -> Tensor:
    """Where the landmarks of neutral speech are on average, `[68, 3]`."""
    rest, neutral = load_rig().mean_face[None], torch.tensor([NEUTRAL])
    chosen = range(min(count, len(sessions)))
    features = [crop(sessions, i, slice(0, int(sessions.frames[i])))[0] for i in chosen]
    moved = [network(heard[None], rest, neutral).mean((0, 1)) for heard in features]
    return torch.stack(moved).mean(0)


def ablate(
    recipe: KFLMRecipe, name: str, seed: int, sessions: Sessions, held_out: Sessions
) -> dict[str, Any]:
    """One row of the table: train a variant with a seed, measure it on held-out speakers."""
    config = replace(recipe.network, **ABLATIONS[name])
    network = replace(recipe, network=config, seed=seed).train(sessions)
    measured = evaluate(network, held_out)
    parameters = sum(p.numel() for p in network.parameters())
    return {"variant": name, "seed": seed, "parameters": parameters, **measured}


def borders(model: ATLDiffMotion, features: Tensor) -> dict[str, float]:
    """How the lips move where the published program has its borders, every second.

    Args:
        model: the generator.
        features: of one sound, `[N, 192]` at 50 Hz, at least two seconds.

    Returns:
        For the sound as a whole and for seconds apart, as the published program generates them:
        the share of borders at which the lips are no faster than in 95 % of all frames, the mean
        speed at borders in mean speeds of all frames, and the share of frames that are slower.
    """
    rest = load_rig().mean_face
    apart = [model.offsets(second, rest) for second in features.split(FEATURE_RATE)]
    places = torch.arange(FRAME_RATE, len(features) // 2, FRAME_RATE)
    found = {}
    for name, offsets in (("whole", model.offsets(features, rest)), ("apart", torch.cat(apart))):
        speeds, everywhere = border_speeds(offsets[CENTRES], places)
        found[f"{name}, within 95 %"] = share_below(speeds, everywhere)
        found[f"{name}, speed"] = float(speeds.mean() / everywhere.mean())
        found[f"{name}, slower frames"] = float((everywhere < speeds.mean()).float().mean())
    return found


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m soliloquy.training.kflm", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    table = commands.add_parser("ablate", help="table 3: train and measure every variant")
    table.add_argument("data", type=Path, help="sessions, with `train` and `held_out`")
    table.add_argument("--seeds", type=int, default=3)
    table.add_argument("--steps", type=int, default=ABLATION_STEPS)
    table.add_argument("--only", choices=list(ABLATIONS), help="one variant")
    speeds = commands.add_parser("borders", help="lip speed at borders of the bundled generator")
    speeds.add_argument("sounds", type=Path, nargs="+")
    measured = commands.add_parser("measure", help="LMD and M-LMD of the bundled generator")
    measured.add_argument("data", type=Path, help="sessions, with `held_out`")
    given = parser.parse_args(arguments)
    if given.command == "ablate":
        loop = LoopConfig(steps=given.steps, learning_rate=2e-3, warmup=50, average=0.97)
        data = [read_sessions(given.data / part) for part in ("train", "held_out")]
        for seed in range(given.seeds):
            for name in [given.only] if given.only else ABLATIONS:
                _show(ablate(KFLMRecipe(loop=loop), name, seed, *data))
    elif given.command == "borders":
        for sound in given.sounds:
            features = atl_diff.load().features(read_sound(sound)[1][0])
            _show({"sound": sound.name, **borders(load(), features)})
    else:
        _show(evaluate(load().network, read_sessions(given.data / "held_out")))


def _show(row: dict[str, Any]) -> None:
    shown = (f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
    print("; ".join(shown), flush=True)


if __name__ == "__main__":
    main()
