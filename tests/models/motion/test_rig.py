import dataclasses

import numpy as np
import pytest
import torch
from soliloquy.models.motion.arkit import ARKIT52, INDEX
from soliloquy.models.motion.rig import LID_PAIRS, LIP_PAIRS, load_rig
from soliloquy.models.payloads import Portrait
from soliloquy.models.portrait.geometry import euler_to_matrix
from soliloquy.models.portrait.mapping import MIRROR_68

from ...helpers import shared

CLIPS = ("talk_a", "talk_b", "talk_c", "talk_d", "talk_e")


def weights(**named):
    row = torch.zeros(1, 52)
    for name, value in named.items():
        row[0, INDEX[name]] = value
    return row


def gap(points, pairs):
    return torch.stack([points[:, low, 1] - points[:, up, 1] for up, low in pairs], 1)


def width(points):
    return (points[:, 54] - points[:, 48]).norm(dim=-1)


def mirrored(moves):
    return moves[..., list(MIRROR_68), :] * torch.tensor([-1.0, 1.0, 1.0])


def portrait_of(landmarks, rotation=(0.0, 0.0, 0.0)):
    return Portrait(
        image=torch.zeros(8, 8, 3, dtype=torch.uint8),
        landmarks=landmarks,
        box=(0.0, 0.0, 8.0, 8.0),
        crop=torch.eye(3, dtype=torch.float64),
        crop_size=8,
        rotation=rotation,
    )


def test_zero_weights_move_nothing_even_on_a_face_with_crossed_lips():
    rig = load_rig()
    face = rig.mean_face.clone()
    face[66, 1] = face[62, 1] - 0.02
    assert rig.offsets(torch.zeros(3, 52), face).abs().max() == 0


def test_the_rig_is_mirror_symmetric():
    basis = load_rig().basis
    for index, name in enumerate(ARKIT52):
        other = name.replace("Left", "*").replace("Right", "Left").replace("*", "Right")
        torch.testing.assert_close(mirrored(basis[index]), basis[INDEX[other]], atol=1e-6, rtol=0)


def test_jaw_open_lowers_chin_and_lower_lip_and_opens_the_mouth_wide():
    moves = load_rig().offsets(weights(jawOpen=1.0))[0]
    assert moves[8, 1] > 0.2
    assert moves[57, 1] > 0.25
    assert moves[51, 1].abs() < 0.05
    assert gap(load_rig().landmarks(weights(jawOpen=1.0)), LIP_PAIRS).max() > 0.25


@pytest.mark.parametrize("opening", [0.03, 0.09, 0.2])
def test_a_blink_closes_any_eye_exactly(opening):
    rig = load_rig()
    face = rig.mean_face.clone()
    for upper, lower in LID_PAIRS:
        face[upper, 1] = face[lower, 1] - opening
    for extra in ({}, {"eyeSquintLeft": 1.0, "eyeSquintRight": 1.0, "eyeLookDownLeft": 0.5}):
        closed = rig.landmarks(weights(eyeBlinkLeft=1.0, eyeBlinkRight=1.0, **extra), face)
        assert gap(closed, LID_PAIRS).abs().max() < 1e-5


def test_a_wink_leaves_the_other_eye_open():
    rig = load_rig()
    still = rig.offsets(weights(eyeBlinkLeft=1.0))[0, [37, 38, 40, 41]]
    assert still.abs().max() == 0


def test_mouth_close_closes_the_lips_of_an_open_jaw_and_nothing_else():
    rig = load_rig()
    for amount in (0.3, 1.0):
        closed = rig.landmarks(weights(jawOpen=amount, mouthClose=amount))
        at_rest = gap(rig.mean_face[None], LIP_PAIRS)
        torch.testing.assert_close(gap(closed, LIP_PAIRS), at_rest, atol=0.005, rtol=0)
        assert closed[0, 8, 1] > rig.mean_face[8, 1] + 0.15 * amount
    assert rig.offsets(weights(mouthClose=1.0)).abs().max() == 0


