"""Fits the bridge (`models/motion/bridge.py`) between ARKit weights and LivePortrait's keypoints.

    python -m soliloquy.training.bridge --pairs ../shared/data/motion/arkit_liveportrait_pairs.npz

takes a second and writes `bridge.safetensors` and its model card `bridge.md`. The pairs are an
`.npz` with, per clip, `<clip>_blendshapes [T, 52]` and `<clip>_exp [T, 21, 3]` of the same frames,
and `blendshape_names`.

Ridge regression of movement around each clip's mean. A weight that moves little is scaled down
less than to unit variance, because what it does move is mostly noise; short clips count for more
than their frames, because people differ more than frames do. Keypoints of the lids follow weights
of eyes and brows alone, those of the lips all others alone: without that, a person's habit of
blinking while closing the mouth becomes a rule.

People look down while they blink and round their lips while they open the jaw, so that a regression
shares one movement among several weights, and a blink alone would half close the lids. Therefore
the fit is also shown weights that lead such movements acting alone, with the whole movement, and
the way back that this movement was theirs.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..models.motion.arkit import ARKIT52, INDEX
from ..models.render.liveportrait.keypoints import LIP_KEYPOINTS

MIN_FRAMES = 32  # shorter clips are fitted but not scored: their movement is mostly noise
CLIP_POWER = 0.5  # a clip of T frames counts like T^0.5
LID_KEYPOINTS, MOUTH_KEYPOINTS = (11, 13, 15), (14, 19, 20)  # moved by one half of the face alone
LEADERS = (("eyeBlinkLeft", "eyeBlinkRight"), ("jawOpen",))
PULSE, NUM_PULSES = 0.5, 10  # how far the leaders act alone, and how often that is shown
UPPER_WEIGHTS = torch.tensor([name.startswith(("eye", "brow")) for name in ARKIT52])


@dataclass(frozen=True)
class Clip:
    """One clip, seen both ways; movement around the clip's mean."""

    name: str
    weights: Tensor  # [T, 52] float64
    offsets: Tensor  # [T, 63] float64


@dataclass(frozen=True)
class Ridge:
    """How a direction is regularised."""

    strength: float  # in hundredths of the inputs' total variance
    floor: float  # added to every input's deviation, in the largest deviation

    def fit(self, clips: list[tuple[Tensor, Tensor]], allowed: Tensor) -> Tensor:
        """The matrix `[I, O]` of pairs (inputs `[T, I]`, outputs `[T, O]`), zero where it is not
        `allowed` `[I, O]`."""
        matrix = torch.zeros(allowed.shape).double()
        for column in allowed.unique(dim=1).unbind(1):  # outputs with the same inputs together
            outputs = (allowed == column[:, None]).all(0)
            chosen = [(x[:, column], y[:, outputs]) for x, y in clips]
            matrix[column.nonzero(), outputs.nonzero()[:, 0]] = self._solve(chosen)
        return matrix

    def _solve(self, clips: list[tuple[Tensor, Tensor]]) -> Tensor:
        inputs, outputs = (torch.cat(parts) for parts in zip(*clips, strict=True))
        share = torch.cat([torch.full((len(x),), len(x) ** -CLIP_POWER) for x, _ in clips])
        share = (share / share.mean()).to(inputs)[:, None]
        deviation = inputs.std(0, correction=0)
        scale = deviation + self.floor * deviation.max()
        scale = scale / scale.square().mean().sqrt()
        scaled = inputs / scale
        variance = scaled.var(0, correction=0).sum() * len(scaled)
        penalty = self.strength / 100 * variance * torch.eye(len(scale)).to(inputs)
        moments = (share * scaled).T @ scaled + penalty
        return torch.linalg.solve(moments, (share * scaled).T @ outputs) / scale[:, None]


# Chosen by leave-one-clip-out, see the card.
TO_KEYPOINTS = Ridge(strength=1.0, floor=0.5)
TO_WEIGHTS = Ridge(strength=3.0, floor=0.5)


