"""MToV's networks with pseudo-weights, of the published size or of any other."""

import os
from functools import cache

import pytest
import torch
from soliloquy.benchmarks.moditalker_mtov_plain import PlainAutoencoder, PlainUNet
from soliloquy.models import checkpoints

from ....golden_recipe import recipe
from ....helpers import shared
from ....pseudo_weights import shapes

LONG = pytest.mark.skipif(
    "SOLILOQUY_SLOW_TESTS" not in os.environ, reason="takes minutes; set SOLILOQUY_SLOW_TESTS=1"
)
SMALL = {"side": 8, "channels": 96}  # the golden numbers' small autoencoder
TINY = {"side": 2, "channels": 32, "depth": 2, "heads": 2}
NARROW = {"width": 32, "multipliers": (1, 2), "attended": (True, False)}


@cache
def plain(kind, tag, **sizes):
    """The published arrangement with pseudo-weights."""
    module = {"autoencoder": PlainAutoencoder, "unet": PlainUNet}[kind](**sizes)
    prefix = "diffusion_model." if kind == "unet" else ""
    shapes = {prefix + key: tuple(value.shape) for key, value in module.state_dict().items()}
    drawn = recipe().state(shapes, tag)
    module.load_state_dict(
        {key.removeprefix(prefix): torch.from_numpy(value) for key, value in drawn.items()}
    )
    return module.eval().requires_grad_(False)


def published(kind, tag, **sizes):
    """A state dict as upstream's program would save it."""
    prefix = "diffusion_model." if kind == "unet" else ""
    return {prefix + key: value for key, value in plain(kind, tag, **sizes).state_dict().items()}


@cache
def network(kind, tag, **sizes):
    return checkpoints.load(f"moditalker/{kind}", published(kind, tag, **sizes))


def published_shapes(key_list):
    """The keys of a published file without its numbers."""
    sizes = shapes(shared(f"design/keys/{key_list}.txt"))
    return {key: torch.empty(size, device="meta") for key, size in sizes.items()}
