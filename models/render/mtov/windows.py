"""A clip as windows of 16 frames that overlap, and the windows as one clip again.

Stage 5. The frames that two windows share fade from the one to the other, so that a border shows
nowhere. A clip that ends within a window repeats its last frame there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from ...payloads import PayloadError


def window_frames(total: int, length: int = 16, overlap: int = 0) -> list[Tensor]:
    """The frames of each window, `[length]` int64; together they cover `total` frames.

    Raises:
        PayloadError: no frames, or an overlap as long as a window.
    """
    if total < 1 or not 0 <= overlap < length:
        raise PayloadError(
            f"{total} frames cannot be cut into windows of {length} that share {overlap}."
        )
    stride = length - overlap
    count = max(1, -(-(total - overlap) // stride))
    return [(i * stride + torch.arange(length)).clamp(max=total - 1) for i in range(count)]


def joined(windows: Iterable[Tensor], total: int, overlap: int) -> Iterator[Tensor]:
    """Windows `[length, …]` as parts of the clip, `total` frames in all.

    Args:
        windows: as `window_frames` cuts them, in order.
        total: frames of the clip.
        overlap: frames that neighbouring windows share.

    Yields:
        `[at most length, …]`, as soon as no later window can change it.
    """
    held, done = None, 0
    for window in windows:
        if held is not None:
            share = torch.arange(1, overlap + 1, dtype=window.dtype) / (overlap + 1)
            share = share.to(window.device).view(-1, *[1] * (window.ndim - 1))
            window = torch.cat([torch.lerp(held, window[:overlap], share), window[overlap:]])
        ready = window[: len(window) - overlap][: total - done]
        held = window[len(window) - overlap :]
        done += len(ready)
        if len(ready):
            yield ready
    if held is not None and done < total:
        yield held[: total - done]


def in_batches(parts: Iterable[Tensor], batch: int) -> Iterator[Tensor]:
    """The same frames, `batch` at a time."""
    waiting: list[Tensor] = []
    for part in parts:
        for frame in part:
            waiting.append(frame)
            if len(waiting) == batch:
                yield torch.stack(waiting)
                waiting = []
    if waiting:
        yield torch.stack(waiting)
