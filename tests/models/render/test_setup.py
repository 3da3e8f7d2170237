import torch
from soliloquy.models.motion.rig import load_rig
from soliloquy.models.portrait.geometry import euler_to_matrix
from soliloquy.models.render.setup import CELL, Setup

from .drawn_face import drawn_face, weights

CPU = torch.device("cpu")


def test_the_box_lies_inside_the_picture():
    setup = Setup.of(drawn_face(240, 180), load_rig(), CPU)
    x0, y0, x1, y1 = setup.box
    assert 0 <= x0 < x1 <= 180
    assert 0 <= y0 < y1 <= 240


def test_a_small_face_in_a_large_picture_moves_only_its_surroundings():
    setup = Setup.of(drawn_face(1200, 1600, interocular=60.0), load_rig(), CPU)
    x0, y0, x1, y1 = setup.box
    assert (x1 - x0) * (y1 - y0) < 0.1 * 1200 * 1600
    assert setup.texture.pixels.shape[-1] < 2 * 500


def test_the_lattice_is_as_fine_for_a_large_picture_as_for_a_small_one():
    small, large = (
        Setup.of(drawn_face(int(320 * s), int(256 * s), interocular=72 * s), load_rig(), CPU)
        for s in (1, 4)
    )
    for setup in (small, large):
        assert 0.6 * CELL < setup.lattice.cell / setup.head.interocular < 1.5 * CELL


def test_a_turned_face_moves_its_landmarks_in_its_own_frame():
    turn = (0.0, 40.0, 0.0)
    turned = Setup.of(drawn_face(rotation=turn), load_rig(), CPU)
    frontal = Setup.of(drawn_face(), load_rig(), CPU)
    values = weights(mouthSmileLeft=1.0)
    expected = frontal.landmark_offsets(values) @ euler_to_matrix(torch.tensor(turn)).T
    assert torch.allclose(turned.landmark_offsets(values), expected, atol=0.2)


def test_lids_are_left_to_the_eyes():
    setup = Setup.of(drawn_face(), load_rig(), CPU)
    assert not setup.landmark_offsets(weights(eyeBlink=1.0))[36:48].any()
