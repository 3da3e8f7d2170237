"""Fits the face rig (`models/motion/rig.py`) to tracked clips of people talking.

    python -m soliloquy.training.rig --clips ../shared/data/clips -o weights

takes a few seconds and writes `rig.safetensors` and its model card `rig.md`. A clip is an `.npz`
with `blendshapes [T, 52]`, `blendshape_names`, `landmarks478 [T, 478, 3]` in pixels, and
`lip_aperture [T]`, `lip_width [T]` to measure against.

Each frame is freed of its head pose by Procrustes on points that expressions hardly move. What is
left is regressed on the weights: ridge towards `anatomy.py` instead of towards zero, every clip
beside its mirror image, and each weight only where it can act.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..models.motion.arkit import ARKIT52, INDEX
from ..models.motion.rig import LID_PAIRS, LIP_PAIRS, UPPER_LID_SHARE, Rig
from ..models.portrait.geometry import apply_similarity, interocular, procrustes
from ..models.portrait.mapping import mean_face, to_68
from .anatomy import mirror, mirror_names, prior_basis, support

RIDGE = 3e-3  # in units of the variance of a weight; chosen by leave-one-clip-out, see the card
STIFF = {
    "mouthPucker": 5.0,  # MediaPipe reports half a pucker on mouths at rest
    "eyeLookUpLeft": 100.0,  # hardly looked up in the clips, and always with a blink or a brow
    "eyeLookUpRight": 100.0,
}  # weights whose ridge is so many times stronger
FORBIDDEN = 1e4  # ridge where a weight cannot act

# Hairline, temples, nose bridge, eye corners, in MediaPipe's mesh.
RIGID_478 = (
    *(10, 109, 67, 103, 54, 21, 162, 127, 234, 338, 297, 332, 284, 251, 389, 356, 454),
    *(168, 6, 197, 195, 5, 33, 133, 362, 263),
)


@dataclass(frozen=True)
class Clip:
    """One tracked clip, free of head pose."""

    name: str
    weights: Tensor  # [T, 52] float64
    landmarks: Tensor  # [T, 68, 3] float64, inter-ocular distances, frontal
    aperture: Tensor  # [T] inner lips over forehead-to-chin, as tracked with head pose
    width: Tensor  # [T] mouth corners over outer eye corners, as tracked with head pose


def read_clip(path: Path) -> Clip:
    """One clip, its landmarks aligned to the mean face and measured in its own eye distance."""
    stored = np.load(path)
    names = [str(name) for name in stored["blendshape_names"]]
    tracked = torch.from_numpy(stored["blendshapes"].astype(np.float64))
    weights = torch.zeros(len(tracked), len(ARKIT52), dtype=torch.float64)
    for index, name in enumerate(ARKIT52):
        if name in names:
            weights[:, index] = tracked[:, names.index(name)]
    points = torch.from_numpy(stored["landmarks478"].astype(np.float64))
    landmarks = to_68(remove_pose(points))
    return Clip(
        name=path.stem,
        weights=weights,
        landmarks=landmarks / interocular(landmarks.mean(0)),
        aperture=torch.from_numpy(stored["lip_aperture"].astype(np.float64)),
        width=torch.from_numpy(stored["lip_width"].astype(np.float64)),
    )


def remove_pose(points: Tensor) -> Tensor:
    """Every frame of `[T, 478, 3]` turned and scaled onto the clip's own mean, from the front."""
    rigid = list(RIGID_478)
    front = mean_face().to(points)
    target = front
    for _ in range(3):  # generalised Procrustes: the target becomes this person
        aligned = apply_similarity(points, *procrustes(points[:, rigid], target[rigid]))
        target = aligned.mean(0)
        target = apply_similarity(target, *procrustes(target[rigid], front[rigid]))
    return aligned


