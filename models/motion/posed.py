"""Where a motion puts the landmarks of a portrait: expression first, then the head."""

from __future__ import annotations

from dataclasses import replace

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
    head = Head.of(portrait)
    linear = euler_to_matrix(motion.rotation) * motion.scale[:, None, None]
    turned = (placed - head.pivot) @ linear.mT + head.pivot
    return turned + motion.translation[:, None] * head.interocular


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
