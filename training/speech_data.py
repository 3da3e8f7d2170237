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
from .synthesis import SAMPLE_RATE, load
from .visemes import FRAME_RATE, lip_track, phone_classes

FRAMES = 256  # of a crop, 5.12 s
EMPHASIS = 0.5  # how much of a change in loudness the opening of the lips follows


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One utterance with its lips."""

    sound: np.ndarray  # [S] int16
    track: np.ndarray  # [K, 4] float32 at 50 Hz, see visemes.lip_track
    phones: np.ndarray  # [K] int16 index into PHONES
    voice: str


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What a training step sees."""

    seen: Tensor  # [B, 2T, 80] normalised log-mel
    track: Tensor  # [B, T, 4]
    phones: Tensor  # [B, T]


def read_corpus(folder: Path) -> dict[str, list[Clip]]:
    """Every cached utterance with its targets, by file name."""
    return {path.stem: [_clip(u) for u in load(path)] for path in sorted(folder.glob("*.npz"))}


def _clip(utterance) -> Clip:  # noqa: ANN001
    frames = int(utterance.seconds * FRAME_RATE) + 1
    times = np.arange(frames) / FRAME_RATE
    return Clip(
        sound=utterance.sound,
        track=lip_track(utterance.segments, times).astype(np.float32),
        phones=phone_classes(utterance.segments, times).astype(np.int16),
        voice=utterance.voice,
    )


def batches(
    corpus: dict[str, list[Clip]], size: int, seed: int, clean: bool = False
) -> Iterator[Batch]:
    """Endless random batches; a file is drawn in proportion to the root of its length."""
    source = random.Random(seed)
    names = list(corpus)
    shares = [len(corpus[name]) ** 0.5 for name in names]
    while True:
        crops = []
        for _ in range(size):
            (name,) = source.choices(names, shares)
            crops.append(_crop(corpus[name], source, clean))
        yield collate(crops, clean)


def _crop(clips: list[Clip], source: random.Random, clean: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Sound `[S]`, track `[T, 4]`, phones `[T]` of 5.12 s, up to a quarter faster or slower."""
    ratio = 1.0 if clean else float(np.exp(source.uniform(-0.22, 0.22)))
    samples = int(FRAMES / FRAME_RATE * SAMPLE_RATE * ratio) + 1
    sound = np.zeros(samples, np.float32)
    frames = int(samples / SAMPLE_RATE * FRAME_RATE) + 2
    track, phones = np.zeros((frames, 4), np.float32), np.zeros(frames, np.int64)
    index = source.randrange(len(clips))
    place = (
        -source.randrange(len(clips[index].sound))
        if source.random() < 0.7
        else source.randrange(8000)
    )
    if source.random() < 0.03 and not clean:
        place = samples  # nobody speaks
    gain = 1.0
    while place < samples:
        clip = clips[index]
        place = round(place / 320) * 320  # whole target frames
        _paste(sound, clip.sound.astype(np.float32) * gain / 32768, place)
        _paste(track, clip.track, place // 320)
        _paste(phones, clip.phones, place // 320)
        place += len(clip.sound) + int(
            source.choice((0.0, 0.2, 0.5, 1.2)) * source.random() * SAMPLE_RATE
        )
        index = (index + 1) % len(clips)
        gain = 10 ** source.uniform(-0.2, 0.2)
    wanted = FRAMES * 320
    position = np.arange(FRAMES) * ratio
    below = position.astype(int)
    share = (position - below)[:, None].astype(np.float32)
    heard = functional.interpolate(torch.from_numpy(sound)[None, None], wanted, mode="linear")[0, 0]
    moved = track[below] * (1 - share) + track[below + 1] * share
    return heard, torch.from_numpy(moved), torch.from_numpy(phones[np.round(position).astype(int)])


def _paste(canvas: np.ndarray, piece: np.ndarray, place: int) -> None:
    start, stop = max(place, 0), min(place + len(piece), len(canvas))
    if stop > start:
        canvas[start:stop] = piece[start - place : stop - place]


def collate(crops: list[tuple[Tensor, Tensor, Tensor]], clean: bool) -> Batch:
    """Augment crops and turn them into what the network sees."""
    sound, track, phones = (torch.stack(column) for column in zip(*crops, strict=True))
    if clean:
        spectrum = mel.log_mel(sound)[:, : 2 * FRAMES]
        return Batch(seen=mel.normalise(spectrum, averages(spectrum)), track=track, phones=phones)
    sound, track = emphasise(sound, track)
    sound = augment.add_noise(augment.reverberate(sound))
    spectrum = mel.log_mel(sound)[:, : 2 * FRAMES]
    spectrum = augment.equalise(augment.warp_tract(augment.compress(spectrum)))
    seen = mel.normalise(spectrum, averages(spectrum, random_part=True))
    return Batch(seen=augment.mask(seen), track=track, phones=phones)


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
