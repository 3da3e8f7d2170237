"""Rotations, similarity fits and head pose, in the axes of the payloads."""

import numpy as np
import torch
from soliloquy.models.portrait.geometry import (
    apply_similarity,
    euler_to_matrix,
    head_pose,
    interocular,
    lift_landmarks,
    matrix_to_euler,
    procrustes,
)
from soliloquy.models.portrait.mapping import mean_landmarks, to_68

from ...helpers import shared

NOSE_TIP, CHIN, RIGHT_EYE, LEFT_EYE = 30, 8, 36, 45


def posed(pitch=0.0, yaw=0.0, roll=0.0):
    return mean_landmarks() @ euler_to_matrix(torch.tensor([pitch, yaw, roll])).mT


def test_positive_pitch_looks_down():
    assert posed(pitch=20)[NOSE_TIP, 1] > posed()[NOSE_TIP, 1]


def test_positive_yaw_turns_the_nose_to_the_left_of_the_picture():
    assert posed(yaw=20)[NOSE_TIP, 0] < -0.1


def test_positive_roll_tilts_clockwise():
    assert posed(roll=20)[LEFT_EYE, 1] > 0.1 > -0.1 > posed(roll=20)[RIGHT_EYE, 1]
    assert posed(roll=20)[CHIN, 0] < -0.1


def test_rotations_are_composed_as_roll_yaw_pitch():
    both = euler_to_matrix(torch.tensor([10.0, 20.0, 30.0]))
    pitch, yaw, roll = (euler_to_matrix(row) for row in torch.diag(torch.tensor([10.0, 20, 30])))
    torch.testing.assert_close(both, roll @ yaw @ pitch)
    torch.testing.assert_close(torch.linalg.det(both), torch.tensor(1.0))


def test_angles_survive_the_way_through_matrices():
    torch.manual_seed(1)
    angles = (torch.rand(200, 3) - 0.5) * torch.tensor([170.0, 170.0, 350.0])
    torch.testing.assert_close(matrix_to_euler(euler_to_matrix(angles)), angles, atol=0.05, rtol=0)


def test_procrustes_finds_the_similarity_that_was_applied():
    torch.manual_seed(2)
    points = torch.randn(4, 68, 3)
    rotation = euler_to_matrix(torch.randn(4, 3) * 40)
    scale, shift = torch.rand(4) + 0.5, torch.randn(4, 3)
    moved = apply_similarity(points, rotation, scale, shift)
    for found, wanted in zip(procrustes(points, moved), (rotation, scale, shift), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_procrustes_never_mirrors():
    torch.manual_seed(3)
    points = torch.randn(68, 3)
    rotation, _, _ = procrustes(points, points * torch.tensor([-1.0, 1.0, 1.0]))
    assert torch.linalg.det(rotation) > 0


def test_points_without_weight_do_not_count():
    torch.manual_seed(4)
    points = torch.randn(68, 3)
    spoiled, weights = points.clone(), torch.ones(68)
    spoiled[:20] += 10
    weights[:20] = 0
    rotation, scale, shift = procrustes(points, spoiled, weights)
    torch.testing.assert_close(
        apply_similarity(points, rotation, scale, shift)[20:], points[20:], atol=1e-4, rtol=0
    )


def test_head_pose_does_not_depend_on_place_size_or_expression():
    face = posed(-8, 25, 12) * 83 + torch.tensor([200.0, 90.0, -4.0])
    face[48:68, 1] += 30  # an open mouth
    torch.testing.assert_close(head_pose(face), torch.tensor([-8.0, 25, 12]), atol=0.1, rtol=0)


def test_flat_landmarks_get_the_depth_of_their_pose():
    for angles in ((0.0, 0.0, 0.0), (10.0, 30.0, -20.0), (-15.0, -40.0, 60.0), (5.0, 10.0, 170.0)):
        face = posed(*angles) * 60 + torch.tensor([120.0, 340.0, 0.0])
        lifted = lift_landmarks(face[:, :2])
        torch.testing.assert_close(lifted[:, :2], face[:, :2])
        torch.testing.assert_close(head_pose(lifted), torch.tensor(angles), atol=1.0, rtol=0)
        depth = lifted[:, 2] - lifted[:, 2].mean() - face[:, 2] + face[:, 2].mean()
        assert depth.abs().max() < 0.03 * interocular(face)


def test_lifting_real_flat_landmarks_finds_their_pose():
    meshes = np.load(shared("data/clips/talk_a.npz"))["landmarks478"][::25]
    for face in to_68(torch.from_numpy(meshes).float()):
        off = head_pose(lift_landmarks(face[:, :2])) - head_pose(face)
        assert off.abs().max() < 3


def test_head_pose_agrees_with_the_tracker():
    clip = np.load(shared("data/clips/talk_b.npz"))
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # the tracker's y is up, its z towards us
    tracked = flip @ torch.from_numpy(clip["transform"][:, :3, :3]).float() @ flip
    wanted = matrix_to_euler(tracked)
    found = head_pose(to_68(torch.from_numpy(clip["landmarks478"]).float()))
    assert (found - wanted).abs().mean(0).max() < 4
    assert (found - wanted).std(0).max() < 1.5
