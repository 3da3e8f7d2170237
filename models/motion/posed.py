"""Where a motion puts the landmarks of a portrait: expression first, then the head."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..payloads import Motion, Portrait, Timeline
from ..portrait.geometry import euler_to_matrix
from ..render.head import Head
from .rig import load_rig
from .spaces import convert


def posed_landmarks(motion: Motion, portrait: Portrait, frames: range | None = None) -> Tensor:
    """The portrait's 68 landmarks in every frame, `[T, 68, 3]` float32 in source pixels.

    Args:
        motion: in any space; what is not "landmarks68" goes through the rig.
        portrait: whose landmarks move. A motion of zeros leaves them where they are.
        frames: those that are wanted, without gaps; all by default.
    """
    motion = motion if frames is None else _part(motion, frames)
    values = convert(motion, "landmarks68", portrait).values
    placed = load_rig().place(values, portrait)
    head, linear, shift = _placement(motion, portrait)
    return (placed - head.pivot) @ linear.mT + head.pivot + shift


def unposed_landmarks(landmarks: Tensor, motion: Motion, portrait: Portrait) -> Tensor:
    """The values `[T, 68, 3]` with which a motion's head puts the landmarks there.

    Args:
        landmarks: `[T, 68, 3]`, source pixels.
        motion: whose head it is; its own values are not used.
        portrait: whose landmarks move.
    """
    head, linear, shift = _placement(motion, portrait)
    placed = (landmarks - shift - head.pivot) @ torch.linalg.inv(linear.mT) + head.pivot
    return load_rig().displaced(placed, portrait)


def _placement(motion: Motion, portrait: Portrait) -> tuple[Head, Tensor, Tensor]:
    """The head, how it turns and grows `[T, 3, 3]`, and where it goes `[T, 1, 3]` in pixels."""
    head = Head.of(portrait)
    linear = euler_to_matrix(motion.rotation) * motion.scale[:, None, None]
    return head, linear, motion.translation[:, None] * head.interocular


def _part(motion: Motion, frames: range) -> Motion:
    """Some frames of a motion, on a clock of their own."""
    chosen = slice(frames.start, frames.stop)
    return replace(
        motion,
        values=motion.values[chosen],
        rotation=motion.rotation[chosen],
        translation=motion.translation[chosen],
        scale=motion.scale[chosen],
        timeline=Timeline.for_frames(len(frames), motion.timeline.fps),
    )
