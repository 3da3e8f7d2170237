"""Landmarks become a face, or a sentence that says why not."""

import pytest
import torch
from soliloquy.models.payloads import PayloadError
from soliloquy.models.portrait.face import Face, implausible
from soliloquy.models.portrait.mapping import mean_face, mean_landmarks, to_68

SIZE = (400, 600)
MESH = mean_face() * 80 + torch.tensor([300.0, 150.0, 0.0])


@pytest.mark.parametrize("count", [68, 468, 478])
@pytest.mark.parametrize("axes", [2, 3])
def test_any_known_number_of_points_makes_68_in_three_dimensions(count, axes):
    points = (to_68(MESH) if count == 68 else MESH[:count])[:, :axes]
    face = Face.from_points(points)
    assert face.landmarks.shape == (68, 3)
    torch.testing.assert_close(face.landmarks[:, :2], to_68(MESH)[:, :2])
    assert (face.dense is not None) == (count == 478 and axes == 3)


@pytest.mark.parametrize("shape", [(67, 2), (68, 4), (5, 2), (68,), (0, 2)])
def test_other_numbers_of_points_are_refused(shape):
    with pytest.raises(PayloadError, match="68 or 478"):
        Face.from_points(torch.zeros(shape))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e30])
def test_landmarks_that_are_no_pixels_are_refused(value):
    spoiled = to_68(MESH)
    spoiled[3, 1] = value
    with pytest.raises(PayloadError, match="NaN, infinite values or numbers too large"):
        Face.from_points(spoiled)


def test_the_box_surrounds_the_mesh_where_there_is_one():
    whole, sparse = Face.from_points(MESH), Face.from_points(to_68(MESH))
    assert whole.box[1] < sparse.box[1]  # the forehead
    assert whole.box[0] == pytest.approx(float(MESH[:, 0].min()))
    assert whole.area > sparse.area > 0


def test_a_face_in_the_picture_is_plausible():
    assert implausible(Face.from_points(MESH), SIZE) is None


def test_what_is_no_face_is_found_out():
    torch.manual_seed(0)
    noise = Face.from_points(torch.rand(68, 3) * 200)
    assert "not shaped like a face" in implausible(noise, SIZE)
    upside_down_order = Face.from_points(to_68(MESH).flip(0))
    assert "not shaped like a face" in implausible(upside_down_order, SIZE)


def test_left_and_right_may_not_be_swapped():
    swapped = to_68(MESH) * torch.tensor([-1.0, 1.0, 1.0]) + torch.tensor([600.0, 0.0, 0.0])
    assert "swapped" in implausible(Face.from_points(swapped[:, :2]), SIZE)


def test_points_on_one_spot_or_one_line_are_no_face():
    line = torch.linspace(0, 200, 68)[:, None].repeat(1, 2)
    for points in (torch.zeros(68, 2), torch.full((68, 3), 100.0), line):
        assert implausible(Face.from_points(points), SIZE)


def test_a_face_must_be_large_enough_and_inside():
    tiny = Face.from_points(mean_landmarks() * 3 + 50)
    assert "3.0 pixels wide" in implausible(tiny, SIZE)
    outside = Face.from_points(MESH + torch.tensor([500.0, 0.0, 0.0]))
    assert "outside the picture of 600×400" in implausible(outside, SIZE)
