"""KDTalker with pseudo-weights, of the published size or of any other."""

from functools import cache

import numpy as np
import torch
from soliloquy.benchmarks.kdtalker_plain import PlainKDTalker
from soliloquy.models import checkpoints
from soliloquy.models.motion.kdtalker_motion import statistics
from soliloquy.models.render.liveportrait.keypoints import LivePortraitSource

from ...helpers import ROOT, shared
from ...pseudo_weights import state_dict

PREFIX = "point_model.model."


@cache
def golden(name):
    """Numbers that may travel with the tests, and those that stay in the shared folder."""
    file = ROOT / "tests" / "golden" / "misc.npz"
    if name == "kdtalker":
        file = shared("golden/kdtalker_liveportrait/kdtalker.npz")
    with np.load(file) as stored:
        return {key: torch.from_numpy(np.asarray(stored[key])) for key in stored}


def published(tag="KD", **sizes):
    """A state dict as upstream's program would save it; a new dictionary each time."""
    return dict(_published(tag, **sizes))


@cache
def _published(tag, **sizes):
    with torch.device("meta"):
        plain = PlainKDTalker(**sizes)
    shapes = {PREFIX + key: tuple(value.shape) for key, value in plain.state_dict().items()}
    return state_dict(shapes, tag)


@cache
def network(tag="KD", **sizes):
    return checkpoints.load("kdtalker", published(tag, **sizes))


def small():
    """Fast, of the right number of channels."""
    return network("small", width=24, depth=1)


def average_source(**changes):
    """The average face of the training data."""
    known = statistics()
    facts = {
        "kp": known.keypoints_mean.reshape(21, 3),
        "exp": known.motion_mean[7:].reshape(21, 3),
        "pitch": 3.0,
        "yaw": -12.0,
        "roll": 4.0,
        "t": torch.tensor([0.02, -0.05, 0.0]),
        "scale": 1.6,
        "interocular": 0.5,
    }
    return LivePortraitSource(**{**facts, **changes})
