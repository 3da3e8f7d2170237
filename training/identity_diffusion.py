"""The identity diffusion U-Net of ATL-Diff, from nothing to weights.

    python -m soliloquy train identity_diffusion -o FOLDER --set pictures=… corpus=…

The clips are drawn by the warp renderer (`identity_diffusion_data.py`), once, into the folder.
`start=plain` trains the same network to begin at plain noise, for comparison.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..models import checkpoints
from ..models.noise.landmark_guided import R_MIN, NoiseOptions, blurred_marks
from ..models.render.identity_diffusion import process
from ..models.render.identity_diffusion.guidance import (
    landmark_channels,
    landmark_marks,
    moved_along,
)
from ..models.render.identity_diffusion.network import (
    EMOTIONS,
    IdentityDiffusion,
    IdentityDiffusionConfig,
)
from .identity_diffusion_data import SIZE, Clips, prepare
from .loop import Log, LoopConfig, recorded, train

NAME = "identity_diffusion"
WIDE, NARROW = 1.1, 0.5  # kernels of the guide in training, shares of the usual one
MOUTH = slice(48, 68)  # landmarks
MOUTH_SHARE = 0.7  # of parts of clips that lie around the mouth, where most is to be learnt
OPEN_MOUTH = 2  # channel of the guide
MOUTH_REACH = 0.4  # of what counts as mouth, in its widths
RIM = 8  # pixels at the edge of a part that are not judged: what moves there comes from outside
NO_EMOTION = 0.3  # share of clips whose emotion is not told


@dataclass(frozen=True, kw_only=True)
class IdentityDiffusionRecipe:
    """Everything that decides what comes out."""

    network: IdentityDiffusionConfig = field(default_factory=IdentityDiffusionConfig)
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(
            steps=2300, learning_rate=2e-3, warmup=150, average=0.995, save_every=200
        )
    )
    seed: int = 0
    batch: int = 8  # clips
    frames: int = 4  # of a clip
    side: int = 80  # of the part of the square that is looked at, pixels
    rest_weight: float = 0.25  # of all pixels, on top of which come
    mask_weight: float = 2.0  # what may move,
    mouth_weight: float = 4.0  # the mouth,
    open_weight: float = 8.0  # and what is seen between open lips
    edge_weight: float = 0.5  # of the error in differences between neighbouring pixels
    time_weight: float = 0.5  # of the error in differences between frames
    share_weight: float = 0.02  # of what is painted over, the mouth aside
    pictures: Path = Path("portraits")  # folder with faces, beside the astronaut
    corpus: Path = Path("corpus")  # what `training.starter synthesise` wrote
    face_landmarker: Path | None = None  # MediaPipe's model, to find the faces with
    held_out: tuple[str, ...] = ("held_",)
    train_clips: int = 900
    test_clips: int = 36

    def clips(self, folder: Path) -> tuple[Clips, Clips]:
        """To train on and to test with; drawn into `folder` if they are not there."""
        paths = [folder / f"{part}.safetensors" for part in ("train", "test")]
        if not all(path.exists() for path in paths):
            folder.mkdir(parents=True, exist_ok=True)
            counts = (self.train_clips, self.test_clips)
            drawn = prepare(self.pictures, self.corpus, self.held_out, counts, self.face_landmarker)
            for clips, path in zip(drawn, paths, strict=True):
                clips.save(path)
        return Clips.load(paths[0]), Clips.load(paths[1])

    def run(self, folder: Path, on_log: Log | None = None) -> None:
        """Train and leave `identity_diffusion.safetensors` in `folder`."""
        torch.manual_seed(self.seed)
        clips, _ = self.clips(folder / "clips")
        network = IdentityDiffusion(self.network)
        average = train(
            network,
            batches(clips, self),
            lambda n, batch: identity_loss(n, batch, self),
            self.loop,
            on_log,
            folder=folder,
        )
        config = asdict(self.network)
        checkpoints.save(average, folder / f"{NAME}.safetensors", config, recipe=recorded(self))


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """What a training step sees; pictures are in -1 … 1."""

    clean: Tensor  # [B, T, 3, H, W]
    noisy: Tensor  # [B, T, 3, H, W]
    guide: Tensor  # [B, T, 6, H, W]
    timestep: Tensor  # [B]
    picture: Tensor  # [B, 3, H, W], the identity
    marks: Tensor  # [B, 1, H, W], of its landmarks
    mouth: Tensor  # [B, T, 1, H, W], 1 in its middle
    emotion: Tensor  # [B]


def batches(clips: Clips, recipe: IdentityDiffusionRecipe) -> Callable[[int], Batch]:
    """A function from a batch's number to the batch."""
    alphas = process.alphas()

    def draw(number: int) -> Batch:
        source = random.Random(f"{recipe.seed} {number}")
        generator = torch.Generator().manual_seed(source.randrange(2**62))
        rows = [_row(clips, recipe, source, generator) for _ in range(recipe.batch)]
        columns = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        timestep = torch.tensor([source.randrange(len(alphas)) for _ in rows])
        strength, ground = columns.pop("strength"), columns["picture"][:, None]
        noise = torch.randn(columns["clean"].shape, generator=generator)
        if recipe.network.start == "guided":
            noise = noise * strength
        else:
            ground = torch.zeros(1)
        noisy = process.noised(columns["clean"], ground, noise, alphas[timestep])
        return Batch(noisy=noisy, timestep=timestep, **columns)

    return draw


