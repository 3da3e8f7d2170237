import dataclasses

import torch
from soliloquy.models.render.palette import Palette

from .drawn_face import drawn_face


def _luminance(colour):
    return float(colour @ torch.tensor([0.299, 0.587, 0.114]))


def test_colours_are_those_of_the_face():
    palette = Palette.of(drawn_face())
    assert torch.allclose(palette.skin, torch.tensor([205.0, 160.0, 138.0]), atol=12)
    assert palette.lips[0] - palette.lips[1] > 60
    assert _luminance(palette.dark) < _luminance(palette.rim) < _luminance(palette.lips)
    assert _luminance(palette.teeth) > _luminance(palette.tongue) + 40


def test_a_black_and_white_print_stays_black_and_white():
    portrait = drawn_face()
    grey = portrait.image.float().mean(-1, keepdim=True).byte().expand(-1, -1, 3).contiguous()
    palette = Palette.of(dataclasses.replace(portrait, image=grey))
    for colour in (palette.teeth, palette.tongue, palette.gums, palette.dark, palette.rim):
        assert colour.max() - colour.min() < 1.0


def test_light_from_one_side_is_noticed():
    portrait = drawn_face()
    ramp = torch.linspace(0.4, 1.0, portrait.size[1]).view(1, -1, 1)
    lit = (portrait.image.float() * ramp).byte()
    assert Palette.of(dataclasses.replace(portrait, image=lit)).slant > 0.1
    assert abs(Palette.of(portrait).slant) < 0.1


def test_grain_and_blur_are_measured():
    portrait = drawn_face()
    noise = torch.randn(portrait.image.shape[:2], generator=torch.Generator().manual_seed(1))
    noisy = (portrait.image + 10 * noise[..., None]).clamp(0, 255).byte()
    assert Palette.of(dataclasses.replace(portrait, image=noisy)).grain > 8
    assert Palette.of(portrait).grain < 4
    from kornia.filters import gaussian_blur2d

    soft = gaussian_blur2d(portrait.image.permute(2, 0, 1)[None].float(), (15, 15), (2.5, 2.5))
    soft = dataclasses.replace(portrait, image=soft[0].permute(1, 2, 0).byte().contiguous())
    assert Palette.of(soft).blur > Palette.of(portrait).blur + 0.5


def test_drawn_teeth_are_no_brighter_than_those_the_portrait_shows():
    portrait = drawn_face()
    landmarks = portrait.landmarks.clone()
    landmarks[[65, 66, 67], 1] += 0.1 * portrait.interocular
    parted = dataclasses.replace(portrait, landmarks=landmarks)
    assert _luminance(Palette.of(parted).teeth) < _luminance(Palette.of(portrait).teeth) - 20
