"""Squares around faces and what is cut out with them."""

import pytest
import torch
from soliloquy.models.portrait.affine import extract_crop, mapped_pixels, square_crop
from soliloquy.models.portrait.geometry import euler_to_matrix
from soliloquy.models.portrait.mapping import mean_landmarks

FACE = mean_landmarks() * 60 + torch.tensor([200.0, 150.0, 0.0])


def through(affine, points):
    return points[:, :2].double() @ affine[:2, :2].T + affine[:2, 2]


@pytest.mark.parametrize("upright", [True, False])
@pytest.mark.parametrize("roll", [0.0, 35.0, -80.0])
def test_the_face_sits_in_the_middle_of_its_square(upright, roll):
    face = FACE @ euler_to_matrix(torch.tensor([0.0, 0.0, roll])).mT
    crop = square_crop(face, scale=2.0, size=256, upright=upright)
    inside = through(crop, face)
    assert inside.min() > 40
    assert inside.max() < 216
    if upright:
        assert abs(float(inside[45, 1] - inside[36, 1])) < 1
        assert float((inside.amax(0) - inside.amin(0)).max()) == pytest.approx(128, abs=1)
    else:
        torch.testing.assert_close(crop[0, 1], torch.tensor(0.0, dtype=torch.float64))


def test_an_identity_crop_returns_the_pixels():
    torch.manual_seed(0)
    image = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8)
    cut = extract_crop(image, torch.eye(3, dtype=torch.float64), 64)
    torch.testing.assert_close(cut, image.float() / 255, atol=1e-4, rtol=0)


def test_a_shifted_crop_returns_the_shifted_pixels():
    torch.manual_seed(0)
    image = torch.randint(0, 256, (300, 200, 3), dtype=torch.uint8)
    crop = torch.eye(3, dtype=torch.float64)
    crop[0, 2], crop[1, 2] = -120, -230
    cut = extract_crop(image, crop, 50)
    torch.testing.assert_close(cut, image[230:280, 120:170].float() / 255, atol=1e-4, rtol=0)


def test_beyond_the_picture_its_border_is_repeated():
    image = torch.zeros(20, 20, 3, dtype=torch.uint8)
    image[:, -1] = 255
    crop = torch.eye(3, dtype=torch.float64)
    for shift in (-18.0, -5000.0):
        crop[0, 2] = shift
        assert extract_crop(image, crop, 20)[:, 2:].min() > 0.99


def test_fine_stripes_turn_grey_instead_of_aliasing():
    image = torch.zeros(512, 512, 3, dtype=torch.uint8)
    image[:, ::2] = 255
    crop = torch.diag(torch.tensor([0.115, 0.115, 1.0], dtype=torch.float64))
    cut = extract_crop(image, crop, 58)
    assert (cut[4:-4, 4:-4] - 0.5).abs().max() < 0.02


def test_floats_and_bytes_give_the_same_crop():
    torch.manual_seed(0)
    image = torch.randint(0, 256, (200, 220, 3), dtype=torch.uint8)
    crop = square_crop(FACE / 2, size=64)
    torch.testing.assert_close(extract_crop(image, crop, 64), extract_crop(image / 255, crop, 64))


def test_pixels_are_mapped_from_their_centres():
    affine = torch.diag(torch.tensor([2.0, 3.0, 1.0], dtype=torch.float64))
    affine[0, 2] = 5
    assert mapped_pixels(affine, (4, 3))[3, 2].tolist() == [9, 9]
