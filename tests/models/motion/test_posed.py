"""Expression first, then the head: where a motion puts a portrait's landmarks."""

from dataclasses import replace

import pytest
import torch
from soliloquy.models.motion.posed import posed_landmarks
from soliloquy.models.motion.spaces import convert
from soliloquy.models.payloads import Motion, Timeline
from soliloquy.models.portrait.geometry import head_pose

from ..render.drawn_face import drawn_face
from .examples import motion_of


def still(frames=3, **changes):
    rest = Motion(
        space="arkit52",
        values=torch.zeros(frames, 52),
        rotation=torch.zeros(frames, 3),
        translation=torch.zeros(frames, 3),
        scale=torch.ones(frames),
        timeline=Timeline.for_frames(frames, 25),
    )
    return replace(rest, **changes)


def test_no_motion_leaves_the_landmarks_where_they_are():
    portrait = drawn_face(rotation=(5.0, 20.0, -8.0))
    found = posed_landmarks(still(), portrait)
    assert torch.allclose(found, portrait.landmarks.expand(3, 68, 3), atol=1e-3)


@pytest.mark.parametrize("angles", [(10.0, 0.0, 0.0), (0.0, 15.0, 0.0), (3.0, -9.0, 12.0)])
def test_the_head_turns_by_the_motions_angles(angles):
    found = posed_landmarks(still(rotation=torch.tensor([angles] * 3)), drawn_face())
    assert torch.allclose(head_pose(found[0]), torch.tensor(angles), atol=1.0)


def test_shift_and_scale_are_in_inter_ocular_distances_around_the_neck():
    portrait = drawn_face(interocular=50.0)
    shift = torch.tensor([[0.2, -0.1, 0.0]]).expand(3, 3).contiguous()
    moved = posed_landmarks(still(translation=shift), portrait) - portrait.landmarks
    assert torch.allclose(moved[0, :, :2], torch.tensor([10.0, -5.0]).expand(68, 2), atol=1e-3)
    larger = posed_landmarks(still(scale=torch.full((3,), 1.5)), portrait)[0]
    spread = (larger[45] - larger[36]).norm() / portrait.interocular
    assert torch.isclose(spread, torch.tensor(1.5), atol=1e-4)
    assert larger[8, 1] < portrait.landmarks[8, 1] + 20  # the neck stays


def test_the_same_motion_in_another_space_gives_the_same_landmarks():
    portrait, motion = drawn_face(), motion_of(5)
    landmarks = posed_landmarks(convert(motion, "landmarks68", portrait), portrait)
    assert torch.allclose(landmarks, posed_landmarks(motion, portrait), atol=1e-3)


def test_an_open_jaw_lowers_the_chin():
    rest, found = drawn_face(), posed_landmarks(motion_of(2, jawOpen=1.0), drawn_face())
    closed = posed_landmarks(motion_of(2, jawOpen=0.0), rest)
    assert (found[:, 8, 1] - closed[:, 8, 1]).min() > 5  # pixels


def test_some_frames_are_the_same_as_in_the_whole():
    portrait, motion = drawn_face(), motion_of(20, fps=30)
    whole = posed_landmarks(motion, portrait)
    assert torch.allclose(posed_landmarks(motion, portrait, range(7, 12)), whole[7:12], atol=1e-4)
