"""From any motion space to any other, through ARKit's weights, the hub.

`arkit52 ↔ landmarks68` goes through the rig, `arkit52 ↔ liveportrait` over the bridge. Renderers
name the space they want, and whoever calls them converts; a conversion that loses something says so
in the motion's notes.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ..payloads import MOTION_SPACES, Motion, PayloadError, Portrait
from .bridge import arkit_to_liveportrait, liveportrait_to_arkit
from .rig import load_rig

BLOCK = 4096  # frames converted at a time, which bounds the memory of half an hour


def convert(motion: Motion, space: str, portrait: Portrait | None = None) -> Motion:
    """The same movement in another space; the motion itself where it is there already.

    Args:
        motion: in any space.
        space: "arkit52", "landmarks68" or "liveportrait".
        portrait: whose face moves. Its lids and lips decide how far a blink has to go; without it
            the mean face's do.

    Raises:
        PayloadError: there is no way from the one to the other.
    """
    if motion.space == space:
        return motion
    if (motion.space, space) not in _CONVERSIONS:
        ways = ", ".join(f"{source} to {target}" for source, target in _CONVERSIONS)
        known = "" if space in MOTION_SPACES else f" ('{space}' is no motion space)"
        raise PayloadError(
            f"Motion cannot be converted from {motion.space} to {space}{known}. Possible: {ways}."
        )
    change, note = _CONVERSIONS[motion.space, space]
    return replace(
        motion, space=space, values=change(motion.values, portrait), notes=(*motion.notes, note)
    )


def _to_landmarks(weights: Tensor, portrait: Portrait | None) -> Tensor:
    rig = load_rig()
    neutral = rig.neutral_of(portrait) if portrait else None
    offsets = weights.new_empty(len(weights), *MOTION_SPACES["landmarks68"])
    for start in range(0, len(weights), BLOCK):
        offsets[start : start + BLOCK] = rig.offsets(weights[start : start + BLOCK], neutral)
    return offsets


def _to_weights(offsets: Tensor, portrait: Portrait | None) -> Tensor:
    weights = offsets.new_empty(len(offsets), *MOTION_SPACES["arkit52"])
    rig = load_rig()
    neutral = rig.neutral_of(portrait) if portrait else None
    for start in range(0, len(offsets), BLOCK):
        piece = offsets[start : start + BLOCK]
        weights[start : start + BLOCK] = rig.weights_from_landmarks(piece, neutral)
    return weights


def _to_keypoints(weights: Tensor, portrait: Portrait | None) -> Tensor:
    return arkit_to_liveportrait(weights)


def _from_keypoints(offsets: Tensor, portrait: Portrait | None) -> Tensor:
    return liveportrait_to_arkit(offsets)


def _landmarks_to_keypoints(offsets: Tensor, portrait: Portrait | None) -> Tensor:
    return _to_keypoints(_to_weights(offsets, portrait), portrait)


def _keypoints_to_landmarks(offsets: Tensor, portrait: Portrait | None) -> Tensor:
    return _to_landmarks(_from_keypoints(offsets, portrait), portrait)


_CONVERSIONS = {
    ("arkit52", "landmarks68"): (
        _to_landmarks,
        "Converted from arkit52 to landmarks68, lossy: gaze and tongue have no landmarks.",
    ),
    ("landmarks68", "arkit52"): (
        _to_weights,
        "Converted from landmarks68 to arkit52, lossy: only what 52 weights can express is left,"
        " without gaze and tongue.",
    ),
    ("arkit52", "liveportrait"): (
        _to_keypoints,
        "Converted from arkit52 to liveportrait, lossy: a linear map fitted to a few people.",
    ),
    ("liveportrait", "arkit52"): (
        _from_keypoints,
        "Converted from liveportrait to arkit52, lossy: a linear map fitted to a few people.",
    ),
    ("landmarks68", "liveportrait"): (
        _landmarks_to_keypoints,
        "Converted from landmarks68 to liveportrait through arkit52, lossy twice.",
    ),
    ("liveportrait", "landmarks68"): (
        _keypoints_to_landmarks,
        "Converted from liveportrait to landmarks68 through arkit52, lossy twice.",
    ),
}