def test_pucker_narrows_and_smile_widens_and_lifts():
    rig = load_rig()
    rest = width(rig.mean_face[None])
    assert width(rig.landmarks(weights(mouthPucker=1.0))) < 0.85 * rest
    smile = weights(mouthSmileLeft=1.0, mouthSmileRight=1.0)
    assert width(rig.landmarks(smile)) > 1.15 * rest
    assert rig.offsets(smile)[0, 54, 1] < -0.03


def test_brows_eyes_and_nose_go_where_their_names_say():
    rig = load_rig()
    expected = {
        "browInnerUp": (22, -1),
        "browDownLeft": (23, 1),
        "browOuterUpLeft": (25, -1),
        "eyeWideLeft": (43, -1),
        "eyeSquintLeft": (47, -1),
        "eyeLookUpLeft": (43, -1),
        "eyeLookDownLeft": (43, 1),
        "mouthUpperUpLeft": (52, -1),
        "mouthLowerDownLeft": (56, 1),
        "mouthFrownLeft": (54, 1),
        "noseSneerLeft": (35, -1),
    }
    for name, (landmark, sign) in expected.items():
        assert sign * float(rig.basis[INDEX[name], landmark, 1]) > 0.01, name
    for name in ("jawLeft", "mouthLeft"):
        assert rig.basis[INDEX[name], 57, 0] > 0.05, name


def test_gaze_to_the_side_and_the_tongue_have_no_landmarks():
    basis = load_rig().basis
    for name in ("eyeLookInLeft", "eyeLookOutRight", "tongueOut"):
        assert basis[INDEX[name]].abs().max() < 1e-6


def test_lips_never_pass_through_each_other():
    rig = load_rig()
    generator = torch.Generator().manual_seed(0)
    many = torch.rand(500, 52, generator=generator) ** 2
    assert gap(rig.landmarks(many), LIP_PAIRS + LID_PAIRS).min() > -1e-6


def test_placing_turns_and_scales_with_the_portrait():
    rig = load_rig()
    rotation = euler_to_matrix(torch.tensor([5.0, 20.0, 30.0]))
    landmarks = 120 * rig.mean_face @ rotation.mT + torch.tensor([200.0, 300.0, 10.0])
    portrait = portrait_of(landmarks, (5.0, 20.0, 30.0))
    torch.testing.assert_close(rig.neutral_of(portrait), rig.mean_face, atol=1e-4, rtol=0)
    offsets = rig.offsets(weights(jawOpen=0.7))
    placed = rig.place(offsets, portrait) - landmarks
    torch.testing.assert_close(placed, 120 * offsets @ rotation.mT, atol=1e-2, rtol=0)


def test_weights_come_back_from_landmarks():
    rig = load_rig()
    names = ("jawOpen", "mouthSmileLeft", "mouthSmileRight", "browInnerUp", "eyeBlinkLeft")
    given = torch.cat([weights(**{name: amount}) for name in names for amount in (0.3, 0.8)])
    found = rig.weights_from_landmarks(rig.offsets(given))
    assert found.min() >= 0
    assert found.max() <= 1
    again = rig.offsets(found)
    assert (again - rig.offsets(given)).norm(dim=-1).max() < 0.02
    for row, (name, _) in enumerate((n, a) for n in names for a in (0.3, 0.8)):
        assert abs(float(found[row, INDEX[name]] - given[row, INDEX[name]])) < 0.15, name


def test_the_rig_is_read_once_and_cannot_be_changed():
    assert load_rig() is load_rig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_rig().basis = torch.zeros(1)


@pytest.mark.parametrize("clip", CLIPS)
def test_tracked_weights_give_back_the_tracked_lips(clip):
    stored = np.load(shared(f"data/clips/{clip}.npz"))
    names = list(stored["blendshape_names"])
    tracked = torch.zeros(len(stored["blendshapes"]), 52)
    for index, name in enumerate(ARKIT52):
        if name in names:
            column = stored["blendshapes"][:, names.index(name)].astype(np.float32)
            tracked[:, index] = torch.from_numpy(column)
    points = load_rig().landmarks(tracked)
    aperture = (points[:, 62] - points[:, 66]).norm(dim=-1)
    assert np.corrcoef(aperture, stored["lip_aperture"])[0, 1] > 0.9
    assert np.corrcoef(width(points), stored["lip_width"])[0, 1] > 0.8
