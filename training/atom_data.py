"""What the small AToM trains on: faces that speak, frame by frame, and what is heard meanwhile.

The sessions of KSDiff's recipe (`ksdiff_data.py`) say what ARKit's weights do to synthesised
speech; the rig shows it on faces that are made up, a new one for every window.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..models.motion.arkit import INDEX
from ..models.motion.rig import load_rig
from ..models.speech import starter

LIPS = slice(48, 68)
LIDS = ((37, 41), (38, 40), (43, 47), (44, 46))
# Shares of the inter-ocular distance, one standard deviation of what faces differ by.
SPREAD = {
    "cheeks": 0.06,
    "chin": 0.07,
    "brows": 0.04,
    "nose": 0.06,
    "mouth width": 0.08,
    "mouth place": 0.03,
    "lips": 0.15,
    "lids": 0.20,
    "depth": 0.08,
    "every point": 0.006,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Speakers:
    """`N` sessions of 20 s at 25 frames/s."""

    speech: Tensor  # [N, T, 64] float16, the starter's stream "expression" at the frames' centres
    weights: Tensor  # [N, draws, T, 52] float16


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Windows of speaking faces."""

    landmarks: Tensor  # [B, T, 204] inter-ocular distances, frontal
    first: Tensor  # [B, 204] the same face at some moment
    speech: Tensor  # [B, T, 64]
    kept: Tensor  # [B] bool, false where neither speech nor face shall be known


@torch.no_grad()
def read_speakers(folder: Path, files: int | None = None) -> Speakers:
    """The first `files` files of sessions in `folder`, or all of them.

    Raises:
        FileNotFoundError: there are none.
    """
    paths = [path for path in sorted(folder.glob("*.npz")) if ".part" not in path.name][:files]
    if not paths:
        raise FileNotFoundError(
            f"There are no sessions in '{folder}'. Write them with"
            " `python -m soliloquy.training.ksdiff_data CORPUS FOLDER`."
        )
    network, speech, weights = starter.load().network, [], []
    for path in paths:
        with np.load(path) as stored:
            hidden = torch.from_numpy(stored["features"][:, 1::2]).float()
            motion = torch.from_numpy(stored["motion"])
        speech.append(network.out(hidden).half())
        weights.append(motion[..., :52].clone())
    return Speakers(speech=torch.cat(speech), weights=torch.cat(weights))


def draw_batch(
    speakers: Speakers, size: int, frames: int, source: np.random.Generator, dropped: float = 0.1
) -> Batch:
    """Random windows of random sessions on random faces.

    The known moment of a face is mostly the window's first frame, as in the paper; else any frame
    of the session, or the face at rest with its mouth shut or open, so that a portrait may look
    however it does. Whoever smiles there goes on smiling.
    """
    columns: dict[str, list[Tensor]] = {name: [] for name in ("landmarks", "first", "speech")}
    for _ in range(size):
        session = int(source.integers(len(speakers.speech)))
        draw = int(source.integers(speakers.weights.shape[1]))
        total = speakers.speech.shape[1]
        start = int(source.integers(total - frames + 1))
        kind = source.random()
        moment = start if kind < 0.6 else int(source.integers(total))
        face = random_face(source)
        here = slice(start, start + frames)
        weights = speakers.weights[session, draw].float()
        at_rest = open_mouth(source) if kind >= 0.8 else weights[moment]
        shown = torch.cat([weights[here], at_rest[None]]) + smile(source)
        points = load_rig().landmarks(shown, face).flatten(1)
        columns["landmarks"].append(points[:-1])
        columns["first"].append(points[-1])
        columns["speech"].append(speakers.speech[session, here].float())
    kept = torch.from_numpy(source.random(size) >= dropped)
    return Batch(**{name: torch.stack(values) for name, values in columns.items()}, kept=kept)


def smile(source: np.random.Generator) -> Tensor:
    """Weights `[52]` of a mood that a face keeps while it speaks; most have none."""
    weights = torch.zeros(len(INDEX))
    if source.random() < 0.4:
        amount = float(source.uniform(0, 0.8))
        for side in ("Left", "Right"):
            weights[INDEX[f"mouthSmile{side}"]] = amount
            weights[INDEX[f"cheekSquint{side}"]] = amount / 2
    return weights


def open_mouth(source: np.random.Generator) -> Tensor:
    """Weights `[52]` of a mouth at rest: shut, or open as in a picture that shows teeth."""
    weights = torch.zeros(len(INDEX))
    if source.random() < 0.5:
        weights[INDEX["jawOpen"]] = float(source.uniform(0, 0.25))
        for name in ("mouthUpperUp", "mouthLowerDown"):
            for side in ("Left", "Right"):
                weights[INDEX[f"{name}{side}"]] = float(source.uniform(0, 0.4))
    return weights


def random_face(source: np.random.Generator) -> Tensor:
    """The mean face with other proportions, `[68, 3]`, its eye corners where they were."""
    amount = {name: float(source.normal(0, size)) for name, size in SPREAD.items()}
    face = load_rig().mean_face.clone()
    jaw, brows, nose = face[:17], face[17:27], face[27:36]
    below = jaw[:, 1].clamp(min=0)
    jaw[:, 0] *= 1 + amount["cheeks"]
    jaw[:, 1] += amount["chin"] * below
    brows[:, 1] += amount["brows"]
    nose[4:, 0] *= 1 + 2 * amount["nose"]
    nose[:, 1] *= 1 + amount["nose"]
    mouth = face[LIPS]
    middle = (mouth[0] + mouth[6]) / 2
    mouth[:, 0] *= 1 + amount["mouth width"]
    mouth[:, 1] = middle[1] + (mouth[:, 1] - middle[1]) * (1 + amount["lips"])
    mouth[:, 1] += amount["mouth place"] + amount["chin"] * middle[1] / 2
    for upper, lower in LIDS:
        change = (face[lower, 1] - face[upper, 1]) * amount["lids"] / 2
        face[upper, 1] -= change
        face[lower, 1] += change
    face[:, 2] *= 1 + amount["depth"]
    uneven = torch.from_numpy(source.normal(0, SPREAD["every point"], (68, 3))).float()
    uneven[[36, 45]] = 0
    return face + uneven
