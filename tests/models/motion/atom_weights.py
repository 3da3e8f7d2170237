"""AToM with pseudo-weights, of the published size or of any other."""

from functools import cache

import numpy as np
import torch
from soliloquy.benchmarks.moditalker_atom_plain import PlainAToM
from soliloquy.models import checkpoints

from ...helpers import shared
from ...pseudo_weights import state_dict, stream

SMALL = {"width": 64, "frames": 12, "hidden": 128, "depth": 3, "heads": 4}
ATTENTION_GAIN = {"ATOM": 1.6, "ATOM2": 2.0, "ATOMS": 2.0}  # sharp enough for the input to matter
OUTPUT_GAIN = {"ATOM": 0.2, "ATOM2": 0.2, "ATOMS": 0.15}


@cache
def golden(name="atom"):
    with np.load(shared(f"golden/moditalker_atldiff/{name}.npz")) as stored:
        return {key: torch.from_numpy(np.asarray(stored[key])) for key in stored}


def published(tag="ATOMS", **sizes):
    """A state dict as upstream's program would save it; a new dictionary each time."""
    return dict(_published(tag, **sizes))


@cache
def _published(tag, **sizes):
    with torch.device("meta"):
        plain = PlainAToM(**sizes)
    shapes = {key: tuple(value.shape) for key, value in plain.state_dict().items()}
    state = state_dict(shapes, tag)
    for key, value in state.items():
        if "null_cond" in key:
            normal = stream(f"{tag}/{key}").standard_normal(value.shape)
            state[key] = torch.from_numpy(normal.astype(np.float32))
        if key.startswith("seqTransDecoder.") and key.endswith("in_proj_weight"):
            state[key] = value * ATTENTION_GAIN.get(tag, 1.5)
    state["final_layer.weight"] = state["final_layer.weight"] * OUTPUT_GAIN.get(tag, 0.2)
    return state


@cache
def network(tag="ATOMS", **sizes):
    return checkpoints.load("moditalker/atom", published(tag, **sizes))


def small(tag="ATOMS"):
    return network(tag, **SMALL)
