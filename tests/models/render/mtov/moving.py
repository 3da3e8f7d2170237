"""A drawn face that turns, blinks and speaks, and small networks that were never trained."""

from dataclasses import asdict, replace

import torch
from soliloquy.models.motion.arkit import INDEX
from soliloquy.models.motion.spaces import convert
from soliloquy.models.payloads import Motion, Timeline
from soliloquy.models.render.mtov.autoencoder import AutoencoderConfig, TriplaneAutoencoder
from soliloquy.models.render.mtov.posed import PosedAutoencoder, PosedConfig
from soliloquy.models.render.mtov.renderer import MToVRenderer, MToVSettings
from soliloquy.models.render.mtov.unet import TriplaneUNet, TriplaneUNetConfig

from ..drawn_face import drawn_face

PORTRAIT = drawn_face(160, 128, interocular=36.0)
TINY = AutoencoderConfig(
    side=2,
    channels=16,
    depth=1,
    decoder_depth=1,
    heads=2,
    head_channels=8,
    hidden=16,
    pool_depth=1,
    pool_heads=2,
    pool_head_channels=8,
    pool_hidden=16,
)
POSED = PosedConfig(**{**asdict(TINY), "detail": 4})
NARROW = TriplaneUNetConfig(width=16, multipliers=(1,), attended=(True,), heads=2, norm_groups=4)


def speaking(frames=20, turn=6.0):
    """Motion in landmarks68; `turn` degrees of yaw at most."""
    time = torch.arange(frames).float()
    values = torch.zeros(frames, 52)
    values[:, INDEX["jawOpen"]] = 0.3 - 0.3 * (time / 3).cos()
    blink = (time % 10 < 2).float()
    values[:, INDEX["eyeBlinkLeft"]] = values[:, INDEX["eyeBlinkRight"]] = blink * (turn > 0)
    rotation = torch.zeros(frames, 3)
    rotation[:, 1] = turn * (time / 8).sin()
    motion = Motion(
        space="arkit52",
        values=values,
        rotation=rotation,
        translation=torch.zeros(frames, 3),
        scale=torch.ones(frames),
        timeline=Timeline.for_frames(frames, 25),
    )
    return convert(motion, "landmarks68", PORTRAIT)


def networks(posed=False):
    torch.manual_seed(0)
    parts = {
        "autoencoder": posed_autoencoder() if posed else TriplaneAutoencoder(TINY),
        "motion_autoencoder": TriplaneAutoencoder(TINY),
        "unet": TriplaneUNet(replace(NARROW, conditions=2) if posed else NARROW),
    }
    return {name: part.eval().requires_grad_(False) for name, part in parts.items()}


def posed_autoencoder():
    """One whose change is not nothing."""
    module = PosedAutoencoder(POSED)
    torch.nn.init.normal_(module.change.weight, std=0.5)
    return module


def renderer(posed=False, **settings):
    return MToVRenderer(networks(posed), settings=MToVSettings(**{"steps": 4, **settings}))
