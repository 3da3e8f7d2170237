from dataclasses import replace

import pytest
import torch
from soliloquy.models.motion.arkit import INDEX
from soliloquy.models.motion.rig import LID_PAIRS, load_rig
from soliloquy.models.motion.spaces import convert
from soliloquy.models.payloads import PayloadError

from .examples import motion_of
from .test_rig import portrait_of


def test_the_same_space_is_the_same_motion():
    motion = motion_of()
    assert convert(motion, "arkit52") is motion


def test_landmarks_are_the_rigs_and_the_loss_is_said():
    motion = motion_of()
    moved = convert(motion, "landmarks68")
    torch.testing.assert_close(moved.values, load_rig().offsets(motion.values))
    assert "gaze and tongue" in moved.notes[-1]
    assert torch.equal(moved.rotation, motion.rotation)
    assert motion.notes == ()


def test_a_portraits_own_eyes_decide_how_far_a_blink_goes():
    rig = load_rig()
    face = rig.mean_face.clone()
    for upper, lower in LID_PAIRS:
        face[upper, 1] = face[lower, 1] - 0.2
    portrait = portrait_of(100 * face)
    blink = motion_of(3)
    weights = torch.zeros_like(blink.values)
    weights[:, [INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]] = 1.0
    blink = replace(blink, values=weights)
    moved = convert(blink, "landmarks68", portrait)
    closed = portrait.landmarks + 100 * moved.values
    for upper, lower in LID_PAIRS:
        assert (closed[:, upper, 1] - closed[:, lower, 1]).abs().max() < 0.01
    back = convert(moved, "arkit52", portrait)
    torch.testing.assert_close(back.values, blink.values, atol=0.15, rtol=0)


def test_there_and_back_again_keeps_the_lips():
    motion = motion_of(40)
    there = convert(motion, "landmarks68")
    back = convert(there, "arkit52")
    again = convert(back, "landmarks68")
    error = (again.values - there.values)[:, 48:].norm(dim=-1).mean()
    assert error < 0.1 * there.values[:, 48:].norm(dim=-1).mean()
    assert len(back.notes) == 2


def test_long_motion_is_converted_in_blocks(monkeypatch):
    motion = motion_of(25)
    whole = convert(motion, "landmarks68").values
    monkeypatch.setattr("soliloquy.models.motion.spaces.BLOCK", 7)
    torch.testing.assert_close(convert(motion, "landmarks68").values, whole)


@pytest.mark.parametrize("space", ["unreal"])
def test_a_way_that_does_not_exist_is_refused_with_those_that_do(space):
    with pytest.raises(PayloadError, match=rf"arkit52 to {space}.*arkit52 to landmarks68"):
        convert(motion_of(), space)
