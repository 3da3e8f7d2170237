"""Landmarks take the pose, the size and the place of the frames they shall follow."""

import pytest
import torch
from soliloquy.models.motion.alignment import (
    align,
    fit_projection,
    five_points,
    reconstruction_rotation,
    standard_face,
)

from .atom_weights import golden


def test_rotation_and_scale_are_the_golden_ones():
    stored = golden("align")
    rotation = reconstruction_rotation(stored["al_coef_angle"])
    assert torch.allclose(rotation, stored["al_R"], atol=2e-6)
    fit = fit_projection(five_points(stored["al_fa68"]), stored["lm3d_std"])
    assert torch.allclose(102 / fit.scale, stored["al_s"], rtol=1e-5)
    assert torch.allclose(standard_face(), stored["lm3d_std"], atol=1e-7)


def test_aligned_landmarks_are_the_golden_ones():
    stored = golden("align")
    found = align(
        stored["al_X"], stored["al_coef_angle"], stored["al_coef_trans"], stored["al_fa68"]
    )
    assert (found - stored["al_out_float"]).abs().max() < 1e-3
    assert (found.int() - stored["al_out_int"]).abs().max() <= 1


def test_without_rounding_the_pixels_are_less_than_one_of_the_crop_away():
    stored = golden("align")
    arguments = [stored[f"al_{name}"] for name in ("X", "coef_angle", "coef_trans", "fa68")]
    away = align(*arguments, rounded=False) - align(*arguments)
    assert 0.01 < away.abs().max() < 2 / float(stored["al_s"].min())


def test_where_the_head_is_in_space_makes_no_difference_beyond_rounding():
    stored = golden("align")
    arguments = [stored[f"al_{name}"] for name in ("X", "coef_angle", "coef_trans", "fa68")]
    moved = [*arguments[:2], arguments[2] + 0.3, arguments[3]]
    found = align(*moved, rounded=False)
    assert torch.allclose(found, align(*arguments, rounded=False), atol=1e-2)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_projection_is_found_again_whichever_way_the_y_axis_points(sign):
    points = 80 * standard_face()[:, :2] * torch.tensor([1.0, sign]) + torch.tensor([30.0, 50.0])
    fit = fit_projection(points)
    assert float(fit.scale) == pytest.approx(80, rel=1e-4)
    assert torch.allclose(fit.translation, torch.tensor([30.0, 50.0]).double(), atol=1e-3)
