import pytest
import torch
from soliloquy.models.render.warp import WarpRenderer

from .drawn_face import drawn_face, weights


@pytest.fixture(scope="module")
def scene():
    portrait = drawn_face(interocular=100.0, height=420, width=340)
    renderer = WarpRenderer()
    return renderer, renderer.prepare(portrait), portrait


def _mouth(portrait, frame):
    """Pixels of the open part of the mouth: below the lip line, between the corners."""
    unit = float(portrait.interocular)
    x, y = portrait.landmarks[62, :2].tolist()
    return frame[int(y) : int(y + 0.3 * unit), int(x - 0.1 * unit) : int(x + 0.1 * unit)].float()


def test_an_open_jaw_shows_the_dark_of_the_mouth_and_a_closed_one_does_not(scene):
    renderer, setup, portrait = scene
    closed = _mouth(portrait, renderer.frame(setup, weights(mouthSmile=0.05)))
    opened = _mouth(portrait, renderer.frame(setup, weights(jawOpen=1.0)))
    assert (closed.mean(-1) < 50).float().mean() < 0.02
    assert (opened.mean(-1) < 60).float().mean() > 0.25


def test_teeth_show_behind_parted_lips(scene):
    renderer, setup, portrait = scene
    frame = renderer.frame(setup, weights(jawOpen=0.35, mouthSmile=0.6))
    patch = _mouth(portrait, frame)
    redness, light = patch[..., 0] - patch[..., 1], patch.mean(-1)
    assert (
        (redness < 32) & (light > 110)
    ).any()  # brighter than the dark, paler than skin and lips


def test_closed_lips_stay_shut_while_the_jaw_is_down(scene):
    renderer, setup, portrait = scene
    frame = renderer.frame(setup, weights(jawOpen=0.5, mouthClose=0.5))
    assert (_mouth(portrait, frame).mean(-1) < 50).float().mean() < 0.03


def test_lips_are_not_smeared_into_the_opening(scene):
    renderer, setup, portrait = scene
    frame = renderer.frame(setup, weights(jawOpen=1.0))
    unit = float(portrait.interocular)
    x, y = portrait.landmarks[62, :2].tolist()
    column = frame[int(y - 0.05 * unit) : int(y + 0.45 * unit), int(x)].float()
    redness = column[:, 0] - column[:, 1]
    lips = redness > 60
    # Two bands of lip with something that is no lip between them.
    assert int((lips[1:] & ~lips[:-1]).sum()) + int(lips[0]) == 2


def test_the_mouth_follows_a_turned_head(scene):
    renderer, setup, portrait = scene
    straight = renderer.frame(setup, weights(jawOpen=0.8))
    turned = renderer.frame(setup, weights(jawOpen=0.8), rotation=(0.0, 12.0, 0.0))

    def centre(frame):
        y = int(portrait.landmarks[66, 1] + 0.1 * portrait.interocular)
        dark = (frame[y].float().mean(-1) < 60).nonzero().float()
        return float(dark.mean())

    assert torch.tensor(centre(turned)) < centre(straight) - 5