def _row(
    clips: Clips, recipe: IdentityDiffusionRecipe, source: random.Random, generator: torch.Generator
) -> dict[str, Tensor]:
    """A part of a random clip, mirrored half of the time, in other colours."""
    index = source.randrange(len(clips))
    first = source.randrange(clips.frames.shape[1] - recipe.frames + 1)
    points = clips.points[index, first : first + recipe.frames]
    pictures = torch.cat(
        [clips.identity[index, None], clips.frames[index, first : first + recipe.frames]]
    ).float()
    kernel = max(3, round(int(clips.kernel[index]) * source.uniform(NARROW, WIDE)))
    row = conditions(points, clips.rest[index], kernel)
    row["pictures"] = process.to_signed(recoloured(pictures / 255, source, generator))
    mouth = points[:, MOUTH].mean((0, 1))
    if source.random() < 0.5:
        row = {name: mirrored(name, value) for name, value in row.items()}
        mouth[0] = SIZE - 1 - mouth[0]
    left, top = (source.randrange(SIZE - recipe.side + 1) for _ in range(2))
    if source.random() < MOUTH_SHARE:
        corner = mouth - recipe.side / 2 + 4 * torch.randn(2, generator=generator)
        left, top = corner.round().long().clamp(0, SIZE - recipe.side).tolist()
    row = {
        name: value[..., top : top + recipe.side, left : left + recipe.side]
        for name, value in row.items()
    }
    told = source.random() >= NO_EMOTION
    row["emotion"] = clips.emotion[index] if told else torch.tensor(len(EMOTIONS) - 1)
    pictures = row.pop("pictures")
    row["picture"], row["clean"] = pictures[0], pictures[1:]
    return row


def conditions(points: Tensor, rest: Tensor, kernel: int) -> dict[str, Tensor]:
    """Guide, strength of the guided noise, and marks at rest of a clip."""
    options = NoiseOptions(size=SIZE, kernel=kernel)
    peak = blurred_marks(rest[None], options).max()
    mask = (blurred_marks(points, options) / peak).clamp(0, 1)[:, None]
    return {
        "guide": torch.cat([mask, landmark_channels(points, rest, SIZE)], dim=1),
        "strength": process.strength(mask, R_MIN),
        "marks": landmark_marks(rest[None], SIZE),
        "mouth": mouth_place(points)[:, None],
    }


def mouth_place(points: Tensor) -> Tensor:
    """Where the mouth is, from landmarks `[T, 68, 2]`: `[T, S, S]`, 1 in its middle."""
    reach = MOUTH_REACH * (points[:, 54] - points[:, 48]).norm(dim=-1).clamp(min=1)
    middle, pixels = points[:, MOUTH].mean(1), torch.arange(SIZE)
    across, down = (
        torch.exp(-0.5 * ((pixels - middle[:, axis, None]) / reach[:, None]).square())
        for axis in (0, 1)
    )
    return down[:, :, None] * across[:, None, :]


def mirrored(name: str, value: Tensor) -> Tensor:
    """Left and right exchanged; the guide's shift to the right, its last channel but one, too."""
    value = value.flip(-1)
    if name == "guide":
        value[:, -2] = -value[:, -2]
    return value


def recoloured(pictures: Tensor, source: random.Random, generator: torch.Generator) -> Tensor:
    """`[N, 3, H, W]` in 0 … 1 in other colours, all alike."""
    if source.random() < 0.3:
        pictures = pictures[:, torch.randperm(3, generator=generator)]
    gamma = torch.exp(0.25 * torch.randn(3, 1, 1, generator=generator))
    gain = 1 + 0.15 * torch.randn(3, 1, 1, generator=generator)
    return (pictures.clamp(min=1e-4) ** gamma * gain).clamp(0, 1)


