"""A made-up portrait and motion for LivePortrait."""

import torch
from soliloquy.models.payloads import Motion, Portrait, Timeline
from soliloquy.models.portrait.mapping import mean_landmarks


def portrait(size=160, interocular=40.0, **changes):
    """The mean face in the middle of a picture of random pixels."""
    torch.manual_seed(0)
    landmarks = mean_landmarks() * interocular
    landmarks[:, :2] += size / 2
    fields = {
        "image": torch.randint(0, 256, (size, size, 3), dtype=torch.uint8),
        "landmarks": landmarks,
        "box": (0.0, 0.0, float(size), float(size)),
        "crop": torch.eye(3, dtype=torch.float64),
        "crop_size": size,
        "rotation": (0.0, 0.0, 0.0),
    }
    return Portrait(**{**fields, **changes})


def motion(frames=5, amount=1.0):
    torch.manual_seed(1)
    return Motion(
        space="liveportrait",
        values=torch.randn(frames, 21, 3) * 0.01 * amount,
        rotation=torch.randn(frames, 3) * 5 * amount,
        translation=torch.randn(frames, 3) * 0.02 * amount,
        scale=1 + torch.randn(frames) * 0.02 * amount,
        timeline=Timeline.for_frames(frames, 25),
    )
