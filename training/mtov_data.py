"""Windows to train MToV's networks on, drawn by the warp renderer.

Portraits say pieces of sentences; of each window the networks are shown what the renderer shows
them: frames that hold the pose without their lower half, drawn landmarks, the portrait itself.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..models import checkpoints
from ..models.motion import starter as starter_motion
from ..models.payloads import Motion, Portrait, Timeline
from ..models.render.mtov.scene import Scene
from ..models.render.warp import WarpRenderer
from ..models.speech import starter as starter_speech
from .identity_diffusion_data import (
    FPS,
    FRAMES,
    find_portraits,
    livened,
    piece,
    split_portraits,
    split_utterances,
)
from .synthesis import SAMPLE_RATE, Utterance

NEUTRAL = 7  # the emotion that adds nothing
TENSORS = ("frames", "masked", "drawn", "reference")


@dataclass(frozen=True, kw_only=True, eq=False)
class Windows:
    """As many rows as there are windows; all uint8."""

    frames: Tensor  # [N, T, 3, S, S]
    masked: Tensor  # [N, T, 3, S, S], the pose without the lower half
    drawn: Tensor  # [N, T, S, S], landmarks
    reference: Tensor  # [N, 3, S, S], the portrait
    names: list[str]  # of the portraits

    def __len__(self) -> int:
        return len(self.names)

    def save(self, path: Path) -> None:
        """As safetensors."""
        from safetensors.torch import save_file

        tensors = {name: getattr(self, name).contiguous() for name in TENSORS}
        save_file(tensors, str(path), metadata={"names": json.dumps(self.names)})

    @classmethod
    def load(cls, path: Path) -> Windows:
        """What `save` wrote."""
        tensors, metadata = checkpoints.read(path)
        return cls(**tensors, names=json.loads(metadata["names"]))


def draw_windows(
    portraits: dict[str, Portrait],
    motions: Iterator[Motion],
    count: int,
    *,
    size: int,
    crop_scale: float,
) -> Windows:
    """`count` windows of `FRAMES` frames, the portraits in turn.

    Args:
        portraits: by name.
        motions: endless, in "arkit52", of `FRAMES` frames each.
        count: windows.
        size: side of the squares, pixels.
        crop_scale: of the squares, in sizes of the face.
    """
    names, rows, warp, frames = list(portraits), [], WarpRenderer(), torch.arange(FRAMES)
    for number in range(count):
        portrait, motion = portraits[names[number % len(names)]], next(motions)
        scene = Scene.of(portrait, motion, size, crop_scale=crop_scale)
        told = torch.cat(list(warp.render(portrait, motion)))
        masked = scene.masked_video(scene.squares(scene.pictures(frames)), frames)
        rows.append(
            (
                _bytes(2 * scene.squares(told) - 1),
                _bytes(masked.movedim(0, 1)),
                _bytes(scene.landmark_video(frames)[0]),
                _bytes(scene.reference_video(1)[:, 0]),
            )
        )
    columns = [torch.stack(column) for column in zip(*rows, strict=True)]
    tensors = dict(zip(TENSORS, columns, strict=True))
    return Windows(**tensors, names=[names[i % len(names)] for i in range(count)])


def spoken(utterances: Sequence[Utterance], seed: int) -> Iterator[Motion]:
    """Endless motions of `FRAMES` frames, pieces of what the starter makes of sentences."""
    source = random.Random(seed)
    listener, speaker = starter_speech.load(), starter_motion.load()
    while True:
        sound = torch.from_numpy(source.choice(utterances).sound).float()[None] / 32768
        sound = sound[:, : 8 * SAMPLE_RATE]
        timeline = Timeline.for_sound(sound.shape[-1], SAMPLE_RATE, FPS)
        speech = listener.encode(sound, SAMPLE_RATE, timeline)
        motion = speaker.sample(speech, seed=source.randrange(2**31))
        for _ in range(4):
            yield livened(piece(motion, FRAMES, source), NEUTRAL, source)


def prepare(
    pictures: Path,
    corpus: Path,
    held_out: Sequence[str],
    counts: tuple[int, int],
    face_landmarker: Path | None,
    **square: float,
) -> tuple[Windows, Windows]:
    """Windows to train on, and windows of the held-out portraits saying other sentences.

    Raises:
        PayloadError: no face is left to train on, or none to test with.
    """
    portraits = find_portraits(pictures, face_landmarker)
    train, test = split_portraits(portraits, held_out, pictures)
    said, unheard = split_utterances(corpus)
    size, scale = int(square["size"]), square["crop_scale"]
    return (
        draw_windows(train, spoken(said, 1), counts[0], size=size, crop_scale=scale),
        draw_windows(test, spoken(unheard, 2), counts[1], size=size, crop_scale=scale),
    )


def signed(pictures: Tensor) -> Tensor:
    """uint8 → −1 … 1."""
    return pictures.float() / 127.5 - 1


def _bytes(video: Tensor) -> Tensor:
    return ((video.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
