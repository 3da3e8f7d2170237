"""The portrait's square and the state of its face."""

import pytest
import torch
from soliloquy.models.payloads import PayloadError
from soliloquy.models.render.liveportrait.motion_extractor import MotionExtractor
from soliloquy.models.render.liveportrait.source import (
    CROPS,
    crop_picture,
    cropped,
    find_source,
)

from .faces import portrait


@pytest.mark.parametrize("crop", CROPS)
def test_every_crop_shows_the_face(crop):
    placed = cropped(portrait(), crop)
    points = torch.cat([placed.landmarks[:, :2].double(), torch.ones(68, 1)], 1) @ placed.crop.T
    middle = points[:, :2].mean(0)
    assert placed.crop_size == 512
    assert ((middle - 256).abs() < 80).all()
    assert crop_picture(placed).shape == (1, 3, 256, 256)


def test_the_portraits_own_crop_keeps_its_square():
    placed = cropped(portrait(size=128), "portrait")
    corners = torch.tensor([[-0.5, -0.5, 1], [127.5, 127.5, 1]], dtype=torch.float64)
    expected = torch.tensor([[-0.5, -0.5], [511.5, 511.5]], dtype=torch.float64)
    torch.testing.assert_close((corners @ placed.crop.T)[:, :2], expected)


def test_an_unknown_crop_is_refused():
    with pytest.raises(PayloadError, match="'tight' is no crop.*face, kdtalker, portrait"):
        cropped(portrait(), "tight")


def test_the_source_knows_its_measures_in_the_crop():
    torch.manual_seed(0)
    extractor = MotionExtractor(depths=(1, 1, 1, 1), widths=(4, 4, 4, 4)).eval()
    angle = torch.tensor(0.3, dtype=torch.float64)
    turned = torch.eye(3, dtype=torch.float64)
    turned[:2, :2] = 2 * torch.stack([
        torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])
    ])  # fmt: skip
    placed = cropped(portrait(crop=turned, crop_size=512), "portrait")
    source = find_source(extractor, placed, crop_picture(placed))
    assert source.interocular == pytest.approx(float(placed.interocular) * 2 * 2 / 512)
    assert source.tilt == pytest.approx(0.3 * 180 / torch.pi)
    assert source.kp.shape == source.exp.shape == (21, 3)
    assert abs(source.pitch) < 97.5
