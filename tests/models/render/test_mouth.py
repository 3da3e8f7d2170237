import dataclasses

import pytest
import torch
from soliloquy.models.motion.rig import load_rig
from soliloquy.models.render.mouth import SAMPLES, LipControl, LipFields, Mouth, read_table
from soliloquy.models.render.setup import Setup

from .drawn_face import drawn_face, weights


@pytest.fixture(scope="module")
def setup():
    return Setup.of(drawn_face(), load_rig(), torch.device("cpu"))


def _gap(setup, values, closing=0.0, speaking=0.0):
    """How far the lips are apart along the lip line, inter-ocular distances, `[SAMPLES]`."""
    line_upper, line_lower = setup.mouth.line()
    upper, lower = setup.lips.displacements(
        setup.landmark_offsets(values), setup.mouth, LipControl(closing, speaking)
    )
    shape = (1, 3, *setup.depth.shape)
    moved = [
        setup.lattice.read(side.view(shape), line[None, :, :, None])[0, :2, :, 0] + line
        for side, line in ((upper, line_upper), (lower, line_lower))
    ]
    return setup.mouth.axes[1] @ (moved[1] - moved[0]) / setup.mouth.interocular


def test_lips_part_in_the_middle_and_stay_together_at_the_corners(setup):
    gap = _gap(setup, weights(jawOpen=1.0))
    assert gap[SAMPLES // 2] > 0.25
    assert gap[[0, -1]].abs().max() < 0.02
    assert gap.min() > -0.01


def test_closing_shuts_what_the_jaw_opened(setup):
    assert _gap(setup, weights(jawOpen=0.5), closing=1.0).abs().max() < 0.02
    assert _gap(setup, weights(jawOpen=0.5, mouthClose=0.5)).abs().max() < 0.03


def test_both_fields_agree_away_from_the_mouth(setup):
    upper, lower = setup.lips.displacements(
        setup.landmark_offsets(weights(jawOpen=1.0)), setup.mouth, LipControl(0.0, 1.0)
    )
    outside = setup.lips.along.abs() > 1.0
    assert torch.equal(upper[:, outside], lower[:, outside])


def test_lips_never_pass_through_each_other(setup):
    for name in (
        "mouthPress",
        "mouthRollUpper",
        "mouthRollLower",
        "mouthShrugLower",
        "mouthPucker",
    ):
        assert _gap(setup, weights(**{name: 1.0})).min() > -0.02, name


def test_the_lower_teeth_go_down_with_the_jaw(setup):
    offsets = setup.landmark_offsets(weights(jawOpen=1.0))
    shift = (
        setup.lips.teeth_shift(offsets, setup.mouth, LipControl(0.0, 1.0)) / setup.mouth.interocular
    )
    assert 0.25 < shift[1] < 0.5


def test_an_open_portrait_keeps_its_opening_at_rest_and_can_close():
    portrait = drawn_face()
    landmarks = portrait.landmarks.clone()
    landmarks[[65, 66, 67], 1] += 0.08 * portrait.interocular
    portrait = dataclasses.replace(portrait, landmarks=landmarks)
    opened = Setup.of(portrait, load_rig(), torch.device("cpu"))
    rest = opened.mouth.opening / opened.mouth.interocular
    assert rest[SAMPLES // 2] > 0.06
    assert torch.allclose(_gap(opened, weights()), rest, atol=1e-3)
    assert _gap(opened, weights(), closing=1.0).abs().max() < 0.02
    spoken = _gap(opened, weights(jawOpen=0.1), speaking=1.0)
    assert spoken[SAMPLES // 2] < rest[SAMPLES // 2] < _gap(opened, weights(jawOpen=0.5))[32]


def test_the_lip_line_runs_through_the_inner_lips():
    portrait = drawn_face()
    mouth = Mouth.of(portrait)
    below_upper, _ = mouth.beyond_edges(portrait.landmarks[[61, 62, 63], :2].T)
    assert below_upper.abs().max() < 1.5
    above, below = portrait.landmarks[51, :2], portrait.landmarks[57, :2]
    assert mouth.beyond_edges(above[:, None])[0] < 0
    assert mouth.beyond_edges(below[:, None])[1] > 0


@pytest.mark.parametrize(
    ("pose", "low", "high"),
    [
        ({}, 0.0, 0.0),
        ({"jawOpen": 0.5}, 0.0, 0.0),
        ({"mouthPress": 0.3, "mouthRollLower": 0.12, "mouthRollUpper": 0.12}, 0.95, 1.0),
        ({"jawOpen": 0.4, "mouthClose": 0.4}, 0.95, 1.0),
        ({"jawOpen": 0.6, "mouthPress": 0.3}, 0.0, 0.05),
    ],
)
def test_lips_close_for_p_b_m_and_not_for_vowels(pose, low, high):
    assert low <= LipControl.of(weights(**pose)).closing <= high


def test_tables_are_read_linearly_and_held_beyond_their_ends():
    table = torch.linspace(0, 64, SAMPLES)[None]
    at = torch.tensor([-2.0, -1.0, 0.0, 0.5, 3.0])
    assert torch.allclose(read_table(table, at)[0], torch.tensor([0.0, 0.0, 32.0, 48.0, 64.0]))


def test_fields_are_linear_in_the_landmarks(setup):
    portrait = drawn_face()
    points = torch.rand(2, 50) * 200
    fields = LipFields.over(Mouth.of(portrait), points, portrait.landmarks[:, :2])
    assert fields.upper.shape == fields.lower.shape == (68, 50)


def test_speaking_is_what_opens_or_closes_a_mouth_and_not_a_smile():
    assert LipControl.of(weights()).speaking == 0.0
    assert LipControl.of(weights(mouthSmile=1.0, eyeBlink=1.0)).speaking == 0.0
    assert LipControl.of(weights(jawOpen=0.2)).speaking == 1.0
    assert LipControl.of(weights(mouthPress=0.3)).speaking == 1.0
