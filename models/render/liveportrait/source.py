"""The portrait as LivePortrait sees it: which square of it, and in which state its face is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...payloads import PayloadError, Portrait
from ...portrait.affine import extract_crop
from .crop import CROP_SIZE, face_crop, kdtalker_crop
from .keypoints import LivePortraitSource

INPUT_SIZE = 256  # pixels that the encoders look at
CROPS: dict[str, Callable[[Portrait], Tensor]] = {
    "face": lambda portrait: face_crop(portrait.landmarks),
    "kdtalker": lambda portrait: kdtalker_crop(portrait.landmarks, *portrait.size),
    "portrait": lambda portrait: _resized(portrait.crop, portrait.crop_size),
}
"""LivePortrait's own rule, KDTalker's, or the crop that the portrait brings."""


def cropped(portrait: Portrait, crop: str = "face") -> Portrait:
    """The portrait with the square of 512 pixels that `crop`, a key of `CROPS`, chooses.

    Raises:
        PayloadError: there is no such rule.
    """
    if crop not in CROPS:
        raise PayloadError(f"'{crop}' is no crop of LivePortrait's. Known: {', '.join(CROPS)}.")
    return replace(portrait, crop=CROPS[crop](portrait), crop_size=CROP_SIZE)


def crop_picture(portrait: Portrait) -> Tensor:
    """What the encoders look at, `[1, 3, 256, 256]` in 0 … 1, of a portrait from `cropped`."""
    large = extract_crop(portrait.image, portrait.crop, portrait.crop_size)
    return F.interpolate(large.movedim(-1, 0)[None], (INPUT_SIZE, INPUT_SIZE), mode="area")


def find_source(extractor: nn.Module, portrait: Portrait, picture: Tensor) -> LivePortraitSource:
    """The state of the face, by the motion extractor, with the portrait's own measures.

    Args:
        extractor: `checkpoints.load("liveportrait/motion", …)`, in float32.
        portrait: from `cropped`.
        picture: its `crop_picture`, on the extractor's device.
    """
    linear = portrait.crop[:2, :2]
    pixels = float(torch.linalg.det(linear).abs().sqrt())  # of the crop per pixel of the picture
    interocular = float(portrait.interocular) * pixels * 2 / portrait.crop_size
    tilt = math.degrees(math.atan2(float(linear[1, 0]), float(linear[0, 0])))
    with torch.no_grad():
        heads = extractor(picture)
    return LivePortraitSource.from_heads(heads, interocular=interocular, tilt=tilt)


def _resized(crop: Tensor, size: int) -> Tensor:
    """The same square with `CROP_SIZE` pixels a side; centres of pixels lie at whole numbers."""
    factor = CROP_SIZE / size
    shift = (factor - 1) / 2
    scale = crop.new_tensor([[factor, 0, shift], [0, factor, shift], [0, 0, 1]])
    return scale @ crop
