"""A small identity diffusion network with random weights, and a face that moves."""

import torch
from soliloquy.models.motion.arkit import INDEX
from soliloquy.models.motion.spaces import convert
from soliloquy.models.payloads import Motion, Timeline
from soliloquy.models.portrait.affine import square_crop
from soliloquy.models.render.identity_diffusion.network import (
    IdentityDiffusion,
    IdentityDiffusionConfig,
)

from ..drawn_face import drawn_face

SMALL = IdentityDiffusionConfig(channels=(8, 16), embedding=8)


def network(config=SMALL, seed=0):
    torch.manual_seed(seed)
    module = IdentityDiffusion(config).eval().requires_grad_(False)
    torch.nn.init.normal_(module.leave.weight, std=0.02)
    return module


def face(**options):
    """A drawn face with a square crop around it."""
    portrait = drawn_face(160, 144, interocular=40.0, **options)
    crop = square_crop(portrait.landmarks, size=96)
    fields = {**vars(portrait), "crop": crop, "crop_size": 96}
    return type(portrait)(**fields)


def talking(portrait, frames=5, *, still=False):
    """Jaw up and down, in landmarks."""
    weights = torch.zeros(frames, 52)
    if not still:
        phase = torch.arange(frames) / 6
        weights[:, INDEX["jawOpen"]] = 0.4 - 0.4 * torch.cos(2 * torch.pi * phase)
    motion = Motion(
        space="arkit52",
        values=weights,
        rotation=torch.zeros(frames, 3),
        translation=torch.zeros(frames, 3),
        scale=torch.ones(frames),
        timeline=Timeline.for_frames(frames, 25),
    )
    return convert(motion, "landmarks68", portrait)
