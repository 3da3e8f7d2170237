"""A motion to try nodes with."""

import torch
from soliloquy.models.payloads import Motion, Timeline


def talking(frames=30, fps=25):
    """A motion in which something moves everywhere."""
    wave = torch.sin(torch.arange(frames) / 3.0)
    values = (wave[:, None] * 0.5 + 0.5).expand(frames, 52).contiguous()
    turn = (wave[:, None] * torch.tensor([5.0, 10.0, 2.0])).contiguous()
    return Motion(
        space="arkit52",
        values=values,
        rotation=turn,
        translation=turn / 100,
        scale=torch.ones(frames),
        timeline=Timeline.for_frames(frames, fps),
    )


def same(one, other):
    pairs = ((one.values, other.values), (one.rotation, other.rotation), (one.scale, other.scale))
    return all(torch.allclose(a, b, atol=1e-5) for a, b in pairs)
