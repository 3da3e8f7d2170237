"""Segments of one second, as the published program of ATL-Diff starts and joins them.

For the reference mode only: 30 frames of landmarks become 32, of 32 pictures 24 are kept, and they
are played at 24 frames per second, whatever the sound does. What our own renderer does instead has
overlapping windows and the frame rate of the timeline.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from math import ceil

import torch
from torch import Tensor

from ..motion.kdtalker_motion import resample
from ..motion.posed import posed_landmarks
from ..payloads import GuidedNoise, Motion, Portrait, Timeline
from .landmark_guided import NoiseOptions, PublishedGuide, frame_noise

RATE = 30  # frames of landmarks in a second
SEGMENT = 32  # frames
KEPT = slice(5, 29)  # of a segment
FPS = 24
FADE = 8  # last frames of a segment that fade …
TOWARDS = 3  # … to this kept frame of the next one


def lengthen(frames: Tensor) -> Tensor:
    """30 frames of a second `[30, …]` and the last two of them again: `[32, …]`."""
    return torch.cat([frames, frames[-2:]])


def segment_noise(portrait: Portrait, motion: Motion, options: NoiseOptions) -> Iterator[Tensor]:
    """Guided noise as the published program draws it, second by second: `[32, 3, 128, 128]` each.

    The last second is filled up with its last frame.

    Args:
        portrait: who moves.
        motion: at any frame rate; it is brought to 30 frames a second.
        options: in the mode "reference".

    Raises:
        PayloadError: landmarks outside the picture.
    """
    posed, timeline = posed_landmarks(motion, portrait), motion.timeline
    count = seconds(timeline)
    curves = resample(posed.flatten(1), timeline.fps, Fraction(RATE), count * RATE)
    landmarks = torch.cat([lengthen(second) for second in curves.split(RATE)])
    guide = PublishedGuide.of(portrait, landmarks.unflatten(1, (-1, 3)), options)
    for first in range(0, count * SEGMENT, SEGMENT):
        frames = range(first, first + SEGMENT)
        strength = guide.frames(frames)[:, None] + options.r_min
        yield guide.identity + strength * frame_noise(frames, options)


def segments_of(noise: GuidedNoise, timeline: Timeline) -> Iterator[Tensor]:
    """Noise on a timeline as the same segments; at 30 frames a second every frame is used."""
    centres = (torch.arange(seconds(timeline) * RATE, dtype=torch.float64) + 0.5) / RATE
    frames = (centres * float(timeline.fps)).long().clamp(max=timeline.num_frames - 1)
    for second in frames.split(RATE):
        yield lengthen(noise.frames[second])


def assembled(segments: Iterable[Tensor], timeline: Timeline) -> Iterator[Tensor]:
    """Pictures of segments `[32, …]`, joined as published, on the clock of a timeline.

    The published video has 24 frames a second. At this rate the timeline shows each of them once,
    at any other the one whose turn it is. Two segments are held at a time.
    """
    shown = (timeline.frame_centres() * FPS).long().clamp(max=seconds(timeline) * FPS - 1)
    for number, kept in enumerate(_assembled(segments)):
        first = number * FPS
        chosen = shown[(shown >= first) & (shown < first + FPS)] - first
        if len(chosen):
            yield kept[chosen.to(kept.device)]


def _assembled(segments: Iterable[Tensor]) -> Iterator[Tensor]:
    """What `assemble` gives, second by second."""
    held: Tensor | None = None
    for segment in segments:
        if held is not None:
            yield assemble(torch.stack([held, segment]))[:FPS]
        held = segment
    if held is not None:
        yield assemble(held[None])


def assemble(segments: Tensor) -> Tensor:
    """Pictures of segments `[n, 32, …]` one after the other, `[24 n, …]`.

    The last eight frames fade to the fourth kept frame of the next segment, which then begins at
    its first: a jump back that belongs to the published result.
    """
    kept = segments[:, KEPT].clone()
    for back in range(FADE):
        share = 1 / (back + 1)
        fading = kept[:-1, -1 - back]
        kept[:-1, -1 - back] = (1 - share) * fading + share * kept[1:, TOWARDS]
    return kept.flatten(0, 1)


def seconds(timeline: Timeline) -> int:
    """Whole seconds that hold the sound."""
    return ceil(Fraction(timeline.num_samples, timeline.sample_rate))
