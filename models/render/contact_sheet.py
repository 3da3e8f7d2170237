"""One look at what a renderer makes of a portrait: the extremes of a face, side by side.

The end of stage 5, for people: whoever brings a portrait sees here whether its landmarks fit, and
whoever writes a renderer sees where it tears.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..motion.arkit import INDEX
from ..motion.spaces import convert
from ..payloads import Motion, Portrait, Timeline
from ..portrait.affine import extract_crop

TILE = 384  # pixels
LABEL = 28  # height of the line under a tile, pixels
PAPER, INK = (245, 245, 245), (30, 30, 30)

# label, ARKit weights, head rotation (pitch, yaw, roll) in degrees
POSES: tuple[tuple[str, dict[str, float], tuple[float, float, float]], ...] = (
    ("neutral", {}, (0, 0, 0)),
    ("jaw open", {"jawOpen": 1.0}, (0, 0, 0)),
    ("smile", {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0}, (0, 0, 0)),
    ("pucker", {"mouthPucker": 1.0}, (0, 0, 0)),
    ("blink", {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}, (0, 0, 0)),
    ("gaze", {"eyeLookOutLeft": 0.8, "eyeLookInRight": 0.8}, (0, 0, 0)),
    ("turn -15°", {}, (0, -15, 0)),
    ("turn +15°", {}, (0, 15, 0)),
)


def pose_motion() -> Motion:
    """The poses as motion, one per frame."""
    count = len(POSES)
    weights = torch.zeros(count, len(INDEX))
    for frame, (_, pose, _) in enumerate(POSES):
        for name, value in pose.items():
            weights[frame, INDEX[name]] = value
    return Motion(
        space="arkit52",
        values=weights,
        rotation=torch.tensor([rotation for _, _, rotation in POSES], dtype=torch.float32),
        translation=torch.zeros(count, 3),
        scale=torch.ones(count),
        timeline=Timeline.for_frames(count, 25),
    )


def contact_sheet(portrait: Portrait, renderer: Any) -> Tensor:
    """The square around the face in every pose, labelled: `[H, W, 3]` uint8.

    Args:
        portrait: whose face.
        renderer: anything that fulfils the renderer's contract.
    """
    motion = convert(pose_motion(), renderer.space, portrait)
    side = portrait.crop_size
    tiles = [
        extract_crop(frame, portrait.crop, side)
        for frames in renderer.render(portrait, motion, batch=1)
        for frame in frames
    ]
    labels = [label for label, _, _ in POSES]
    return torch.cat([_tile(*pair) for pair in zip(tiles, labels, strict=True)], dim=1)


def _tile(picture: Tensor, label: str) -> Tensor:
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    tile = Image.new("RGB", (TILE, TILE + LABEL), PAPER)
    pixels = picture.mul(255).round().byte() if picture.is_floating_point() else picture
    tile.paste(Image.fromarray(pixels.numpy()).resize((TILE - 4, TILE - 4)), (2, 2))
    middle = (TILE // 2, TILE + LABEL // 2 - 1)
    ImageDraw.Draw(tile).text(middle, label, INK, font=ImageFont.load_default(size=18), anchor="mm")
    return torch.from_numpy(np.array(tile))