def read_clips(path: Path) -> list[Clip]:
    """The clips of a file of pairs."""
    stored = np.load(path)
    names = [str(name) for name in stored["blendshape_names"]]
    columns = [names.index(name) if name in names else -1 for name in ARKIT52]
    clips = []
    for key in sorted(key for key in stored.files if key.endswith("_exp")):
        name = key.removesuffix("_exp")
        tracked = torch.from_numpy(stored[f"{name}_blendshapes"].astype(np.float64))
        tracked = torch.cat([tracked, torch.zeros(len(tracked), 1)], 1)  # for what is not tracked
        offsets = torch.from_numpy(stored[key].astype(np.float64)).flatten(1)
        clips.append(Clip(name, _moving(tracked[:, columns]), _moving(offsets)))
    return clips


def _moving(values: Tensor) -> Tensor:
    return values - values.mean(0)


def pairs(clips: list[Clip], reverse: bool) -> list[tuple[Tensor, Tensor]]:
    """(inputs, outputs) of one direction."""
    if reverse:
        return [(clip.offsets, clip.weights) for clip in clips]
    return [(clip.weights, clip.offsets) for clip in clips]


def allowed(reverse: bool) -> Tensor:
    """Which input may move which output, `[I, O]` bool."""
    lids, mouth = torch.zeros(2, 21, 3, dtype=torch.bool)
    lids[list(LID_KEYPOINTS)] = mouth[list(MOUTH_KEYPOINTS)] = True
    crossed = (UPPER_WEIGHTS[:, None] & mouth.flatten()) | (
        ~UPPER_WEIGHTS[:, None] & lids.flatten()
    )
    return ~crossed.T if reverse else ~crossed


def pulses(clips: list[Clip]) -> tuple[Tensor, Tensor]:
    """The leaders acting alone, `[N, 52]`, and the keypoints' movement that goes along with them in
    the clips, `[N, 63]`."""
    weights = torch.cat([clip.weights * len(clip.weights) ** (-CLIP_POWER / 2) for clip in clips])
    offsets = torch.cat([clip.offsets * len(clip.offsets) ** (-CLIP_POWER / 2) for clip in clips])
    alone, movement = torch.zeros(len(LEADERS), 52).double(), []
    for row, names in zip(alone, LEADERS, strict=True):
        columns = [INDEX[name] for name in names]
        row[columns] = PULSE
        leading = weights[:, columns].mean(1)
        movement.append(PULSE * (leading @ offsets) / leading.square().sum())
    return alone.repeat(NUM_PULSES, 1), torch.stack(movement).repeat(NUM_PULSES, 1)


def fit(clips: list[Clip]) -> tuple[Tensor, Tensor]:
    """Both directions: `[52, 63]`, `[63, 52]`."""
    alone, movement = pulses(clips)
    there = TO_KEYPOINTS.fit([*pairs(clips, False), (alone, movement)], allowed(False))
    back = TO_WEIGHTS.fit([*pairs(clips, True), (alone @ there, alone)], allowed(True))
    return there, back


def fit_without_pulses(clips: list[Clip]) -> tuple[Tensor, Tensor]:
    """Both directions from the clips alone, for comparison."""
    there = TO_KEYPOINTS.fit(pairs(clips, False), allowed(False))
    return there, TO_WEIGHTS.fit(pairs(clips, True), allowed(True))


def fit_plainly(clips: list[Clip]) -> tuple[Tensor, Tensor]:
    """Both directions by `plain_ridge`, for comparison."""
    return plain_ridge(pairs(clips, False)), plain_ridge(pairs(clips, True))


def plain_ridge(clips: list[tuple[Tensor, Tensor]]) -> Tensor:
    """The baseline: strength 1, nothing scaled, every frame alike."""
    inputs, outputs = (torch.cat(parts) for parts in zip(*clips, strict=True))
    moments = inputs.T @ inputs + torch.eye(inputs.shape[1]).to(inputs)
    return torch.linalg.solve(moments, inputs.T @ outputs)


def score(inputs: Tensor, outputs: Tensor, matrix: Tensor, columns: list[int]) -> float:
    """R² of some columns of the outputs, together."""
    real, guess = outputs[:, columns], (inputs @ matrix)[:, columns]
    return float(1 - (real - guess).square().sum() / real.square().sum())


