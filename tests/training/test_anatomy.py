import torch
from soliloquy.models.motion.arkit import ARKIT52, INDEX
from soliloquy.training.anatomy import mirror, mirror_names, prior_basis, support

UNSEEN = {"eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "tongueOut"}
BUILT = {"eyeBlinkLeft", "eyeBlinkRight", "mouthClose"}  # these follow from what must touch


def test_the_prior_is_exactly_mirror_symmetric():
    basis = prior_basis()
    torch.testing.assert_close(mirror(basis[mirror_names()]), basis)


def test_every_weight_the_landmarks_can_show_moves_something():
    size = prior_basis().flatten(1).norm(dim=1)
    still = {name for name, value in zip(ARKIT52, size, strict=True) if value == 0}
    assert still == UNSEEN | BUILT


def test_nothing_in_the_prior_is_forbidden_by_the_support():
    moved = prior_basis().abs().amax(-1) > 0
    assert not (moved & ~support()).any()


def test_one_side_moves_one_side():
    allowed = support()
    right_eye_and_mouth = [36, 37, 40, 41, 48, 49, 59]
    for name in ("eyeBlinkLeft", "mouthSmileLeft", "mouthUpperUpLeft"):
        assert not allowed[INDEX[name], right_eye_and_mouth].any()
    assert allowed[INDEX["jawLeft"], 48]


def test_mirroring_twice_changes_nothing():
    moves = torch.randn(2, 68, 3)
    assert torch.equal(mirror(mirror(moves)), moves)
