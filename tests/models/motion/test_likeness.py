"""A face goes into a network's units and its movement comes back in inter-ocular distances."""

from dataclasses import replace

import pytest
import torch
from soliloquy.models.motion.alignment import standard_face
from soliloquy.models.motion.face_model import load_reconstruction
from soliloquy.models.motion.likeness import (
    FLIP,
    basel_likeness,
    moderate,
    rig_likeness,
    unit_length,
    with_lips_shut,
)
from soliloquy.models.motion.rig import load_rig

from ..render.drawn_face import drawn_face
from .face_model_files import write_model, write_network


def test_lips_that_meet_are_shut_and_open_ones_open_further_than_the_portraits():
    portrait = drawn_face()
    likeness, neutral = rig_likeness(portrait), load_rig().neutral_of(portrait).clone()
    neutral[[65, 66, 67, 56, 57, 58], 1] += 0.12
    shutting = with_lips_shut(neutral) - neutral
    likeness = replace(likeness, shutting=shutting)
    moved = torch.zeros(2, 68, 3)
    moved[1, 66, 1] = 0.2
    shown = neutral + likeness.offsets(likeness.first + moved.flatten(1))
    gap = shown[:, 66, 1] - shown[:, 62, 1]
    at_rest = float(neutral[66, 1] - neutral[62, 1])
    assert float(gap[0]) == pytest.approx(0, abs=1e-5)
    assert float(gap[1]) == pytest.approx(0.2 + at_rest / 2, abs=1e-5)


def test_a_face_that_shows_teeth_shuts_its_lips():
    face = load_rig().mean_face.clone()
    assert torch.allclose(with_lips_shut(face), face, atol=0.02)
    face[[65, 66, 67, 56, 57, 58], 1] += 0.12
    shut = with_lips_shut(face)
    assert torch.allclose(shut[[67, 66, 65], 1], shut[[61, 62, 63], 1], atol=1e-5)
    assert float(shut[8, 1]) < float(face[8, 1]) - 0.05
    assert torch.equal(shut[17:48], face[17:48])


def test_a_moderate_face_differs_the_same_way_but_not_as_far():
    mean = load_rig().mean_face
    assert torch.equal(moderate(mean), mean)
    wide = mean.clone()
    wide[54, 0] += 0.3
    wide[48, 0] -= 0.01
    told = moderate(wide) - mean
    assert 0.03 < float(told[54, 0]) <= 0.04
    assert float(told[48, 0]) == pytest.approx(-0.01, abs=1e-3)


def test_the_average_face_is_basels_mean():
    assert float(basel_likeness(None).first.abs().max()) == 0
    assert torch.allclose(rig_likeness(None).first, load_rig().mean_face.flatten(), atol=0.02)


def test_a_unit_of_the_face_model_is_about_a_decimetre():
    """Outer eye corners are some 9 cm apart, eye centres 6.2 in the template."""
    assert 0.9 < unit_length() < 1.3
    assert float((standard_face()[1] - standard_face()[0]).norm()) == pytest.approx(0.62, abs=0.01)


def test_without_the_face_model_movement_is_turned_around_and_scaled():
    residual = torch.zeros(1, 68, 3)
    residual[0, 57] = torch.tensor([1.0, -2.0, 0.5])  # a tenth of a unit right, two down
    likeness = basel_likeness(drawn_face())
    offsets = likeness.offsets(likeness.first + residual.flatten(1))[0, 57]
    wanted = torch.tensor([1.0, 2.0, -0.5]) * unit_length() / 10
    assert torch.allclose(offsets, wanted, atol=1e-6)


def test_without_the_face_model_a_wider_mouth_is_a_wider_mouth():
    portrait = drawn_face()
    likeness = basel_likeness(portrait)
    away = likeness.offsets(torch.zeros(1, 204))[0]  # of Basel's mean from the portrait
    shape = load_rig().mean_face - away
    assert torch.allclose(shape, load_rig().neutral_of(portrait), atol=1e-5)


def test_with_the_face_model_its_landmarks_are_laid_on_the_portraits(tmp_path):
    write_model(tmp_path)
    write_network(tmp_path)
    portrait, reconstruction = drawn_face(), load_reconstruction(tmp_path)
    likeness = basel_likeness(portrait, reconstruction)
    residual = reconstruction.residual(portrait)
    assert torch.allclose(likeness.first, residual.flatten())
    face = reconstruction.model.landmarks(residual)
    size = float(likeness.scale.double().det().abs()) ** (1 / 3) * 10
    neutral = load_rig().neutral_of(portrait)
    spread = (neutral - neutral.mean(0)).norm() / (face - face.mean(0)).norm()
    assert 0 < size <= float(spread) * 1.01
    assert torch.allclose(FLIP @ FLIP, torch.eye(3))
