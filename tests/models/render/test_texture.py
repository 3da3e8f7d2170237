import torch
from soliloquy.models.render.texture import DOUBLE_UP_TO, Texture

IMAGE = torch.randint(0, 256, (40, 50, 3), generator=torch.Generator().manual_seed(0)).byte()


def _cut(box=(5, 4, 44, 35)):
    return Texture.cut(IMAGE, box, "cpu")


def test_doubling_keeps_every_pixel():
    texture = _cut()
    assert texture.scale == 2
    part = IMAGE[4:36, 5:45].permute(2, 0, 1).float()
    assert torch.equal(texture.pixels[0, :, ::2, ::2], part)


def test_sampling_at_whole_pixels_returns_them():
    texture = _cut()
    x, y = torch.meshgrid(torch.arange(10.0, 20.0), torch.arange(8.0, 16.0), indexing="xy")
    colours = texture.sample(texture.normalise(torch.stack((x, y))))
    assert torch.allclose(colours, IMAGE[8:16, 10:20].permute(2, 0, 1).float(), atol=0.05)


def test_large_pictures_are_not_doubled():
    side = int(DOUBLE_UP_TO**0.5) + 10
    image = torch.zeros(side, side, 3, dtype=torch.uint8)
    assert Texture.cut(image, (0, 0, side - 1, side - 1), "cpu").scale == 1


def test_a_patch_knows_its_source_pixels():
    texture = _cut()
    rows, columns = texture.patch((10.0, 9.0, 20.0, 15.0))
    points = texture.points(rows, columns)
    assert points[0].min() <= 10.0
    assert points[0].max() >= 20.0
    assert points[1].min() <= 9.0
    assert points[1].max() >= 15.0
    colours = texture.sample(texture.normalise(points))
    assert torch.allclose(colours, texture.pixels[0, :, rows, columns], atol=0.05)


def test_pasting_changes_only_the_patch():
    texture = _cut()
    before = texture.pixels.clone()
    rows, columns = texture.patch((10.0, 9.0, 20.0, 15.0))
    texture.paste(rows, columns, torch.full_like(before[0, :, rows, columns], 7.0))
    assert (texture.pixels[0, :, rows, columns] == 7).all()
    before[0, :, rows, columns] = 7.0
    assert torch.equal(texture.pixels, before)
