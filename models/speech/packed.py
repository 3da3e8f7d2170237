"""Features at a rate of their own, carried by a stream that has one row per video frame.

A row holds all features that begin within its frame, side by side, so that a motion model gets back
exactly what the encoder heard, whatever the frame rate.
"""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor

from ..payloads import PayloadError, Timeline


def pack(features: Tensor, rate: int, timeline: Timeline) -> Tensor:
    """Features `[N, D]` at `rate` per second as a stream `[T, k · D]`; k depends on the rates."""
    places = _places(rate, timeline)
    return features[places.clamp(max=len(features) - 1)].flatten(1).float()


def unpack(stream: Tensor, width: int, rate: int, timeline: Timeline, needed_by: str) -> Tensor:
    """The features again, `[N, width]`; where there were fewer, the last one is repeated.

    Raises:
        PayloadError: the stream is not of this width and rate.
    """
    places = _places(rate, timeline)
    if stream.shape[1] != places.shape[1] * width:
        raise PayloadError(
            f"{needed_by} needs {places.shape[1] * width} channels at {float(timeline.fps):g} fps,"
            f" but the stream has {stream.shape[1]}. Encode the sound with its own speech encoder."
        )
    features = stream.new_zeros(int(places[-1, -1]) + 1, width)
    features[places.flatten()] = stream.unflatten(1, (-1, width)).flatten(0, 1)
    return features


def _places(rate: int, timeline: Timeline) -> Tensor:
    """Which features stand in which row, `[T, k]` int64."""
    fps = timeline.fps
    frames = torch.arange(timeline.num_frames)
    first = frames * (rate * fps.denominator) // fps.numerator
    return first[:, None] + torch.arange(ceil(rate / fps))
