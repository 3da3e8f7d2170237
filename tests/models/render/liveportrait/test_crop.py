"""Crops are the golden ones of both programs."""

import pytest
import torch
from soliloquy.models.payloads import PayloadError
from soliloquy.models.render.liveportrait.crop import (
    face_crop,
    face_rectangle,
    kdtalker_crop,
    kdtalker_rectangle,
)

from .parity import error, golden


@pytest.mark.parametrize("count", [68, 106, 203])
@pytest.mark.parametrize("rotate", [0, 1])
def test_face_crops_are_the_golden_ones(count, rotate):
    landmarks = golden(f"lmk{count}", "misc")
    matrix = face_crop(landmarks, rotate=bool(rotate))
    assert error(matrix, golden(f"M_o2c_{count}_{rotate}", "misc")) < 1e-5
    points = torch.cat([landmarks[:5].double(), torch.ones(5, 1)], 1) @ matrix.T
    assert error(points[:, :2], golden(f"pt_crop_{count}_{rotate}", "misc")) < 1e-5


@pytest.mark.parametrize("count", [68, 106, 203])
def test_face_rectangles_are_the_golden_ones(count):
    found = face_rectangle(golden(f"lmk{count}", "misc"), scale=1.5, vertical_shift=-0.1)
    values = torch.tensor([*found.centre, found.size, found.size, found.angle])
    torch.testing.assert_close(
        values.double(), golden(f"rect_{count}", "misc"), atol=1e-3, rtol=1e-6
    )


@pytest.mark.parametrize("size", [(400, 400), (420, 380), (256, 256)])
def test_kdtalkers_rectangles_are_the_golden_ones(size):
    width, height = size
    found = kdtalker_rectangle(golden("lm68", "misc"), height, width)
    values = torch.tensor([*found.resized, *found.outer, *found.inner], dtype=torch.float64)
    expected = golden(f"croper_{width}x{height}", "misc")
    torch.testing.assert_close(values, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("enlarged", [1, 16])
def test_kdtalkers_crop_covers_its_rectangle(enlarged):
    """A face of 16 times the size is shrunk first: the square is the same part of the picture."""
    landmarks = (golden("lm68", "misc") - 200) * 0.4 + 600
    height, width = 1000 * enlarged, 1200 * enlarged
    rectangle = kdtalker_rectangle(landmarks * enlarged, height, width)
    matrix = kdtalker_crop(landmarks * enlarged, height, width, size=256)
    x0, y0, x1, y1 = rectangle.box
    ratio = torch.tensor([width / rectangle.resized[0], height / rectangle.resized[1]])
    corners = torch.tensor([[x0, y0], [x1, y1]], dtype=torch.float64) * ratio - 0.5
    mapped = torch.cat([corners, torch.ones(2, 1)], 1) @ matrix.T
    expected = torch.tensor([[-0.5, -0.5], [255.5, 255.5]], dtype=torch.float64)
    torch.testing.assert_close(mapped[:, :2], expected, atol=1e-9, rtol=0)
    assert (rectangle.resized != (width, height)) == (enlarged == 16)


def test_another_number_of_landmarks_is_refused():
    with pytest.raises(PayloadError, match="68, 106 or 203 landmarks, but 5"):
        face_crop(torch.rand(5, 2))
