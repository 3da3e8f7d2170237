"""Keypoints follow the golden rotations, and motion survives the way into a crop and back."""

from dataclasses import replace

import pytest
import torch
from soliloquy.models.payloads import Motion, PayloadError, Timeline
from soliloquy.models.portrait.geometry import euler_to_matrix
from soliloquy.models.render.liveportrait.keypoints import (
    LivePortraitSource,
    Pose,
    bins_to_degrees,
    motion_from_pose,
    motion_multiplier,
    pose_from_motion,
    relative_pose,
    rotation_matrix,
)

from ....pseudo_weights import given
from .parity import golden

TIMELINE = Timeline.for_frames(4, 25)
LIPS, FOREHEAD = 20, 0


def random_source(tilt=0.0):
    kp, exp = given("kp", (21, 3), 0.2), given("exp", (21, 3), 0.02)
    kp[LIPS], kp[FOREHEAD] = torch.tensor([0.0, 0.2, -0.2]), torch.tensor([0.0, -0.4, 0.0])
    return LivePortraitSource(
        kp=kp, exp=exp, pitch=4.0, yaw=-12.0, roll=3.0, t=torch.tensor([0.1, -0.05, 0.0]),
        scale=1.4, interocular=0.37, tilt=tilt,
    )  # fmt: skip


def random_pose():
    return Pose(
        exp=given("pose_exp", (4, 21, 3), 0.02),
        rotation=rotation_matrix(given("pose_degrees", (4, 3), 15.0)),
        t=given("pose_t", (4, 3), 0.1) * torch.tensor([1.0, 1.0, 0.0]),
        scale=1.3 + given("pose_scale", (4,), 0.05),
    )


def still(**changes):
    zeros = {
        "values": torch.zeros(4, 21, 3),
        "rotation": torch.zeros(4, 3),
        "translation": torch.zeros(4, 3),
        "scale": torch.ones(4),
    }
    return Motion(space="liveportrait", timeline=TIMELINE, **{**zeros, **changes})


def test_rotations_and_degrees_are_the_golden_ones():
    degrees = torch.cat([given(name, (5, 1), 20.0) for name in ("pitch", "yaw", "roll")], 1)
    torch.testing.assert_close(rotation_matrix(degrees), golden("R"), atol=1e-6, rtol=0)
    for name in ("pitch", "yaw", "roll"):
        found = bins_to_degrees(golden(f"M_{name}"))
        torch.testing.assert_close(found, golden(f"deg_{name}"), atol=1e-4, rtol=0)


def test_the_motion_multiplier_is_the_golden_one():
    pair = given("mm_a", (1, 21, 3), 0.3), given("mm_b", (1, 21, 3), 0.25)
    expected = float(golden("motion_mult", "misc"))
    assert motion_multiplier(*pair) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("tilt", [0.0, -25.0])
def test_poses_come_back_from_motion(tilt):
    source, pose = random_source(tilt), random_pose()
    back = pose_from_motion(source, motion_from_pose(source, pose, TIMELINE))
    for name in ("exp", "rotation", "t", "scale"):
        torch.testing.assert_close(getattr(back, name), getattr(pose, name), atol=2e-6, rtol=1e-5)


def test_no_motion_is_the_portrait_itself():
    source = random_source(tilt=10.0)
    keypoints = pose_from_motion(source, still()).keypoints(source.kp)
    expected = source.keypoints.expand(4, -1, -1)
    torch.testing.assert_close(keypoints, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("axis", "point", "direction"),
    [(0, LIPS, (0, 1)), (1, LIPS, (-1, 0)), (2, FOREHEAD, (1, 0))],
    ids=["pitch looks down", "yaw turns to the left of the picture", "roll tilts clockwise"],
)
def test_angles_have_the_signs_of_the_payloads(axis, point, direction):
    source = replace(random_source(), pitch=0.0, yaw=0.0, roll=0.0)
    rotation = torch.zeros(4, 3)
    rotation[:, axis] = 10.0
    turned = pose_from_motion(source, still(rotation=rotation)).keypoints(source.kp)
    way = (turned - source.keypoints)[0, point, :2]
    assert float(way @ torch.tensor(direction, dtype=torch.float32)) > 0.02


def test_motion_is_along_the_picture_however_the_crop_is_turned():
    rotation, translation = torch.tensor([[0.0, 20.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    motion = still(rotation=rotation.repeat(4, 1), translation=translation.repeat(4, 1))
    ways = []
    for tilt in (0.0, 90.0):
        # A face that looks the same in the picture looks turned by the tilt in the crop.
        source = replace(random_source(tilt), pitch=0.0, yaw=0.0, roll=tilt, exp=torch.zeros(21, 3))
        moved = pose_from_motion(source, motion).keypoints(source.kp) - source.keypoints
        ways.append(moved @ euler_to_matrix(torch.tensor([0.0, 0.0, tilt])))
    torch.testing.assert_close(*ways, atol=1e-5, rtol=0)


def test_relative_motion_starts_at_the_portrait():
    source, pose = random_source(), random_pose()
    relative = relative_pose(source, pose).keypoints(source.kp)
    torch.testing.assert_close(relative[:1], source.keypoints, atol=1e-6, rtol=0)
    assert (relative[1:] - source.keypoints).abs().amax() > 0.05


def test_motion_of_another_space_is_refused():
    motion = Motion(
        space="arkit52", values=torch.zeros(4, 52), rotation=torch.zeros(4, 3),
        translation=torch.zeros(4, 3), scale=torch.ones(4), timeline=TIMELINE,
    )  # fmt: skip
    with pytest.raises(PayloadError, match="'liveportrait', not 'arkit52'"):
        pose_from_motion(random_source(), motion)
