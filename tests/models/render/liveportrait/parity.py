"""LivePortrait's networks with pseudo-weights, and their golden numbers."""

from functools import cache

import numpy as np
import torch
from soliloquy.models import checkpoints
from soliloquy.models.render.liveportrait.warping import WarpingNetwork

from ....helpers import ROOT, shared
from ....pseudo_weights import given, shapes, state_dict

KEYS = {
    "appearance": ("F", "appearance_feature_extractor"),
    "motion": ("M", "motion_extractor"),
    "warping": ("W", "warping_module"),
    "generator": ("G", "spade_generator"),
    "stitching": ("srm_stitching", "retarget_shoulder"),
    "retarget_lip": ("srm_lip", "retarget_mouth"),
    "retarget_eye": ("srm_eye", "retarget_eye"),
}


@cache
def numbers(file="liveportrait"):
    with np.load(ROOT / "tests" / "golden" / f"{file}.npz") as stored:
        return dict(stored)


def golden(name, file="liveportrait"):
    return torch.from_numpy(np.asarray(numbers(file)[name]))


def published(network):
    """A state dict as the published file has it; a new dictionary each time."""
    return dict(_published(network))


@cache
def _published(network):
    tag, file = KEYS[network]
    if not tag.startswith("srm"):
        return state_dict(shapes(shared(f"design/keys/keys_{file}.txt")), tag)
    sizes = shapes(shared("design/keys/keys_stitching_retargeting_module.txt"))
    inner = {key.split(" -> module.")[1]: size for key, size in sizes.items() if file in key}
    return state_dict(inner, tag)


@cache
def network(name):
    return checkpoints.load(f"liveportrait/{name}", published(name))


def keypoints():
    """Those of the portrait and of the driving frame in the golden numbers."""
    source = given("kp_source", (1, 21, 3), 0.25)
    return source, source + given("kp_delta", (1, 21, 3), 0.03)


@cache
@torch.no_grad()
def warped():
    """The golden features, and the motion field and occlusion that led there."""
    warping, (source, driving) = network("warping"), keypoints()
    prepared = warping.prepare(given("feature_3d", (1, 32, 16, 64, 64)), source)
    fields = []
    warping.motion_field = lambda *given: (
        fields.append(WarpingNetwork.motion_field(warping, *given)) or fields[0]
    )
    features = warping.warp(prepared, driving)
    del warping.motion_field
    return features, *fields[0]


def error(found, expected):
    """Largest difference over the largest magnitude."""
    return float((found - expected).abs().amax() / expected.abs().amax())
