"""Changes of small squares on full pictures."""

import torch
from soliloquy.models.render.mtov.painting import Painter
from soliloquy.models.render.mtov.scene import Scene

from .moving import PORTRAIT, speaking

SIDE = 24


def scene():
    return Scene.of(PORTRAIT, speaking(2), SIDE, crop_scale=1.2)


def laid(change, shown=None):
    """The portrait after a change `[1, 5, SIDE, SIDE]`."""
    painter = Painter(scene().portrait)
    return painter(PORTRAIT.image[None], change, torch.ones(1, 64, 64) if shown is None else shown)


def middle():
    """Where the middle of the square is in the picture, x and y."""
    there = torch.linalg.inv(scene().portrait.crop) @ torch.tensor([11.5, 11.5, 1.0]).double()
    return there[:2].round().long().tolist()


def test_no_change_leaves_every_pixel():
    assert torch.equal(laid(torch.zeros(1, 5, SIDE, SIDE))[0], PORTRAIT.image)


def test_what_is_not_shown_stays():
    change = torch.ones(1, 5, SIDE, SIDE)
    assert torch.equal(laid(change, torch.zeros(1, 64, 64))[0], PORTRAIT.image)


def test_a_shift_moves_the_pictures_own_pixels():
    """A shift of square pixels is one of as many times more pixels as the square is enlarged."""
    change = torch.zeros(1, 5, SIDE, SIDE)
    change[:, 1] = 2.0
    zoom = float(torch.linalg.det(scene().portrait.crop[:2, :2]) ** -0.5)
    x, y = middle()
    found = laid(change)[0, y, x - 4 : x + 4].float()
    below = y + 2 * zoom
    low, high = (PORTRAIT.image[int(below) + i, x - 4 : x + 4].float() for i in (0, 1))
    wanted = torch.lerp(low, high, below - int(below))
    assert (found - wanted).abs().mean() < 6


def test_paint_is_added():
    change = torch.zeros(1, 5, SIDE, SIDE)
    change[:, 2:] = -0.1
    x, y = middle()
    found, before = laid(change)[0, y, x].float(), PORTRAIT.image[y, x].float()
    assert torch.allclose(found, (before - 0.05 * 255).clamp(0), atol=1)


def test_fine_detail_fades_under_much_paint():
    stripes = PORTRAIT.image.clone()
    stripes[::2] = 100
    stripes[1::2] = 160
    painter = Painter(scene().portrait)
    change = torch.zeros(1, 5, SIDE, SIDE)
    shown, (x, y) = torch.ones(1, 64, 64), middle()

    def contrast(paint):
        change[:, 2:] = paint
        found = painter(stripes[None], change, shown)[0].float()
        return float(found[y - 4 : y + 4, x].std())

    assert contrast(-0.05) > 0.8 * stripes[y - 4 : y + 4, x].float().std()
    assert contrast(-0.9) < 0.3 * contrast(-0.05)