def fit(clips: list[Clip], face: Tensor) -> Tensor:
    """The basis `[52, 68, 3]`, float64; every clip counts alike, however long it is."""
    prior = prior_basis()
    prior[_blinks()] = blink_rows(face)
    gram, moment = _moments(clips)
    ridge = torch.where(support(), RIDGE, FORBIDDEN).to(gram)
    for name, factor in STIFF.items():
        ridge[INDEX[name]] *= factor
    systems = gram + torch.diag_embed(ridge.T)  # one per landmark: [68, 52, 52]
    wanted = (moment + ridge[..., None] * prior).transpose(0, 1)
    basis = torch.linalg.solve(systems, wanted).transpose(0, 1).contiguous()
    basis[_blinks()] = prior[_blinks()]
    basis[INDEX["mouthClose"]] = close_row(basis[INDEX["jawOpen"]])
    return basis


def _moments(clips: list[Clip]) -> tuple[Tensor, Tensor]:
    """Second moments of weights `[52, 52]` and of weights with landmarks `[52, 68, 3]`."""
    gram, moment = 0.0, 0.0
    for clip in clips:
        weights = clip.weights - clip.weights.mean(
            0
        )  # the mean is the intercept: a person's own face
        moves = clip.landmarks - clip.landmarks.mean(0)
        for x, y in ((weights, moves), (weights[:, mirror_names()], mirror(moves))):
            gram = gram + x.T @ x / len(x) / (2 * len(clips))
            moment = moment + torch.einsum("tj,tkc->jkc", x, y) / len(x) / (2 * len(clips))
    return gram, moment


def _blinks() -> list[int]:
    return [INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]


def blink_rows(face: Tensor) -> Tensor:
    """What eyeBlinkLeft and eyeBlinkRight do, `[2, 68, 3]`: the lids meet in one line."""
    left = torch.zeros_like(face)
    for upper, lower in LID_PAIRS[2:]:
        gap = face[lower] - face[upper]
        left[upper] = UPPER_LID_SHARE * gap
        left[lower] = (UPPER_LID_SHARE - 1) * gap
    return torch.stack([left, mirror(left)])


def close_row(jaw_open: Tensor) -> Tensor:
    """What mouthClose does, `[68, 3]`: with the jaw as open as it is closed, the lips touch."""
    row = torch.zeros_like(jaw_open)
    for upper, lower in LIP_PAIRS:
        gap = jaw_open[lower] - jaw_open[upper]
        row[upper], row[lower] = 0.3 * gap, -0.7 * gap
    # The outer edge follows the inner one; the corners come half as far.
    follow = {50: 62, 51: 62, 52: 62, 49: 61, 53: 63, 55: 65, 56: 66, 57: 66, 58: 66, 59: 67}
    for outer, inner in follow.items():
        row[outer] = row[inner] * (0.85 if outer in (50, 51, 52, 56, 57, 58) else 0.6)
    for corner in (48, 54, 60, 64):
        row[corner] = -0.3 * jaw_open[corner]
    return (row + mirror(row)) / 2


def _lips(points: Tensor) -> tuple[Tensor, Tensor]:
    def distance(a: int, b: int) -> Tensor:
        return (points[:, a] - points[:, b]).norm(dim=-1)

    return distance(62, 66) / distance(27, 8), distance(48, 54) / distance(36, 45)


def measure(basis: Tensor, face: Tensor, clip: Clip) -> dict[str, float]:
    """R² over all landmarks, and R² and Pearson r of the lips, from the clip's tracked weights.

    The lips are those of the rig on the mean face, contact included, as the pipeline writes them.
    """
    moves = clip.landmarks - clip.landmarks.mean(0)
    guess = torch.einsum("tj,jkc->tkc", clip.weights - clip.weights.mean(0), basis)
    aperture, width = _lips(Rig(basis, face).landmarks(clip.weights))
    scores = {"landmarks R²": _r2(moves, guess)}
    for name, real, rig in (("aperture", clip.aperture, aperture), ("width", clip.width, width)):
        real, rig = real - real.mean(), rig - rig.mean()
        scores[f"{name} R²"] = _r2(real, rig)
        scores[f"{name} r"] = float(real @ rig / (real.norm() * rig.norm()))
    return scores


def _r2(real: Tensor, guess: Tensor) -> float:
    return float(1 - (real - guess).square().sum() / real.square().sum())


