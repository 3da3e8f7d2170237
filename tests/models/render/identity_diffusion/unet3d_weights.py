"""The U-Net of the published layout with pseudo-weights, in the candidates' sizes or any other."""

import json
import re
import zlib
from functools import cache

import numpy as np
import torch
from soliloquy.benchmarks.atl_diff_plain import PlainUNet3D
from soliloquy.models import checkpoints
from soliloquy.models.render.identity_diffusion.unet3d import config_from

from ....helpers import shared

FOLDER = "golden/moditalker_atldiff"
SMALL = {
    "in_channels": 3,
    "out_channels": 3,
    "layers_per_block": 1,
    "cross_attention_dim": 10,
    "attention_head_dim": 4,
    "norm_num_groups": 4,
    "block_out_channels": [8, 16],
    "down_block_types": ["CrossAttnDownBlock3D", "DownBlock3D"],
    "up_block_types": ["UpBlock3D", "CrossAttnUpBlock3D"],
}


@cache
def golden():
    with np.load(shared(f"{FOLDER}/atldiff_unet3d.npz")) as stored:
        return {key: torch.from_numpy(stored[key]) for key in stored}


def candidates():
    return json.loads(shared(f"{FOLDER}/unet3d_configs.json").read_text())


def given(name, shape, scale=1.0):
    """An input of the golden recipe."""
    return torch.from_numpy((stream(f"input:{name}").standard_normal(shape) * scale).astype("f4"))


def stream(name):
    return np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF)


def pseudo(tag, key, shape):
    """A tensor that depends on the network's tag, the key and the shape alone."""
    normal = stream(f"{tag}/{key}").standard_normal(shape).astype(np.float32)
    if re.search(r"bias$", key):
        return torch.from_numpy((0.05 * normal).astype(np.float32))
    if len(shape) == 1:
        return torch.from_numpy((1 + 0.1 * normal).astype(np.float32))
    return torch.from_numpy(normal * np.float32(1 / np.sqrt(int(np.prod(shape[1:])))))


def published(config, tag="test"):
    """A state dict with upstream's keys."""
    with torch.device("meta"):
        plain = PlainUNet3D(config_from(config))
    return {key: pseudo(tag, key, tuple(v.shape)) for key, v in plain.state_dict().items()}


def both(config, tag="test"):
    """Ours and the plain one, with the same weights."""
    state = published(config, tag)
    plain = PlainUNet3D(config_from(config)).eval().requires_grad_(False)
    plain.load_state_dict(state)
    return checkpoints.load("atl_diff/unet3d", state, config=config), plain
