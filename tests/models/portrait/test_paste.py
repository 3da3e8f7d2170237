"""Pasting back changes the face and nothing else."""

from dataclasses import replace

import pytest
import torch
from soliloquy.models.payloads import PayloadError
from soliloquy.models.portrait.affine import extract_crop
from soliloquy.models.portrait.crop import prepare_portrait
from soliloquy.models.portrait.mapping import mean_face
from soliloquy.models.portrait.paste import PasteBack, paste_back


def smooth_picture(height, width):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = torch.stack([(x / 17).sin(), (y / 23).cos(), ((x + y) / 31).sin()], -1)
    return (127.5 + 120 * waves).round().to(torch.uint8)


def portrait(height=400, width=500, size=40.0, x=250.0, y=180.0, **options):
    face = mean_face() * size + torch.tensor([x, y, 0.0])
    return prepare_portrait(smooth_picture(height, width), landmarks=face.tolist(), **options)


def crop_of(made):
    return (extract_crop(made.image, made.crop, made.crop_size) * 255).round().to(torch.uint8)[None]


def psnr(one, other):
    return float(10 * torch.log10(255**2 / (one.float() - other.float()).square().mean()))


@pytest.mark.parametrize(
    "made",
    [
        portrait(),
        portrait(300, 1200, x=900.0),  # wide
        portrait(1500, 200, x=100.0, y=700.0),  # tall, the square is wider than the picture
        portrait(size=150.0),  # the crop is smaller than the face
        portrait(x=60.0, y=60.0),  # in a corner
    ],
    ids=["plain", "wide", "tall", "large face", "corner"],
)
def test_the_own_crop_pasted_back_is_the_picture(made):
    assert psnr(paste_back(crop_of(made), made)[0], made.image) > 45


def test_outside_the_square_no_bit_changes():
    made = portrait()
    white = torch.full((2, 512, 512, 3), 255, dtype=torch.uint8)
    paste = PasteBack(made)
    pasted = paste(white)
    changed = (pasted != made.image).any(-1).any(0)
    rows, columns = changed.any(1).nonzero(), changed.any(0).nonzero()
    assert rows.min() >= paste.top
    assert rows.max() < paste.top + paste.size[0]
    assert columns.min() >= paste.left
    assert columns.max() < paste.left + paste.size[1]
    x, y = (made.landmarks[30, :2]).round().long().tolist()
    assert (pasted[:, y, x] == 255).all()


def test_where_the_mask_is_zero_no_bit_changes():
    mask = torch.zeros(400, 500)
    mask[170:190, 240:260] = 1
    made = replace(portrait(), mask=mask)
    pasted = paste_back(torch.full((1, 512, 512, 3), 255, dtype=torch.uint8), made)[0]
    assert torch.equal(pasted[mask == 0], made.image[mask == 0])
    assert (pasted[mask == 1] == 255).all()


def test_the_edge_is_soft():
    made = replace(portrait(), image=torch.zeros(400, 500, 3, dtype=torch.uint8))
    white = torch.full((1, 512, 512, 3), 255, dtype=torch.uint8)
    middle = int(made.landmarks[30, 1])
    steps = lambda feather: (  # noqa: E731
        paste_back(white, made, feather=feather)[0, middle, :, 0].float().diff().abs().max()
    )
    assert steps(0.15) < 40
    assert steps(0.0) > 200


def test_frames_of_another_size_cover_the_same_square():
    made = portrait()
    half = extract_crop(
        made.image, torch.diag(torch.tensor([0.5, 0.5, 1.0]).double()) @ made.crop, 256
    )
    pasted = paste_back((half * 255).round().to(torch.uint8)[None], made)[0]
    assert psnr(pasted, made.image) > 35


def test_floats_come_back_as_floats_with_the_same_picture():
    made = portrait()
    crop = crop_of(made)
    as_bytes = paste_back(crop, made).float() / 255
    as_floats = paste_back(crop.float() / 255, made)
    assert as_floats.dtype == torch.float32
    torch.testing.assert_close(as_floats, as_bytes, atol=0.51 / 255, rtol=0)


def test_inputs_stay_as_they_were():
    made = portrait()
    frames = crop_of(made)
    before, image = frames.clone(), made.image.clone()
    paste_back(frames, made)
    assert torch.equal(frames, before)
    assert torch.equal(made.image, image)


@pytest.mark.parametrize("shape", [(512, 512, 3), (1, 512, 256, 3), (1, 512, 512, 4)])
def test_frames_that_are_not_square_pictures_are_refused(shape):
    with pytest.raises(PayloadError, match="Square colour frames"):
        paste_back(torch.zeros(shape), portrait())


def test_absurd_feathers_are_refused():
    with pytest.raises(PayloadError, match=r"0 to 0\.5"):
        paste_back(torch.zeros(1, 8, 8, 3), portrait(), feather=0.7)


def test_moving_pictures_may_lie_below_and_part_of_a_frame_may_stay_out():
    made = portrait()
    ground = torch.stack([made.image, made.image.flip(0)])
    white = torch.full((2, 64, 64, 3), 255, dtype=torch.uint8)
    left = torch.zeros(2, 64, 64)
    left[:, :, :32] = 1
    paste = PasteBack(made)
    nothing = paste(white, ground=ground, shown=torch.zeros(2, 64, 64))
    assert torch.equal(nothing, ground)
    half = paste(white, ground=ground, shown=left)
    x, y = made.landmarks[30, :2].round().long().tolist()
    assert (half[:, y, x - 40] == 255).all()
    assert torch.equal(half[:, y, x + 40], ground[:, y, x + 40])
    assert torch.equal(paste(white, shown=torch.ones(2, 64, 64)), paste(white))
