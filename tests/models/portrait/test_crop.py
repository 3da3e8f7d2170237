"""Pictures are read upright and in colour, whatever the file; portraits are complete."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from soliloquy.models.payloads import PayloadError, Portrait
from soliloquy.models.portrait.crop import prepare_portrait, read_image
from soliloquy.models.portrait.mapping import ASSETS, mean_face

COLOURS = np.zeros((40, 60, 3), dtype=np.uint8)
COLOURS[:20] = (200, 100, 50)
COLOURS[20:] = (10, 20, 30)


def saved(tmp_path, picture, name="picture.png", **options):
    picture.save(tmp_path / name, **options)
    return tmp_path / name


def test_a_colour_picture_comes_back_as_it_is(tmp_path):
    found = read_image(saved(tmp_path, Image.fromarray(COLOURS)))
    assert found.dtype == torch.uint8
    assert np.array_equal(found.numpy(), COLOURS)


def test_the_cameras_orientation_is_obeyed(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # the camera was turned; show it a quarter clockwise
    found = read_image(saved(tmp_path, Image.fromarray(COLOURS), exif=exif))
    assert np.array_equal(found.numpy(), np.rot90(COLOURS, -1))


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_pixel_becomes_rgb(tmp_path, mode):
    if mode == "I;16":
        picture = Image.fromarray(COLOURS.mean(-1).astype(np.uint16) * 257)
    else:
        picture = Image.fromarray(COLOURS).convert(mode)
    name = "picture.tif" if mode == "CMYK" else "picture.png"
    found = read_image(saved(tmp_path, picture, name))
    assert found.shape == (40, 60, 3)
    assert found[:15].float().mean() > found[25:].float().mean() + 60
    if mode in ("L", "LA", "I;16"):
        wanted = np.array(Image.fromarray(COLOURS).convert("L")) if mode != "I;16" else None
        level = wanted[0, 0] if wanted is not None else 116
        assert (found[0, 0].float() - float(level)).abs().max() <= 1


def test_what_is_transparent_becomes_grey(tmp_path):
    clear = np.dstack([COLOURS, np.full((40, 60), 255, np.uint8)])
    clear[:, :30, 3] = 0
    found = read_image(saved(tmp_path, Image.fromarray(clear)))
    assert (found[:, :30] == 128).all()
    assert np.array_equal(found[:, 30:].numpy(), COLOURS[:, 30:])


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "does not exist"), (b"", "is not a picture"), (b"hello", "is not a picture")],
)
def test_what_is_no_picture_is_refused(tmp_path, content, message):
    path = tmp_path / "portrait.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PayloadError, match=f"portrait.png' {message}"):
        read_image(path)


def test_folders_and_cut_off_files_are_refused(tmp_path):
    with pytest.raises(PayloadError, match="cannot be read"):
        read_image(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(noise), "cut.jpg")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(PayloadError, match="cannot be read"):
        read_image(path)


def test_the_bundled_landmarks_prepare_the_astronaut():
    from skimage.data import astronaut

    image = torch.from_numpy(astronaut().copy())
    found = prepare_portrait(image, landmarks=ASSETS / "astronaut_landmarks.json")
    assert isinstance(found, Portrait)
    assert found.num_faces == 1
    assert found.dense.shape == (478, 3)
    x, y = found.landmarks[:, :2].mean(0).tolist()
    assert 215 < x < 235
    assert 100 < y < 150
    assert max(abs(angle) for angle in found.rotation) < 15
    x, y = found.dense[:, :2].round().long().unbind(-1)
    colours = image[y, x].float()
    assert colours[473].sum() < 0.3 * colours[280].sum()  # a pupil is dark, a cheek is not
    smile = image[(y[13] + y[14]) // 2, x[13]].float()
    assert smile.min() > colours[[0, 17], 2].max()  # teeth are whiter than lips


def test_the_second_face_can_be_chosen_and_all_are_counted():
    image = torch.zeros(400, 800, 3, dtype=torch.uint8)
    small = (mean_face() * 40 + torch.tensor([150.0, 150.0, 0.0])).tolist()
    large = (mean_face() * 90 + torch.tensor([550.0, 150.0, 0.0])).tolist()
    first = prepare_portrait(image, landmarks=[small, large])
    second = prepare_portrait(image, landmarks=[small, large], face_index=1)
    assert first.num_faces == second.num_faces == 2
    assert first.box[0] > 400 > second.box[2]


def test_the_picture_is_taken_as_it_is_and_the_mask_goes_along():
    image = torch.randint(0, 256, (400, 500, 3), dtype=torch.uint8)
    mask = torch.rand(400, 500)
    face = (mean_face() * 80 + torch.tensor([250.0, 150.0, 0.0])).tolist()
    found = prepare_portrait(image, landmarks=face, mask=mask)
    assert found.image is image
    assert found.mask is mask
    with pytest.raises(PayloadError, match="mask"):
        prepare_portrait(image, landmarks=face, mask=mask[:10])


@pytest.mark.parametrize("scale", [0.5, 11, float("nan")])
def test_absurd_crops_are_refused(scale):
    with pytest.raises(PayloadError, match="1 to 10"):
        prepare_portrait(torch.zeros(9, 9, 3, dtype=torch.uint8), landmarks=[], crop_scale=scale)


def test_large_pictures_are_read_without_a_warning_and_bombs_are_refused(tmp_path, monkeypatch):
    path = saved(tmp_path, Image.fromarray(COLOURS))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
        assert read_image(path).shape == (40, 60, 3)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
        with pytest.raises(PayloadError, match="too large"):
            read_image(path)
