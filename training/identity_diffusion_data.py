"""Clips to train the identity diffusion U-Net on, drawn by the warp renderer.

Portraits from a folder (and the astronaut of scikit-image) say sentences of the synthesised corpus,
with heads and lips that move more and less than the starter's, in squares of many sizes around the
face. Every clip comes with the landmarks that moved it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..models import checkpoints
from ..models.motion import starter as starter_motion
from ..models.motion.arkit import INDEX
from ..models.motion.posed import posed_landmarks
from ..models.noise.landmark_guided import PUBLISHED_KERNELS, square_affine
from ..models.payloads import Motion, PayloadError, Portrait, Timeline
from ..models.portrait.affine import CROP_SCALE, extract_crop, square_crop
from ..models.portrait.crop import prepare_portrait, read_image
from ..models.render.setup import Setup
from ..models.render.warp import WarpRenderer
from ..models.speech import starter as starter_speech
from .speech_data import read_corpus
from .synthesis import SAMPLE_RATE, Utterance

SIZE = 128  # pixels of a square
FRAMES = 16  # of a clip
FPS = 25
PICTURE = 320  # pixels of the picture around a face that the renderer bends
PICTURE_SCALE = 2.9  # of that picture, in face sizes
SCALES = (1.15, 2.4)  # of the squares: at 1.15 a face is as large as in a square of 256 at 2.3
ASTRONAUT = "astronaut"
EXPRESSIONS: dict[int, dict[str, float]] = {  # on top of the speech, by emotion, both sides alike
    0: {"browDown": 0.6, "eyeSquint": 0.3},
    1: {"browInnerUp": 0.6, "mouthStretch": 0.3},
    2: {"mouthFrown": 0.4, "browInnerUp": 0.4},
    3: {"mouthDimple": 0.5},
    4: {"mouthSmile": 0.5, "cheekSquint": 0.3},
    5: {"eyeWide": 0.6, "browOuterUp": 0.5, "browInnerUp": 0.5},
    6: {"noseSneer": 0.5, "mouthUpperUp": 0.2},
    7: {},
}
TENSORS = ("identity", "frames", "points", "rest", "kernel", "emotion")


@dataclass(frozen=True, kw_only=True, eq=False)
class Clips:
    """Clips of one or more portraits, as many rows as there are clips."""

    identity: Tensor  # [N, 3, S, S] uint8
    frames: Tensor  # [N, T, 3, S, S] uint8
    points: Tensor  # [N, T, 68, 2] float32, pixels of the square
    rest: Tensor  # [N, 68, 2] float32
    kernel: Tensor  # [N] int64, of the guide's blur
    emotion: Tensor  # [N] int64
    names: list[str]  # of the portraits

    def __len__(self) -> int:
        return len(self.names)

    def save(self, path: Path) -> None:
        """As safetensors."""
        from safetensors.torch import save_file

        tensors = {name: getattr(self, name).contiguous() for name in TENSORS}
        save_file(tensors, str(path), metadata={"names": json.dumps(self.names)})

    @classmethod
    def load(cls, path: Path) -> Clips:
        """What `save` wrote."""
        tensors, metadata = checkpoints.read(path)
        return cls(**tensors, names=json.loads(metadata["names"]))


def draw_clips(
    portraits: dict[str, Portrait], utterances: Sequence[Utterance], count: int, seed: int
) -> Clips:
    """`count` clips, the portraits in turn, each saying a piece of a random sentence."""
    source, renderer = random.Random(seed), WarpRenderer()
    listener, speaker = starter_speech.load(), starter_motion.load()
    names, rows = list(portraits), []
    setups = {name: renderer.prepare(portrait) for name, portrait in portraits.items()}
    for number in range(count):
        setup = setups[names[number % len(names)]]
        emotion = source.choice([7, 7, 7, *EXPRESSIONS])
        sound = torch.from_numpy(source.choice(utterances).sound).float()[None] / 32768
        sound = sound[:, : 8 * SAMPLE_RATE]
        timeline = Timeline.for_sound(sound.shape[-1], SAMPLE_RATE, FPS)
        speech = listener.encode(sound, SAMPLE_RATE, timeline)
        motion = speaker.sample(speech, seed=source.randrange(2**31))
        motion = livened(piece(motion, FRAMES, source), emotion, source)
        rows.append(_clip(renderer, setup, motion, source.uniform(*SCALES), emotion))
    columns = [torch.stack(column) for column in zip(*rows, strict=True)]
    tensors = dict(zip(TENSORS, columns, strict=True))
    return Clips(**tensors, names=[names[i % len(names)] for i in range(count)])


def _clip(
    renderer: WarpRenderer, setup: Setup, motion: Motion, scale: float, emotion: int
) -> list[Tensor]:
    portrait = setup.portrait
    crop = square_crop(portrait.landmarks, scale=scale, size=SIZE)
    square = replace(portrait, crop=crop, crop_size=SIZE)
    frames = []
    for index in range(motion.timeline.num_frames):
        frame = renderer.frame(
            setup,
            motion.values[index],
            rotation=motion.rotation[index],
            translation=motion.translation[index],
            scale=motion.scale[index],
        )
        frames.append(extract_crop(frame, crop, SIZE))
    pictures = torch.stack([extract_crop(portrait.image, crop, SIZE), *frames])
    pictures = (pictures * 255).round().byte().permute(0, 3, 1, 2)
    affine = square_affine(square, SIZE)
    landmarks = torch.cat([portrait.landmarks[None], posed_landmarks(motion, square)])
    points = landmarks[..., :2].double() @ affine[:2, :2].T + affine[:2, 2]
    kernel = round(PUBLISHED_KERNELS["CREMA-D"] * CROP_SCALE / scale)
    return [
        pictures[0],
        pictures[1:],
        points[1:].float(),
        points[0].float(),
        torch.tensor(kernel),
        torch.tensor(emotion),
    ]


def piece(motion: Motion, frames: int, source: random.Random) -> Motion:
    """Some consecutive frames; a motion that is too short holds its last frame."""
    start = source.randrange(max(1, motion.timeline.num_frames - frames + 1))
    index = (start + torch.arange(frames)).clamp(max=motion.timeline.num_frames - 1)
    return replace(
        motion,
        values=motion.values[index],
        rotation=motion.rotation[index],
        translation=motion.translation[index],
        scale=motion.scale[index],
        timeline=Timeline.for_frames(frames, FPS),
    )


def livened(motion: Motion, emotion: int, source: random.Random) -> Motion:
    """The motion with more or less movement, and the expression of an emotion."""
    values = motion.values * source.uniform(0.7, 1.5)
    strength = source.uniform(0.5, 1.0)
    for name, weight in EXPRESSIONS[emotion].items():
        for full in (name, f"{name}Left", f"{name}Right"):
            if full in INDEX:
                values[:, INDEX[full]] += weight * strength
    turn = torch.tensor([source.gauss(0, 1.5) for _ in range(3)])
    return replace(
        motion,
        values=values.clamp(0, 1),
        rotation=motion.rotation * source.uniform(0.3, 1.5) + turn,
    )


def find_portraits(folder: Path, face_landmarker: Path | None) -> dict[str, Portrait]:
    """Every face of every picture in a folder, and the astronaut, as small pictures of faces.

    Faces that are found once but not again in the picture around them are left out.
    """
    found: dict[str, Portrait] = {}
    for name, image in _pictures(folder):
        try:
            whole = prepare_portrait(image, face_landmarker=face_landmarker)
        except PayloadError:
            continue
        for index in range(whole.num_faces):
            try:
                face = whole
                if whole.num_faces > 1:
                    face = prepare_portrait(
                        image, face_landmarker=face_landmarker, face_index=index
                    )
                crop = square_crop(face.landmarks, scale=PICTURE_SCALE, size=PICTURE)
                around = extract_crop(image, crop, PICTURE).mul(255).round().byte()
                found[f"{name}#{index}"] = prepare_portrait(around, face_landmarker=face_landmarker)
            except PayloadError:
                continue
    return found


def _pictures(folder: Path) -> Iterator[tuple[str, Tensor]]:
    from skimage.data import astronaut

    yield ASTRONAUT, torch.from_numpy(astronaut().copy())
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"):
            yield path.stem, read_image(path)


def split_portraits(
    portraits: dict[str, Portrait], held_out: Sequence[str], pictures: Path
) -> tuple[dict[str, Portrait], dict[str, Portrait]]:
    """Portraits to train on, and those whose names begin as `held_out` says.

    Raises:
        PayloadError: no face is left to train on, or none to test with.
    """
    test = {name: p for name, p in portraits.items() if name.startswith(tuple(held_out))}
    train = {name: p for name, p in portraits.items() if name not in test}
    if not train or not test:
        raise PayloadError(
            f"'{pictures}' has {len(train)} faces to train on and {len(test)} held out"
            f" ({', '.join(held_out)}); at least one of each is needed."
        )
    return train, test


def split_utterances(corpus: Path) -> tuple[list[Utterance], list[Utterance]]:
    """Sentences to train on, and a tenth that is held out."""
    utterances = [u for clips in read_corpus(corpus).values() for u in clips]
    random.Random(0).shuffle(utterances)
    cut = len(utterances) // 10
    return utterances[cut:], utterances[:cut]


def prepare(
    pictures: Path,
    corpus: Path,
    held_out: Sequence[str],
    counts: tuple[int, int],
    face_landmarker: Path | None,
) -> tuple[Clips, Clips]:
    """Clips to train on, and clips of the held-out portraits saying other sentences.

    Raises:
        PayloadError: no face is left to train on, or none to test with.
    """
    portraits = find_portraits(pictures, face_landmarker)
    train, test = split_portraits(portraits, held_out, pictures)
    spoken, unheard = split_utterances(corpus)
    return (
        draw_clips(train, spoken, counts[0], 1),
        draw_clips(test, unheard, counts[1], 2),
    )
