"""Motions to test with."""

import torch
from soliloquy.models.motion.arkit import INDEX
from soliloquy.models.payloads import Motion, Timeline


def motion_of(frames=50, fps=25, seed=0, **weights):
    """Random but smooth motion in arkit52; `weights` are set to a constant."""
    generator = torch.Generator().manual_seed(seed)
    times = torch.arange(frames)[:, None] / float(fps)
    phases = 6.3 * torch.rand(1, 59, generator=generator)
    curves = torch.sin(3 * times + phases)
    values = 0.25 + 0.2 * curves[:, :52]
    for name, value in weights.items():
        values[:, INDEX[name]] = value
    return Motion(
        space="arkit52",
        values=values,
        rotation=8 * curves[:, 52:55].contiguous(),
        translation=0.05 * curves[:, 55:58].contiguous(),
        scale=1 + 0.02 * curves[:, 58],
        timeline=Timeline.for_frames(frames, fps),
    )
