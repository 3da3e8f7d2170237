import pytest
import torch
from soliloquy.models.render.eyes import Eye
from soliloquy.models.render.texture import Texture

from .drawn_face import drawn_face, weights


def _eyes(dense):
    portrait = drawn_face(dense=dense)
    height, width = portrait.size
    texture = Texture.cut(portrait.image, (0, 0, width - 1, height - 1), "cpu")
    return [Eye.of(portrait, texture, which) for which in (0, 1)]


@pytest.fixture(scope="module", params=[False, True], ids=["68 landmarks", "mesh"])
def eyes(request):
    return _eyes(request.param)


def _dark_middle(eye, patch):
    """Centre of the dark pixels inside the opening, along and across, and how many there are."""
    light = patch.mean(0)
    inside = (eye.patch.across > eye.upper) & (eye.patch.across < eye.lower)
    dark = (light < 110) & inside & (eye.patch.along.abs() < 0.9)
    if not dark.any():
        return None, 0
    return (
        torch.stack((eye.patch.along[dark].mean(), eye.patch.across[dark].mean())),
        int(dark.sum()),
    )


def test_at_rest_nothing_is_painted(eyes):
    assert all(eye.paint(weights()) is None for eye in eyes)
    assert all(eye.paint(weights(jawOpen=1.0, mouthSmile=0.5)) is None for eye in eyes)


def test_a_blink_covers_the_iris_with_skin(eyes):
    for eye in eyes:
        _, before = _dark_middle(eye, eye.patch.source[0])
        shut = eye.paint(weights(eyeBlink=1.0))
        _, after = _dark_middle(eye, shut)
        assert after < 0.15 * before  # the lashes
        lid = (eye.patch.across > eye.upper) & (eye.patch.across < eye.lower - 0.1)
        assert (shut[:, lid].median(1).values - torch.tensor([205.0, 160, 138])).abs().max() < 25


def test_half_a_blink_covers_half(eyes):
    for eye in eyes:
        _, before = _dark_middle(eye, eye.patch.source[0])
        _, after = _dark_middle(eye, eye.paint(weights(eyeBlink=0.5)))
        assert 0.2 * before < after < 0.85 * before


def test_one_eye_can_wink(eyes):
    right, left = eyes
    values = weights()
    values += weights(eyeBlinkRight=1.0)
    assert right.paint(values) is not None
    assert left.paint(values) is None


@pytest.mark.parametrize(
    ("name", "axis", "right_sign", "left_sign"),
    [
        ("eyeLookOut", 0, -1, 1),  # each eye towards its own side of the picture
        ("eyeLookIn", 0, 1, -1),
        ("eyeLookDown", 1, 1, 1),
        ("eyeLookUp", 1, -1, -1),
    ],
)
def test_the_iris_goes_where_the_eye_looks(eyes, name, axis, right_sign, left_sign):
    for eye, sign in zip(eyes, (right_sign, left_sign), strict=True):
        before, _ = _dark_middle(eye, eye.patch.source[0])
        after, count = _dark_middle(eye, eye.paint(weights(**{name: 0.6})))
        assert count > 0
        assert sign * float(after[axis] - before[axis]) > 0.03


def test_a_small_change_of_weight_is_a_small_change_of_picture(eyes):
    for eye in eyes:
        for name in ("eyeBlink", "eyeLookIn", "eyeLookUp", "eyeSquint", "eyeWide"):
            first, second = (eye.paint(weights(**{name: value})) for value in (0.40, 0.41))
            assert (first - second).abs().mean() < 1.0, name
            start = eye.paint(weights(**{name: 0.005}))
            assert (start - eye.patch.source[0]).abs().mean() < 1.0, name


def test_the_rim_of_the_patch_does_not_change(eyes):
    for eye in eyes:
        painted = eye.paint(weights(eyeBlink=1.0, eyeSquint=1.0))
        for rim in (
            painted[:, 0] - eye.patch.source[0, :, 0],
            painted[:, :, 0] - eye.patch.source[0, :, :, 0],
        ):
            assert rim.abs().max() < 2.0
