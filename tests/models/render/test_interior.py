import pytest
import torch
from soliloquy.models.render.interior import Interior
from soliloquy.models.render.mouth import Mouth
from soliloquy.models.render.palette import Palette

from .drawn_face import drawn_face

LUMINANCE = torch.tensor([0.299, 0.587, 0.114])


@pytest.fixture(scope="module")
def interior():
    portrait = drawn_face()
    return Interior.paint(Palette.of(portrait), Mouth.of(portrait))


def _show(interior, gap, jaw_drop, tongue_out=0.0):
    """A mouth `gap` wide, from its upper lip downwards: luminance `[h, w]`."""
    x, y = torch.meshgrid(torch.linspace(-0.2, 0.2, 81), torch.linspace(0, gap, 61), indexing="xy")
    skull = torch.stack((x, y))
    jaw = torch.stack((x, y - jaw_drop))
    colour = interior.show(skull, jaw, y, torch.full_like(x, gap), tongue_out)
    assert torch.isfinite(colour).all()
    return torch.einsum("c,chw->hw", LUMINANCE, colour)


def test_an_open_mouth_has_bright_teeth_above_and_a_dark_depth(interior):
    light = _show(interior, gap=0.35, jaw_drop=0.33)
    teeth, depth = light[8:12, 36:45].mean(), light[22:30, 36:45].mean()
    assert teeth > 100
    assert depth < 60


def test_lower_teeth_go_down_with_the_jaw(interior):
    light = _show(interior, gap=0.35, jaw_drop=0.33)
    assert light[56:, 36:45].mean() > light[22:30, 36:45].mean() + 25


def test_a_slit_lets_less_light_in_than_a_wide_mouth(interior):
    assert _show(interior, 0.03, 0.02).mean() < _show(interior, 0.12, 0.1)[:15].mean()


def test_teeth_darken_towards_the_corners(interior):
    light = _show(interior, gap=0.05, jaw_drop=0.03)
    assert light[:, 35:46].mean() > light[:, :10].mean()


def test_a_tongue_put_out_rises(interior):
    inside, out = (_show(interior, 0.35, 0.33, tongue) for tongue in (0.0, 1.0))
    assert out[38:46].mean() > inside[38:46].mean() + 5


def test_the_same_portrait_is_painted_alike_every_time(interior):
    portrait = drawn_face()
    again = Interior.paint(Palette.of(portrait), Mouth.of(portrait))
    assert torch.equal(again.grain, interior.grain)
    assert torch.equal(again.upper, interior.upper)