def table(clips: list[Clip], face: Tensor) -> str:
    """Scores as a Markdown table: each clip left out of the fit, and then within it."""
    whole = fit(clips, face)
    lines, sums = [], []
    for clip in clips:
        rest = [other for other in clips if other is not clip]
        out, inside = measure(fit(rest, face), face, clip), measure(whole, face, clip)
        sums.append([*out.values(), inside["aperture r"], inside["width r"]])
        lines.append([clip.name, *sums[-1]])
    lines.append(["mean", *np.mean(sums, axis=0)])
    head = [*out, "aperture r, in the fit", "width r, in the fit"]
    rows = [["clip", *head], ["---"] * (len(head) + 1)]
    rows += [[line[0], *(f"{number:.2f}" for number in line[1:])] for line in lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


CARD = """# rig.safetensors

The linear face rig behind the motion hub: how each of ARKit's 52 weights moves each of the 68
landmarks. `basis [52, 68, 3]` and `mean_face [68, 3]`, float32, inter-ocular distances (outer eye
corner to outer eye corner), frontal, x right, y down, z away. Read by `models/motion/rig.py`.

* **Made by** `python -m soliloquy.training.rig --clips ../shared/data/clips -o weights`, a few
  seconds on one CPU core, no randomness.
* **From** {clips} clips of people talking ({frames} frames), tracked with MediaPipe Face
  Landmarker: 52 weights and 478 mesh points per frame. The clips themselves are not part of the
  project.
* **How** head pose removed by Procrustes on hairline, temples, nose bridge and eye corners; ridge
  regression of what is left on the weights, centred per clip, towards the hand-written basis of
  `training/anatomy.py` (ridge {ridge:g}), every clip beside its mirror image. Each weight may move
  only the part of the face it belongs to, on its own side. `eyeBlink…` and `mouthClose` are not
  fitted but built: at 1 the lids meet exactly, and equal `jawOpen` and `mouthClose` leave the
  lips touching; beyond `jawOpen`, `mouthClose` does nothing more.

## Scores

The clip's own tracked weights go in; the rig's landmarks come out and are compared with the tracked
ones. All columns but the last two: leave one clip out.

{table}

## What it cannot do

* Gaze to the side and `tongueOut` move none of the 68 landmarks: their rows are zero. `eyeLookUp…`
  and `eyeLookDown…` move the lids.
* Weights that hardly move in the clips are the hand-written numbers: {still}.
* Linear: a jaw opens along a straight line. Lips and lids that would pass through each other are
  stopped afterwards.
* MediaPipe's depth is a guess from one picture; so is the z of this basis.
"""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Fit the face rig to tracked clips.")
    parser.add_argument("--clips", type=Path, required=True, help="folder of tracked clips, *.npz")
    parser.add_argument("-o", "--output", type=Path, default=Path("weights"))
    options = parser.parse_args()
    clips = [read_clip(path) for path in sorted(options.clips.glob("*.npz"))]
    if not clips:
        parser.error(f"there is no *.npz in {options.clips}")
    face = to_68(mean_face()).double()
    face = (face + mirror(face)) / 2
    save(fit(clips, face), face, options.output / "rig.safetensors")
    spread = torch.cat([clip.weights for clip in clips]).std(0)[:-1]  # without tongueOut
    still = [ARKIT52[index] for index in (spread < 0.01).nonzero()]
    card = CARD.format(
        clips=len(clips),
        frames=sum(len(clip.weights) for clip in clips),
        ridge=RIDGE,
        table=table(clips, face),
        still=", ".join(still),
    )
    (options.output / "rig.md").write_text(card, encoding="utf-8")
    print(card)


def save(basis: Tensor, face: Tensor, path: Path) -> None:
    """Write the rig; float32, exactly mirror-symmetric."""
    from safetensors.torch import save_file

    basis = (basis + mirror(basis[mirror_names()])) / 2
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {"basis": basis.float().contiguous(), "mean_face": face.float().contiguous()}
    save_file(tensors, path, metadata={"made_by": "python -m soliloquy.training.rig"})


if __name__ == "__main__":
    main()
