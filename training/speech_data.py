"""From cached utterances to training batches: crops, their lips, and augmentation."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..models.speech import mel
from . import augment
from .phones import Segment
from .synthesis import SAMPLE_RATE, Utterance, load
from .visemes import FRAME_RATE, lip_track, phone_classes

FRAMES = 256  # of a crop, 5.12 s
EMPHASIS = 0.5  # how much of a change in loudness the opening of the lips follows


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What a training step sees."""

    seen: Tensor  # [B, 2T, 80] normalised log-mel
    track: Tensor  # [B, T, 4]
    phones: Tensor  # [B, T]


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A piece of speech and what belongs to it."""

    sound: Tensor  # [S] at 16 kHz
    track: Tensor  # [T, 4] at 50 Hz
    phones: Tensor  # [T]
    sentences: list[tuple[str, float, float]]  # the text, and when it begins and ends, seconds


def read_corpus(folder: Path) -> dict[str, list[Utterance]]:
    """Every cached utterance, by file name."""
    return {path.stem: load(path) for path in sorted(folder.glob("*.npz"))}


def batches(
    corpus: dict[str, list[Utterance]], size: int, seed: int, clean: bool = False
) -> Iterator[Batch]:
    """Endless random batches; a file is drawn in proportion to the root of its length."""
    source = random.Random(seed)
    names = list(corpus)
    shares = [len(corpus[name]) ** 0.5 for name in names]
    while True:
        crops = []
        for _ in range(size):
            (name,) = source.choices(names, shares)
            crops.append(crop(corpus[name], source, clean))
        yield collate(crops, clean)


def crop(clips: list[Utterance], source: random.Random, clean: bool, frames: int = FRAMES) -> Crop:
    """A piece of `frames / 50` seconds out of one file, up to a quarter faster or slower."""
    ratio = 1.0 if clean else float(np.exp(source.uniform(-0.22, 0.22)))
    sound = np.zeros(int(frames / FRAME_RATE * SAMPLE_RATE * ratio) + 1, np.float32)
    segments: list[Segment] = []
    sentences: list[tuple[str, float, float]] = []
    index = source.randrange(len(clips))
    inside = source.random() < 0.7  # of an utterance, or before one
    place = -source.randrange(len(clips[index].sound)) if inside else source.randrange(24000)
    if source.random() < 0.05 and not clean:
        place = len(sound)  # nobody speaks
    while place < len(sound):
        said = clips[index]
        gain = 10 ** source.uniform(-0.2, 0.2) / 32768
        _paste(sound, said.sound.astype(np.float32) * gain, place)
        offset = place / SAMPLE_RATE
        segments += [Segment(p, a + offset, b + offset) for p, a, b in said.segments]
        sentences.append((said.text, offset / ratio, (offset + said.seconds) / ratio))
        pause = source.choice((0.0, 0.2, 0.5, 1.5)) * source.random()
        place += len(said.sound) + int(pause * SAMPLE_RATE)
        index = (index + 1) % len(clips)
    heard = functional.interpolate(
        torch.from_numpy(sound)[None, None], frames * SAMPLE_RATE // FRAME_RATE, mode="linear"
    )[0, 0]
    times = np.arange(frames) / FRAME_RATE * ratio
    return Crop(
        sound=heard,
        track=torch.from_numpy(lip_track(segments, times).astype(np.float32)),
        phones=torch.from_numpy(phone_classes(segments, times)),
        sentences=sentences,
    )


def _paste(canvas: np.ndarray, piece: np.ndarray, place: int) -> None:
    start, stop = max(place, 0), min(place + len(piece), len(canvas))
    if stop > start:
        canvas[start:stop] = piece[start - place : stop - place]


def collate(crops: list[Crop], clean: bool) -> Batch:
    """Augment crops and turn them into what the network sees."""
    sound = torch.stack([piece.sound for piece in crops])
    track = torch.stack([piece.track for piece in crops])
    phones = torch.stack([piece.phones for piece in crops])
    if clean:
        spectrum = mel.log_mel(sound)[:, : 2 * track.shape[1]]
        return Batch(seen=mel.normalise(spectrum, averages(spectrum)), track=track, phones=phones)
    sound, track = emphasise(sound, track)
    noisy = augment.add_noise(augment.reverberate(sound))
    return Batch(seen=disguise(noisy, 2 * track.shape[1]), track=track, phones=phones)


def disguise(sound: Tensor, frames: int) -> Tensor:
    """The normalised log-mel spectrum `[B, frames, 80]` of `sound [B, S]`, as if others spoke."""
    spectrum = mel.log_mel(sound)[:, :frames]
    spectrum = augment.compress(augment.blur(augment.warp_tract(spectrum)))
    spectrum = augment.equalise(spectrum)
    return augment.mask(mel.normalise(spectrum, averages(spectrum, random_part=True)))


def emphasise(sound: Tensor, track: Tensor) -> tuple[Tensor, Tensor]:
    """Say some syllables louder and others softer, ±6 dB, and open the lips accordingly."""
    batch = len(sound)
    knots = torch.randn(batch, 1, 16) * 3 * augment.chance(0.7, batch, 1, 1)
    decibels = functional.interpolate(knots, sound.shape[1], mode="linear", align_corners=True)[
        :, 0
    ]
    slow = functional.interpolate(knots, track.shape[1], mode="linear", align_corners=True)[:, 0]
    opening = (10 ** (slow * EMPHASIS / 20)).clamp(0.5, 1.5)
    opened = torch.cat([track[..., :1] * opening[..., None], track[..., 1:]], -1)
    return sound * 10 ** (decibels / 20), opened


def averages(spectrum: Tensor, random_part: bool = False) -> Tensor:
    """`mel.average` for a batch `[B, T, 80]`, of a random half or more of each crop: `[B, 80]`."""
    weight = mel.loudness(spectrum)
    if random_part:
        frames = spectrum.shape[1]
        length = augment.uniform(0.5, 1.3, len(spectrum), 1) * frames
        start = augment.uniform(-0.1, 0.6, len(spectrum), 1) * frames
        moment = torch.arange(frames)
        weight = weight * ((moment >= start) & (moment < start + length)) + 1e-7
    return (spectrum * weight[..., None]).sum(1) / weight.sum(1, keepdim=True)