def identity_loss(
    network: Any, batch: Batch, recipe: IdentityDiffusionRecipe
) -> tuple[Tensor, dict[str, float]]:
    """Absolute error of the clean frames, of their edges and of their changes over time."""
    layers = network(
        batch.noisy, batch.timestep, batch.guide, (batch.picture, batch.marks), batch.emotion
    )
    rim = RIM if recipe.side < SIZE else 0
    inner = slice(rim, batch.clean.shape[-1] - rim)
    error, mask, opening, mouth, share = (
        picture[..., inner, inner]
        for picture in (
            layers.over(batch.picture) - batch.clean,
            batch.guide[:, :, :1],
            batch.guide[:, :, OPEN_MOUTH : OPEN_MOUTH + 1],
            batch.mouth,
            layers.share,
        )
    )
    weight = recipe.rest_weight + recipe.mask_weight * mask
    weight = weight + recipe.mouth_weight * mouth + recipe.open_weight * opening
    edges = (
        error.diff(dim=axis).abs() * weight.narrow(axis, 1, weight.shape[axis] - 1)
        for axis in (-1, -2)
    )
    parts = {
        "pixels": (error.abs() * weight).mean(),
        "edges": torch.stack([edge.mean() for edge in edges]).sum(),
        "time": (error.diff(dim=1).abs() * weight[:, 1:]).mean(),
        "share": (share.abs() * (1 - mouth)).mean(),
    }
    weights = {"edges": recipe.edge_weight, "time": recipe.time_weight}
    weights["share"] = recipe.share_weight
    value = torch.stack([weights.get(name, 1.0) * part for name, part in parts.items()]).sum()
    return value, {name: float(part.detach()) for name, part in parts.items()}


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """A whole clip to draw again; pictures are in -1 … 1."""

    clean: Tensor  # [T, 3, H, W]
    picture: Tensor  # [3, H, W]
    guide: Tensor  # [T, 6, H, W]
    strength: Tensor  # [T, 1, H, W]
    marks: Tensor  # [1, H, W]
    mouth: Tensor  # [T, 1, H, W]
    emotion: Tensor  # []

    @classmethod
    def of(cls, clips: Clips, index: int, side: int = SIZE) -> Scene:
        """The clip's square, or the part of `side` pixels around the mouth."""
        points = clips.points[index]
        row = conditions(points, clips.rest[index], int(clips.kernel[index]))
        row["picture"] = process.to_signed(clips.identity[index].float() / 255)
        row["clean"] = process.to_signed(clips.frames[index].float() / 255)
        corner = points[:, MOUTH].mean((0, 1)) - side / 2
        left, top = corner.round().long().clamp(0, SIZE - side).tolist()
        part = {
            name: value[..., top : top + side, left : left + side] for name, value in row.items()
        }
        return cls(**part, emotion=clips.emotion[index])


@torch.inference_mode()
def redraw(network: IdentityDiffusion, scene: Scene, seed: int, steps: int) -> Tensor:
    """A clip again, from the noise that the network was trained on: `[T, 3, H, W]`, -1 … 1."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(scene.clean.shape, generator=generator)[None]
    ground = scene.picture[None, None]
    if network.config.start == "guided":
        noise = ground + noise * scene.strength
    else:
        ground = torch.zeros(1)
    identity = network.recognise(scene.picture[None], scene.marks[None])
    guide, emotion = scene.guide[None], scene.emotion[None]

    def predict(noisy: Tensor, timestep: int) -> Tensor:
        layers = network(noisy, torch.tensor([timestep]), guide, identity, emotion)
        return layers.over(identity.picture)

    return process.sample(predict, noise, ground, steps=steps)[0].clamp(-1, 1)


def reconstruction(
    network: IdentityDiffusion,
    clips: Clips,
    *,
    seed: int = 0,
    steps: int = process.STEPS,
    side: int = SIZE,
) -> dict[str, float]:
    """Root mean square error of redrawn clips, 0 … 255.

    "frame" counts all pixels alike, "face" by the guide's mask, "mouth" around it. Beside
    "drawn" stand the errors of the still portrait and of the portrait moved along with the
    landmarks, which is where the network begins.
    """
    sums: dict[str, list[float]] = {}
    for index in range(len(clips)):
        scene = Scene.of(clips, index, side)
        still = scene.picture.expand_as(scene.clean)
        pictures = {
            "drawn": redraw(network, scene, seed + index, steps),
            "moved": moved_along(still, scene.guide[:, -2:]),
            "still": still,
        }
        weights = {"face": scene.guide[:, :1], "mouth": scene.mouth}
        for name, picture in pictures.items():
            square = (127.5 * (picture - scene.clean)).square()
            sums.setdefault(f"{name} frame", []).append(float(square.mean()))
            for place, weight in weights.items():
                mean = float((square * weight).sum() / (3 * weight.sum()))
                sums.setdefault(f"{name} {place}", []).append(mean)
    return {name: (sum(values) / len(values)) ** 0.5 for name, values in sums.items()}
