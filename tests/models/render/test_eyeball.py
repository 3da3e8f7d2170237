import pytest
import torch
from soliloquy.models.render.eyeball import fill, find_iris, find_waterline
from soliloquy.models.render.eyes import Eye
from soliloquy.models.render.texture import Texture

from .drawn_face import IRIS_RADIUS, drawn_face


@pytest.fixture(scope="module")
def eye():
    portrait = drawn_face()
    height, width = portrait.size
    return Eye.of(portrait, Texture.cut(portrait.image, (0, 0, width - 1, height - 1), "cpu"), 0)


def _lids(eye):
    along = torch.linspace(-1, 1, 65)
    position = ((along + 1) / 2 * (eye.upper.shape[1] - 1)).round().long()
    return torch.stack((eye.upper[0, position], eye.lower[0, position]))


def test_an_iris_is_found_from_a_wrong_guess(eye):
    half_in_units = eye.patch.half / 2 / 72.0
    true_radius = IRIS_RADIUS / half_in_units
    x, y, radius = find_iris(eye.patch, _lids(eye), (0.12, 0.0, 0.8 * true_radius), 0.3)
    assert abs(x) < 0.12
    assert radius == pytest.approx(true_radius, rel=0.15)
    assert abs(y) < 0.3


def test_where_nothing_looks_like_an_iris_the_guess_stays(eye):
    blank = type(eye.patch)(
        torch.full_like(eye.patch.source, 180.0),
        eye.patch.along,
        eye.patch.across,
        eye.patch.axes,
        eye.patch.half,
    )
    assert find_iris(blank, _lids(eye), (0.1, 0.0, 0.4), 0.3) == (0.1, 0.0, 0.4)
    assert not find_waterline(blank, _lids(eye)).any()


def test_a_lower_lid_that_was_marked_too_high_is_found(eye):
    lids = _lids(eye)
    raised = lids.clone()
    raised[1] = lids[0] + 0.45 * (lids[1] - lids[0])
    below = find_waterline(eye.patch, raised)
    missing = (lids[1] - raised[1])[32]
    assert 0.5 * missing < below[32] < 2.0 * missing


def test_the_completed_white_has_no_iris_and_the_lid_no_eye(eye):
    middle = eye.patch.along**2 + (eye.patch.across - eye.patch.across.mean()) ** 2 < 0.1
    opened = middle & (eye.patch.across > eye.upper) & (eye.patch.across < eye.lower)
    white, lid = eye.ball.white[0][:, opened], eye.ball.lid[0][:, opened]
    assert white.mean() > 190
    skin = torch.tensor([205.0, 160.0, 138.0])
    assert (lid.mean(1) - skin).abs().max() < 20


def test_filling_keeps_what_is_known_and_smooths_the_rest():
    planes = torch.full((1, 1, 40, 40), 10.0)
    planes[..., 15:25, 15:25] = 200.0
    known = torch.ones(1, 1, 40, 40)
    known[..., 14:26, 14:26] = 0.0
    filled = fill(planes, known, 20.0)
    assert torch.equal(filled[known > 0], planes[known > 0])
    assert torch.allclose(filled[known == 0], torch.tensor(10.0), atol=1e-2)
