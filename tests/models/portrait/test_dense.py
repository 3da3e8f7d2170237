"""A mesh through 68 landmarks."""

import numpy as np
import torch
from soliloquy.models.portrait.dense import dense_from_68
from soliloquy.models.portrait.geometry import euler_to_matrix, interocular
from soliloquy.models.portrait.mapping import mean_face, to_68

from ...helpers import shared


def test_the_mean_face_comes_back_from_any_place_size_and_pose():
    rotation = euler_to_matrix(torch.tensor([[8.0, -25.0, 12.0], [0.0, 0.0, 0.0]]))
    faces = 40 * mean_face() @ rotation.mT + torch.tensor([300.0, 200.0, 5.0])
    torch.testing.assert_close(dense_from_68(to_68(faces)), faces, atol=0.01, rtol=0)


def test_the_mesh_passes_through_the_landmarks():
    torch.manual_seed(0)
    landmarks = 50 * (to_68(mean_face()) + 0.03 * torch.randn(68, 3))
    torch.testing.assert_close(to_68(dense_from_68(landmarks)), landmarks, atol=0.01, rtol=0)


def test_lips_that_part_do_not_drag_each_other_along():
    landmarks = to_68(mean_face())
    landmarks[[55, 56, 57, 58, 59, 65, 66, 67], 1] += 0.3  # the lower lip drops
    moved = (dense_from_68(landmarks) - mean_face())[:, 1]
    assert moved[[81, 311, 80, 310]].abs().max() < 0.1  # vertices of the upper lip
    assert moved[[178, 402, 86, 316]].min() > 0.2  # and of the lower one


def test_real_meshes_come_back_from_their_68_points():
    meshes = np.load(shared("data/clips/talk_b.npz"))["landmarks478"][::10]
    meshes = torch.from_numpy(meshes)[:, :468].float()
    guessed = dense_from_68(to_68(meshes))[:, :468]
    off = (guessed - meshes)[..., :2].norm(dim=-1).mean(-1) / interocular(to_68(meshes))
    assert off.max() < 0.015
