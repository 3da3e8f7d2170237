"""Weights cross the bridge to LivePortrait's keypoints and back."""

import numpy as np
import pytest
import torch
from soliloquy.models.motion.arkit import INDEX
from soliloquy.models.motion.bridge import arkit_to_liveportrait, liveportrait_to_arkit
from soliloquy.models.motion.spaces import convert
from soliloquy.models.payloads import Motion, Timeline
from soliloquy.models.render.liveportrait.keypoints import LIP_KEYPOINTS

from ...helpers import shared

LIPS = list(LIP_KEYPOINTS)
LIDS, MOUTH, LOWER_LIP = [11, 13, 15], [14, 19, 20], 19


def weight(**values):
    weights = torch.zeros(1, 52)
    for name, value in values.items():
        weights[0, INDEX[name]] = value
    return weights


def test_rest_is_rest_on_both_sides():
    assert torch.equal(arkit_to_liveportrait(torch.zeros(2, 52)), torch.zeros(2, 21, 3))
    assert torch.equal(liveportrait_to_arkit(torch.zeros(2, 21, 3)), torch.zeros(2, 52))


def test_an_opening_jaw_lowers_the_lower_lip_and_leaves_the_lids():
    jaw = arkit_to_liveportrait(weight(jawOpen=1.0))[0]
    assert jaw[LOWER_LIP, 1] > 0.02
    assert jaw[LIDS].abs().max() == 0


def test_a_blink_moves_lids_and_leaves_the_mouth():
    blink = arkit_to_liveportrait(weight(eyeBlinkLeft=1.0, eyeBlinkRight=1.0))[0]
    assert blink[LIDS].norm(dim=-1).max() > 0.02
    assert blink[MOUTH].abs().max() == 0


def test_an_open_jaw_and_a_blink_come_back():
    back = liveportrait_to_arkit(arkit_to_liveportrait(weight(jawOpen=0.6)))[0]
    assert back[INDEX["jawOpen"]] > 0.4
    assert back[INDEX["jawOpen"]] > 2 * back[INDEX["eyeBlinkLeft"]]
    assert 0 <= back.min() <= back.max() <= 1
    blink = weight(eyeBlinkLeft=1.0, eyeBlinkRight=1.0)
    back = liveportrait_to_arkit(arkit_to_liveportrait(blink))[0]
    assert back[INDEX["eyeBlinkLeft"]] > 0.6
    assert back[INDEX["eyeBlinkRight"]] > 0.6


def test_tracked_lips_are_followed():
    stored = np.load(shared("data/motion/arkit_liveportrait_pairs.npz"))
    names = [str(name) for name in stored["blendshape_names"]]
    weights = torch.from_numpy(stored["d8_blendshapes"]).float()
    weights = torch.cat([weights[:, 1:], torch.zeros(len(weights), 1)], 1)
    assert names[1:] == list(INDEX)[:51]
    real = torch.from_numpy(stored["d8_exp"]).float()[:, LIPS].flatten(1)
    guess = arkit_to_liveportrait(weights)[:, LIPS].flatten(1)
    real, guess = real - real.mean(0), guess - guess.mean(0)
    assert 1 - (real - guess).square().sum() / real.square().sum() > 0.6


@pytest.mark.parametrize("space", ["arkit52", "landmarks68"])
def test_motion_is_converted_with_a_note(space):
    values = torch.rand(3, 52) * 0.3 if space == "arkit52" else torch.randn(3, 68, 3) * 0.01
    motion = Motion(
        space=space, values=values, rotation=torch.randn(3, 3), translation=torch.zeros(3, 3),
        scale=torch.ones(3), timeline=Timeline.for_frames(3, 25),
    )  # fmt: skip
    there = convert(motion, "liveportrait")
    assert there.values.shape == (3, 21, 3)
    assert torch.equal(there.rotation, motion.rotation)
    back = convert(there, space)
    assert back.values.shape == motion.values.shape
    assert len(back.notes) == 2
    assert all("lossy" in note for note in back.notes)
