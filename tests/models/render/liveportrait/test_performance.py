"""Choices of a performance reach the keypoints."""

import pytest
import torch
from soliloquy.models.payloads import PayloadError
from soliloquy.models.render.liveportrait.keypoints import (
    LIP_KEYPOINTS,
    LivePortraitSource,
    pose_from_motion,
)
from soliloquy.models.render.liveportrait.performance import (
    MODES,
    Performance,
    corrected_keypoints,
    driving_keypoints,
)

from .faces import motion, portrait

OTHERS = [k for k in range(21) if k not in LIP_KEYPOINTS]


@pytest.fixture
def source():
    torch.manual_seed(3)
    return LivePortraitSource(
        kp=torch.randn(21, 3) * 0.2, exp=torch.randn(21, 3) * 0.02, pitch=3.0, yaw=8.0, roll=-2.0,
        t=torch.tensor([0.1, 0.0, 0.0]), scale=1.5, interocular=0.4,
    )  # fmt: skip


def moved(source, **choices):
    return driving_keypoints(source, motion(), Performance(**choices)) - source.keypoints


def test_absolute_motion_is_the_motion_itself(source):
    expected = pose_from_motion(source, motion()).keypoints(source.kp) - source.keypoints
    torch.testing.assert_close(moved(source), expected)


@pytest.mark.parametrize("mode", MODES[1:])
def test_other_modes_start_at_the_portrait(source, mode):
    way = moved(source, mode=mode)
    assert way[0].abs().max() < 1e-5
    assert way[1:].abs().amax() > 0.02


def test_regions_leave_the_rest_of_the_face_alone(source):
    lips = moved(source, region="lips")
    assert lips[:, OTHERS].abs().max() < 1e-6
    assert lips[:, list(LIP_KEYPOINTS)].abs().min(0).values.max() > 0
    parts = moved(source, region="expression"), moved(source, region="pose")
    assert min(part.abs().max() for part in parts) > 0.01
    assert not torch.allclose(*parts, atol=1e-3)


def test_strength_and_offset_scale_and_add(source):
    torch.testing.assert_close(moved(source, strength=0.5), moved(source) * 0.5)
    offset = torch.full((21, 3), 0.01)
    change = moved(source, expression_offset=offset) - moved(source)
    expected = motion().scale[:, None, None] * source.scale * 0.01
    torch.testing.assert_close(change, expected.expand(-1, 21, 3), atol=1e-6, rtol=1e-4)


def test_an_offset_stays_on_a_still_motion_and_in_relative_mode(source):
    offset = torch.zeros(21, 3)
    offset[14, 1] = 0.02
    way = moved(source, mode="relative", expression_offset=offset)
    assert way[0, 14].norm() == pytest.approx(0.02 * source.scale, rel=0.01)
    assert way[0, OTHERS].abs().max() < 1e-5
    plain = moved(source, mode="relative")
    torch.testing.assert_close(way[:, OTHERS], plain[:, OTHERS])


def test_openings_are_asked_for_in_the_published_order(source):
    asked = {}

    def network(name, size):
        def forward(x):
            asked.setdefault(name, []).append(x[:, 63:])
            return torch.ones(len(x), size)

        return forward

    networks = {
        "stitching": network("stitching", 65),
        "retarget_lip": network("lip", 63),
        "retarget_eye": network("eye", 63),
    }
    face = portrait()
    face.landmarks[62:65:2, 1] -= 5  # the mean face's lips are closed
    driving = source.keypoints.repeat(2, 1, 1)
    wanted = Performance(eye_opening=0.5, lip_opening=0.2, close_lips=True, stitching=False)
    result = corrected_keypoints(driving, source.keypoints, face, networks, wanted)
    torch.testing.assert_close(result, driving + 3)
    assert asked["eye"][0].shape == (1, 3)
    assert float(asked["eye"][0][0, 2]) == 0.5
    assert [round(float(x[0, 1]), 6) for x in asked["lip"]] == [0.0, 0.2]
    assert "stitching" not in asked
    plain = corrected_keypoints(driving, source.keypoints, face, networks, Performance())
    torch.testing.assert_close(plain, driving + torch.tensor([2.0, 2.0, 1.0]))


def test_unknown_choices_are_refused():
    with pytest.raises(PayloadError, match="not 'fast' and 'all'"):
        Performance(mode="fast")
    with pytest.raises(PayloadError, match="must be 21 × 3"):
        Performance(expression_offset=torch.zeros(20, 3))
