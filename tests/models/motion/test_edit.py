from dataclasses import replace

import pytest
import torch
from soliloquy.models.motion.arkit import INDEX
from soliloquy.models.motion.edit import PARTS, edit_motion, soft_limit
from soliloquy.models.payloads import MOTION_SPACES, Motion, PayloadError, Timeline

from .examples import motion_of

JAW, BLINK, BROW = INDEX["jawOpen"], INDEX["eyeBlinkLeft"], INDEX["browInnerUp"]


def same(first, second):
    return all(
        torch.allclose(getattr(first, name), getattr(second, name), atol=1e-6)
        for name in ("values", "rotation", "translation", "scale")
    )


def test_defaults_change_nothing():
    motion = motion_of()
    assert same(edit_motion(motion), motion)


def test_the_given_motion_is_never_changed():
    motion = motion_of()
    before = motion_of()
    edit_motion(
        motion, mouth=0.5, head=2, smoothing_seconds=0.3, yaw_limit=3, pitch_offset=4,
        delay_seconds=0.2, loop_seconds=0.5, weights={"mouthSmile": 0.3}, zoom=1.2,
    )  # fmt: skip
    assert same(motion, before)


@pytest.mark.parametrize("space", MOTION_SPACES)
def test_every_value_belongs_to_one_part(space):
    members = sorted(index for part in PARTS[space].values() for index in part)
    assert members == list(range(MOTION_SPACES[space][0]))


@pytest.mark.parametrize(
    ("part", "moved", "still"),
    [("mouth", JAW, BROW), ("expression", BROW, JAW), ("blink", BLINK, BROW)],
)
def test_strengths_reach_their_part_only(part, moved, still):
    motion = motion_of()
    edited = edit_motion(motion, **{part: 0.5})
    torch.testing.assert_close(edited.values[:, moved], 0.5 * motion.values[:, moved])
    torch.testing.assert_close(edited.values[:, still], motion.values[:, still])
    assert torch.equal(edited.rotation, motion.rotation)


def test_weights_stay_between_zero_and_one():
    edited = edit_motion(motion_of(), mouth=9.0, weights={"browDown": -1.0})
    assert edited.values.max() == 1
    assert edited.values.min() == 0


def test_a_head_strength_of_zero_holds_the_head_as_in_the_portrait():
    edited = edit_motion(motion_of(), head=0.0)
    assert edited.rotation.abs().max() == 0
    assert edited.translation.abs().max() == 0
    torch.testing.assert_close(edited.scale, torch.ones(50))


def test_smoothing_calms_without_delay_and_spares_blinks():
    values = torch.zeros(101, 52)
    values[50, JAW] = values[50, BLINK] = 1.0
    spike = replace(motion_of(101), values=values)
    edited = edit_motion(spike, smoothing_seconds=0.2).values
    assert edited[:, BLINK].max() == 1
    assert 0.05 < edited[:, JAW].max() < 0.4
    assert int(edited[:, JAW].argmax()) == 50
    torch.testing.assert_close(edited[:, JAW].flip(0), edited[:, JAW])
    torch.testing.assert_close(edited[:, JAW].sum(), torch.tensor(1.0))


def test_smoothing_is_meant_in_seconds():
    slow, fast = motion_of(50, 25), motion_of(150, 75)
    slow, fast = (edit_motion(m, head_smoothing_seconds=0.4) for m in (slow, fast))
    torch.testing.assert_close(fast.rotation[30:120:3], slow.rotation[10:40], atol=0.05, rtol=0)


def test_smoothing_longer_than_the_motion_works():
    edited = edit_motion(motion_of(3), smoothing_seconds=60, head_smoothing_seconds=60)
    assert torch.isfinite(edited.values).all()


def test_limits_are_soft_and_hold():
    angles = torch.linspace(-40, 40, 801)
    bent = soft_limit(angles, 10)
    assert bent.abs().max() <= 10
    assert torch.equal(bent[(angles.abs() < 6)], angles[angles.abs() < 6])
    slope = bent.diff() / 0.1
    assert slope.min() >= 0
    assert slope.diff().abs().max() < 0.02  # no corner
    edited = edit_motion(motion_of(), yaw_limit=2.0)
    assert edited.rotation[:, 1].abs().max() <= 2
    assert torch.equal(edited.rotation[:, 0], motion_of().rotation[:, 0])
    assert edit_motion(motion_of(), roll_limit=0.0).rotation[:, 2].abs().max() < 1e-5


def test_offsets_move_axes_and_weights():
    motion = motion_of(mouthSmileLeft=0.1, mouthSmileRight=0.2)
    edited = edit_motion(
        motion, pitch_offset=1, yaw_offset=-2, roll_offset=3, x_offset=0.1, y_offset=-0.2, zoom=1.5,
        weights={"mouthSmile": 0.3, "jawOpen": 0.1},
    )  # fmt: skip
    turned = edited.rotation - motion.rotation
    torch.testing.assert_close(turned, torch.tensor([1.0, -2, 3]).expand(50, 3))
    moved = edited.translation - motion.translation
    torch.testing.assert_close(moved, torch.tensor([0.1, -0.2, 0]).expand(50, 3))
    torch.testing.assert_close(edited.scale, 1.5 * motion.scale)
    torch.testing.assert_close(edited.values[:, INDEX["mouthSmileRight"]], torch.full((50,), 0.5))
    torch.testing.assert_close(edited.values[:, JAW], motion.values[:, JAW] + 0.1)


def test_a_delay_moves_everything_later_and_holds_the_start():
    motion = motion_of()
    later = edit_motion(motion, delay_seconds=0.2)  # five frames
    torch.testing.assert_close(later.values[5:], motion.values[:-5])
    torch.testing.assert_close(later.rotation[:5], motion.rotation[:1].expand(5, 3))
    earlier = edit_motion(motion, delay_seconds=-0.2)
    torch.testing.assert_close(earlier.values[:-5], motion.values[5:])


def test_a_loop_ends_as_it_began_and_keeps_the_middle():
    motion = motion_of()
    looped = edit_motion(motion, loop_seconds=0.8)
    torch.testing.assert_close(looped.values[-1], motion.values[0])
    torch.testing.assert_close(looped.rotation[-1], motion.rotation[0])
    torch.testing.assert_close(looped.values[:29], motion.values[:29])


def test_other_spaces_can_be_edited_but_have_no_single_weights():
    motion = Motion(
        space="landmarks68",
        values=torch.ones(5, 68, 3),
        rotation=torch.zeros(5, 3),
        translation=torch.zeros(5, 3),
        scale=torch.ones(5),
        timeline=Timeline.for_frames(5, 25),
    )
    edited = edit_motion(motion, mouth=2.0, blink=0.0)
    assert edited.values[0, 60, 0] == 2
    assert edited.values[0, 40, 0] == 0
    with pytest.raises(PayloadError, match="arkit52 motion only, and this is landmarks68"):
        edit_motion(motion, weights={"jawOpen": 0.1})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mouth": -1.0}, "'mouth' is -1.0.*at least 0"),
        ({"smoothing_seconds": float("nan")}, "'smoothing_seconds' is nan"),
        ({"yaw_offset": float("inf")}, "'yaw_offset' is inf"),
        ({"weights": {"mouthSmirk": 0.2}}, "'mouthSmirk'.*browDownLeft"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(PayloadError, match=message):
        edit_motion(motion_of(), **settings)
