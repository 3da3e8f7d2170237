"""Guided noise that does not belong to portrait and motion is refused with what to do."""

from dataclasses import replace

import pytest
import torch
from soliloquy.models.noise.given import checked_side
from soliloquy.models.payloads import GuidedNoise, PayloadError

from ..motion.test_posed import still
from ..render.drawn_face import drawn_face

PORTRAIT = drawn_face(200, 180, interocular=50.0)


def noise(frames=3, height=64, width=64, **options):
    shape = (frames, 3, height, width)
    given = {"portrait": PORTRAIT, **options}
    return GuidedNoise(frames=torch.zeros(shape), mask=torch.zeros(shape)[:, :1], **given)


def test_what_belongs_has_a_side():
    assert checked_side(noise(), PORTRAIT, still(3)) == 64
    again = drawn_face(200, 180, interocular=50.0)  # the host may have made it twice
    assert checked_side(noise(portrait=again), PORTRAIT, still(3)) == 64
    assert checked_side(noise(whole_picture=True), PORTRAIT, still(3)) == 64


def test_another_length_portrait_or_side_is_refused():
    with pytest.raises(PayloadError, match="3 frames and the motion 4"):
        checked_side(noise(), PORTRAIT, still(4))
    shifted = replace(PORTRAIT, crop=PORTRAIT.crop + 1)
    with pytest.raises(PayloadError, match="another portrait, or another crop"):
        checked_side(noise(portrait=shifted), PORTRAIT, still(3))
    for sides in ((64, 72), (36, 36)):
        with pytest.raises(PayloadError, match="multiple of 8"):
            checked_side(noise(3, *sides), PORTRAIT, still(3))


def test_the_whole_picture_is_refused_where_only_the_crop_will_do():
    with pytest.raises(PayloadError, match="shows the whole picture.*'mode'"):
        checked_side(noise(whole_picture=True), PORTRAIT, still(3), crop_only=True)
    assert checked_side(noise(), PORTRAIT, still(3), crop_only=True) == 64
