"""A face goes into a network's units and its movement comes back in inter-ocular distances."""

import pytest
import torch
from soliloquy.models.motion.alignment import standard_face
from soliloquy.models.motion.face_model import load_reconstruction
from soliloquy.models.motion.likeness import FLIP, basel_likeness, rig_likeness, unit_length
from soliloquy.models.motion.rig import load_rig

from ..render.drawn_face import drawn_face
from .face_model_files import write_model, write_network


def test_the_rigs_own_unit_needs_no_change():
    portrait = drawn_face()
    likeness = rig_likeness(portrait)
    assert torch.allclose(likeness.first, load_rig().neutral_of(portrait).flatten())
    moved = torch.randn(3, 204)
    assert torch.equal(likeness.offsets(moved).flatten(1), moved)


def test_the_average_face_is_basels_mean():
    assert float(basel_likeness(None).first.abs().max()) == 0
    assert float(rig_likeness(None).first.abs().max()) > 0.1


def test_a_unit_of_the_face_model_is_about_a_decimetre():
    """Outer eye corners are some 9 cm apart, eye centres 6.2 in the template."""
    assert 0.9 < unit_length() < 1.3
    assert float((standard_face()[1] - standard_face()[0]).norm()) == pytest.approx(0.62, abs=0.01)


def test_without_the_face_model_movement_is_turned_around_and_scaled():
    residual = torch.zeros(1, 68, 3)
    residual[0, 57] = torch.tensor([1.0, -2.0, 0.5])  # a tenth of a unit right, two down
    offsets = basel_likeness(drawn_face()).offsets(residual.flatten(1))[0, 57]
    wanted = torch.tensor([1.0, 2.0, -0.5]) * unit_length() / 10
    assert torch.allclose(offsets, wanted, atol=1e-6)


def test_without_the_face_model_a_wider_mouth_is_a_wider_mouth():
    portrait = drawn_face()
    likeness = basel_likeness(portrait)
    shape = likeness.offsets(likeness.first[None])[0] + load_rig().mean_face
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
