"""Marks lie on the landmarks, and what surrounds them moves with them."""

import torch
from soliloquy.models.render.identity_diffusion.guidance import (
    filled,
    landmark_channels,
    landmark_marks,
    landmark_shift,
    moved_along,
)

SIZE = 64


def rest():
    """Landmarks on an oval, eye corners 24 pixels apart."""
    angle = torch.linspace(0, 6.0, 68)
    points = torch.stack([32 + 14 * angle.cos(), 32 + 18 * angle.sin()], -1)
    points[36], points[45] = torch.tensor([20.0, 26.0]), torch.tensor([44.0, 26.0])
    return points


def test_a_lone_mark_peaks_at_one_on_its_landmark():
    points = torch.full((1, 68, 2), -10.0)
    points[0, 0] = torch.tensor([40.0, 20.0])
    marks = landmark_marks(points, SIZE)[0]
    assert marks.argmax() == 20 * SIZE + 40
    assert abs(float(marks.max()) - 1) < 0.1
    assert marks[40:].abs().max() == 0


def test_landmarks_at_rest_shift_nothing():
    assert not landmark_shift(rest()[None], rest(), SIZE).any()


def test_a_face_that_moves_as_a_whole_takes_its_surroundings_along():
    moved = rest() + torch.tensor([3.0, -2.0])
    shift = landmark_shift(moved[None], rest(), SIZE)[0]
    near = moved[8].round().long()
    assert torch.allclose(shift[:, near[1], near[0]], torch.tensor([3.0, -2.0]), atol=0.15)
    assert shift[:, 0, 0].norm() < shift[:, 32, 32].norm()


def test_a_picture_moved_along_goes_where_the_landmarks_go():
    picture = torch.zeros(1, 1, SIZE, SIZE)
    picture[0, 0, 32, 30] = 1.0
    shift = torch.zeros(1, 2, SIZE, SIZE)
    shift[:, 0], shift[:, 1] = 4, -3
    moved = moved_along(picture, shift)
    assert torch.allclose(moved[0, 0, 29, 34], torch.tensor(1.0), atol=1e-4)
    large = moved_along(picture.repeat_interleave(2, -1).repeat_interleave(2, -2), shift)
    assert float(large[0, 0, 58:60, 68:70].mean()) > 0.9


def test_what_lies_inside_an_outline_is_filled():
    outline = torch.tensor([[[10.0, 20.0], [30, 12], [50, 20], [30, 40]]])
    inside = filled(outline, SIZE)[0]
    assert abs(float(inside.sum()) - 560) < 25  # half of 40 × 28
    assert float(inside[20, 30]) > 0.9
    assert not inside[:11].any()
    assert not inside[43:].any()
    assert not filled(outline.flip(1), SIZE).any()
    assert filled(outline - 25, SIZE)[0, 0, 5] > 0.9  # it begins above the square


def test_channels_are_marks_openings_and_shift_at_any_size():
    for size in (64, 96):
        points = rest()[None] * size / SIZE
        channels = landmark_channels(points + 1, points[0], size)
        assert channels.shape == (1, 5, size, size)
        assert torch.equal(channels[:, 0], landmark_marks(points + 1, size))
        assert torch.equal(channels[:, 1], filled(points[:, 60:68] + 1, size))


def test_a_shift_depends_on_the_pixels_of_a_face_and_not_on_the_size_of_the_square():
    points = rest()[None] + torch.linspace(0, 4, 68)[None, :, None]
    small, large = (landmark_shift(points, rest(), size) for size in (SIZE, 2 * SIZE))
    assert torch.allclose(small, large[..., :SIZE, :SIZE], atol=0.05)
