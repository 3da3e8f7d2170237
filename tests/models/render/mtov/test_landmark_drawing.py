import numpy as np
import pytest
import torch
from soliloquy.models.payloads import PayloadError
from soliloquy.models.render.mtov.landmark_drawing import (
    draw_landmarks,
    drawing_video,
    first_black_row,
    from_normalised,
    without_lower_half,
)

from ....golden_recipe import golden, recipe


def unpacked(packed):
    return torch.from_numpy(np.unpackbits(packed.numpy(), axis=-1).astype(bool))


@pytest.mark.parametrize("side", [256, 640, 726])
def test_drawings_are_the_golden_ones(side):
    numbers = golden("align")
    points = numbers["draw_pts640"] * (side / 640)
    assert torch.equal(draw_landmarks(points, side), unpacked(numbers[f"draw_{side}"]))


def test_drawings_of_normalised_landmarks_are_golden():
    flat = torch.from_numpy(recipe().face68(2.0) - 1)[None] * torch.tensor([1.0, -1.0])
    drawn = draw_landmarks(from_normalised(flat), upside_down=True)
    assert torch.equal(drawn, unpacked(golden("align")["draw_norm3d_256_flip"]))


def test_a_disc_is_the_golden_disc():
    drawn = draw_landmarks(torch.tensor([[[100.9, 57.2]]]))
    assert torch.equal(drawn[0, 50:66, 93:109], golden("align")["disc_r3"] > 0)
    assert drawn.sum() == 29


def test_discs_are_cut_off_at_the_border_and_far_ones_vanish():
    corner = draw_landmarks(torch.tensor([[[0.0, 0.0], [-900.0, 20.0], [1e6, -1e6], [300.0, 9.0]]]))
    assert corner[0, :4, :4].sum() == 4 + 3 + 3 + 1
    assert corner.sum() == 11


def test_the_first_black_row_is_the_golden_one():
    points = torch.from_numpy(recipe().face68(256))[None]
    row = golden("align")["mask_first_zero_row"][0]
    assert first_black_row(points, 256) == row
    frames = without_lower_half(torch.ones(1, 3, 256, 256), points)
    assert frames[:, :, :row].min() == 1
    assert frames[:, :, row:].max() == 0


def test_drawings_become_video_in_the_networks_range():
    video = drawing_video(draw_landmarks(torch.full((2, 68, 2), 20.0)))
    assert video.shape == (3, 2, 256, 256)
    assert set(video.unique().tolist()) == {-1.0, 1.0}


def test_landmarks_of_another_shape_are_refused():
    with pytest.raises(PayloadError, match="but 68 × 2 was given"):
        draw_landmarks(torch.zeros(68, 2))
