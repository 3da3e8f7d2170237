"""Marks move smoothly, and the blur is a Gaussian that keeps what it spreads."""

import pytest
import torch
from soliloquy.models.noise.blur import gaussian_blur, mark_points, usual_sigma


def test_a_point_on_a_pixel_is_a_dot_and_one_between_pixels_is_shared():
    marks = mark_points(torch.tensor([[[5.0, 2.0]], [[5.25, 2.5]]]), 8)
    assert marks[0, 2, 5] == 1
    assert marks[0].sum() == 1
    assert marks[1, 2:4, 5:7].flatten().tolist() == [0.375, 0.125, 0.375, 0.125]


def test_points_outside_leave_no_mark_and_points_that_meet_add_up_to_one():
    points = torch.tensor([[[-3.0, 4.0], [4.0, 99.0]], [[2.0, 2.0], [2.0, 2.0]]])
    marks = mark_points(points, 8)
    assert not marks[0].any()
    assert marks[1].sum() == 1
    assert mark_points(torch.tensor([[[-0.5, 0.0]]]), 8).sum() == 0.5


def test_a_point_in_motion_never_jumps():
    x = torch.linspace(2, 5, 61)
    points = torch.stack([x, torch.full_like(x, 3.3)], -1)[:, None]
    assert mark_points(points, 8).diff(dim=0).abs().max() < 0.06


@pytest.mark.parametrize(("kernel", "sigma"), [(25, 4.1), (11, 2.0), (3, 0.8)])
def test_the_usual_sigma_is_that_of_the_image_libraries(kernel, sigma):
    assert usual_sigma(kernel) == pytest.approx(sigma)


def test_blurring_keeps_the_sum_and_is_a_gaussian():
    dot = torch.zeros(1, 41, 41)
    dot[0, 20, 20] = 1
    blurred = gaussian_blur(dot, 31, 2.0)
    assert blurred.sum() == pytest.approx(1, abs=1e-5)
    ratio = blurred[0, 20, 22] / blurred[0, 20, 20]
    assert ratio == pytest.approx(torch.exp(torch.tensor(-0.5)).item(), abs=1e-5)
    assert torch.allclose(blurred, blurred.mT)


def test_the_border_is_mirrored():
    flat = torch.ones(1, 9, 12)
    assert torch.allclose(gaussian_blur(flat, 7, 1.5), flat)
