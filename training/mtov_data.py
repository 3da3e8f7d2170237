"""Windows to train MToV's networks on, drawn by the warp renderer.

Portraits say pieces of sentences; of each window the networks are shown what the renderer shows
them: frames that hold the pose, drawn landmarks, the portrait itself. What is said in a window
depends on its number alone, so that windows can be drawn in any order.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models import checkpoints
from ..models.motion import starter as starter_motion
from ..models.payloads import Motion, Portrait, Timeline
from ..models.render.mtov.landmark_drawing import without_lower_half
from ..models.render.mtov.scene import PoseFrames, Scene
from ..models.render.setup import Setup
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
PIECES = 4  # of a sentence
TENSORS = ("frames", "pose", "drawn", "reference", "landmarks", "unspoken", "shown")


@dataclass(frozen=True, kw_only=True, eq=False)
class Windows:
    """As many rows as there are windows; pictures are uint8."""

    frames: Tensor  # [N, T, 3, S, S]
    pose: Tensor  # [N, T, 3, S, S], the same without speech
    drawn: Tensor  # [N, T, S, S], landmarks
    reference: Tensor  # [N, 3, S, S], the portrait
    landmarks: Tensor  # [N, T, 68, 2] float32, pixels of the squares
    unspoken: Tensor  # [N, T, 68, 2] float32, where they are in the pose
    shown: Tensor  # [N, T, S, S], the lower face
    names: list[str]  # of the portraits

    def __len__(self) -> int:
        return len(self.names)

    def save(self, path: Path) -> None:
        """As safetensors."""
        from safetensors.torch import save_file

        tensors = {name: getattr(self, name).contiguous() for name in TENSORS}
        save_file(tensors, str(path), metadata={"names": json.dumps(self.names)})

    def masked(self, row: int) -> Tensor:
        """The pose without the lower half, `[T, 3, S, S]` uint8."""
        return without_lower_half(self.pose[row], self.landmarks[row])

    @classmethod
    def load(cls, path: Path) -> Windows:
        """What `save` wrote."""
        tensors, metadata = checkpoints.read(path)
        return cls(**tensors, names=json.loads(metadata["names"]))


def draw_windows(
    portraits: dict[str, Portrait],
    motion: Callable[[int], Motion],
    numbers: Iterable[int],
    **square: float,
) -> Windows:
    """Windows of `FRAMES` frames, as many of each portrait as of any other.

    Args:
        portraits: by name.
        motion: a window's number → motion in "arkit52" of `FRAMES` frames.
        numbers: of the windows to draw; neighbours share a portrait.
        square: size, crop_scale and crop_shift of the squares, as `Scene.of` takes them.
    """
    names, warp, rows = list(portraits), WarpRenderer(), []
    prepared = lru_cache(maxsize=1)(lambda name: warp.prepare(portraits[name]))
    for number in numbers:
        name = names[number // 2 % len(names)]
        rows.append((name, _drawn(portraits[name], prepared(name), motion(number), square)))
    columns = {key: torch.stack([row[key] for _, row in rows]) for key in TENSORS}
    return Windows(**columns, names=[name for name, _ in rows])


def _drawn(
    portrait: Portrait, setup: Setup, motion: Motion, square: dict[str, float]
) -> dict[str, Tensor]:
    """The tensors of one window."""
    warp, frames = WarpRenderer(), torch.arange(FRAMES)
    told = [
        warp.frame(
            setup,
            motion.values[i],
            rotation=motion.rotation[i],
            translation=motion.translation[i],
            scale=motion.scale[i],
        )
        for i in range(FRAMES)
    ]
    scale, shift = square["crop_scale"], square["crop_shift"]
    scene = Scene.of(portrait, motion, int(square["size"]), crop_scale=scale, crop_shift=shift)
    pose = PoseFrames(portrait, motion, setup)
    shown = scene.lower_face(frames)[:, None]
    return {
        "frames": _bytes(scene.squares(torch.stack(told))),
        "pose": _bytes(scene.squares(pose(frames))),
        "drawn": _bytes((scene.landmark_video(frames)[0] + 1) / 2),
        "reference": _bytes(scene.squares(portrait.image[None])[0]),
        "landmarks": scene.landmarks.float(),
        "unspoken": scene.unspoken.float(),
        "shown": _bytes(F.interpolate(shown.float(), (scene.size, scene.size), mode="area")[:, 0]),
    }


class Spoken:
    """A window's number → motion of `FRAMES` frames, a piece of what the starter says.

    Args:
        utterances: the sentences to say.
        seed: of the choice.
    """

    def __init__(self, utterances: Sequence[Utterance], seed: int) -> None:
        self.utterances, self.seed = utterances, seed
        self.listener, self.speaker = starter_speech.load(), starter_motion.load()
        self._told: tuple[int, Motion] | None = None  # the sentence said last

    def __call__(self, number: int) -> Motion:
        """Pieces of one sentence are told in a row."""
        sentence = number // PIECES
        if self._told is None or self._told[0] != sentence:
            self._told = sentence, self._say(random.Random(f"{self.seed} sentence {sentence}"))
        source = random.Random(f"{self.seed} {number}")
        return livened(piece(self._told[1], FRAMES, source), NEUTRAL, source)

    def _say(self, source: random.Random) -> Motion:
        sound = torch.from_numpy(source.choice(self.utterances).sound).float()[None] / 32768
        sound = sound[:, : 8 * SAMPLE_RATE]
        timeline = Timeline.for_sound(sound.shape[-1], SAMPLE_RATE, FPS)
        speech = self.listener.encode(sound, SAMPLE_RATE, timeline)
        return self.speaker.sample(speech, seed=source.randrange(2**31))


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
    return (
        draw_windows(train, Spoken(said, 1), range(counts[0]), **square),
        draw_windows(test, Spoken(unheard, 2), range(counts[1]), **square),
    )


def signed(pictures: Tensor) -> Tensor:
    """uint8 → −1 … 1."""
    return pictures.float() / 127.5 - 1


def _bytes(pictures: Tensor) -> Tensor:
    """0 … 1 → uint8."""
    return (pictures.clamp(0, 1) * 255).round().to(torch.uint8)