def table(clips: list[Clip]) -> str:
    """Leave-one-clip-out R² of the three fits, one row per clip and the mean, in Markdown."""
    lips = [3 * keypoint + axis for keypoint in LIP_KEYPOINTS for axis in range(3)]
    rows = []
    for clip in clips:
        if len(clip.weights) < MIN_FRAMES:
            continue
        fits = [way([other for other in clips if other is not clip]) for way in WAYS]
        there, back = (clip.weights, clip.offsets), (clip.offsets, clip.weights)
        row = [score(*there, matrix, list(range(63))) for matrix, _ in fits]
        row += [score(*there, matrix, lips) for matrix, _ in fits]
        row += [score(*back, matrix, list(range(52))) for _, matrix in fits]
        rows.append((clip.name, row))
    rows.append(("mean", np.mean([row for _, row in rows], 0).tolist()))
    head = ("clip", *(f"{what}, {how}" for what in ("keypoints", "lips", "weights")
            for how in ("plain", "unled", "bundled")))  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    lines += [f"| {name} | {' | '.join(f'{value:.2f}' for value in row)} |" for name, row in rows]
    return "\n".join(lines)


WAYS = (fit_plainly, fit_without_pulses, fit)


def returned(clips: list[Clip]) -> str:
    """What is left of the leaders, acting alone, after the way there and back, in Markdown."""
    lines = ["| weights | plain | unled | bundled |", "| --- | --- | --- | --- |"]
    for names in LEADERS:
        columns = [INDEX[name] for name in names]
        alone = torch.zeros(52).double()
        alone[columns] = 1
        left = [(alone @ there @ back)[columns].mean() for there, back in (w(clips) for w in WAYS)]
        lines.append(f"| {', '.join(names)} | {' | '.join(f'{value:.2f}' for value in left)} |")
    return "\n".join(lines)


CARD = """# bridge.safetensors

Two linear maps between ARKit's 52 weights and LivePortrait's 21 keypoints, float32:
`to_keypoints [52, 63]` and `to_weights [63, 52]`, both of movement relative to the face at rest.
Read by `models/motion/bridge.py`.

* **Made by** `python -m soliloquy.training.bridge --pairs
  ../shared/data/motion/arkit_liveportrait_pairs.npz`, a second on one CPU core, no randomness.
* **From** {clips} clips ({frames} frames): motion templates published with LivePortrait (MIT), and
  MediaPipe Face Landmarker's weights on the same videos. Neither is part of the project.
* **How** ridge regression around each clip's mean; weights that hardly move are scaled down less
  than to unit variance, clips count by the root of their frames. Lid keypoints (11, 13, 15) answer
  to eyes and brows alone, mouth keypoints (14, 19, 20) to all other weights alone. The fit is also
  shown blinking and the opening jaw alone, with all the movement that goes along with them.

## Scores

R², leave one clip out, clips of at least {least} frames. "Plain" is ridge regression of strength 1,
unscaled, every frame alike; "unled" is the bundled recipe from the clips alone.

{table}

How much of a weight that acts alone is left after the way to the keypoints and back, 1 = all:

{returned}

Leading costs a little of the score on these people, who look down when they blink, and makes a
blink that comes alone close the eyes. Scaling each channel until it deviates as much as the truth
was tried and left: chosen inside the training clips, it lowers R² of the weights from 0.40 to 0.30.

## What it cannot do

* Lips, lids and jaw cross well, gaze and brows poorly; `tongueOut` moves nothing.
* Ridge regression moves a little too little, most of all weights that hardly moved in the clips.
  Raise the motion's strength where that shows.
* A few people, none of them in profile.
"""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Fit the bridge to pairs of tracked motion.")
    parser.add_argument("--pairs", type=Path, required=True, help="the .npz of pairs")
    parser.add_argument("-o", "--output", type=Path, default=Path("weights"))
    options = parser.parse_args()
    clips = read_clips(options.pairs)
    save(clips, options.output / "bridge.safetensors")
    frames = sum(len(clip.weights) for clip in clips)
    card = CARD.format(
        clips=len(clips),
        frames=frames,
        least=MIN_FRAMES,
        table=table(clips),
        returned=returned(clips),
    )
    (options.output / "bridge.md").write_text(card, encoding="utf-8")
    print(card)


def save(clips: list[Clip], path: Path) -> None:
    """Fit both directions to all clips and write them."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    there, back = fit(clips)
    tensors = {
        "to_keypoints": there.float().contiguous(),
        "to_weights": back.float().contiguous(),
    }
    save_file(tensors, path, metadata={"made_by": "python -m soliloquy.training.bridge"})


if __name__ == "__main__":
    main()
