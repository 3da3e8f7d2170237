"""The published landmark head computes what the published one does, from the published file."""

import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.checkpoints import CheckpointError

from ...golden_recipe import error, given, golden, recipe, state
from .plain_kflm import PlainKFLM, published


@pytest.fixture(scope="module")
def pseudo():
    return state("keys_atldiff_kflm_head", "KFLM")


@pytest.fixture(scope="module")
def network(pseudo):
    return checkpoints.load("atl_diff/kflm", pseudo)


@pytest.fixture(scope="module")
def heard():
    rest = torch.from_numpy(recipe().face68(1.0).T[None]).float() + given("kf_v", (1, 2, 68), 0.01)
    return given("kf_feat", (1, 49, 768), 0.5), rest


@pytest.fixture(scope="module")
def small():
    """Another draw of weights and other sizes, with the program written down plainly."""
    torch.manual_seed(3)
    plain = PlainKFLM(audio=12, frames=7).eval().requires_grad_(False)
    for parameter in plain.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    return plain


def test_landmarks_are_the_golden_ones(network, heard):
    numbers = golden("atldiff_kflm")
    assert error(network.fused(*heard), numbers["kf_prekan"]) < 1e-4
    assert error(network(*heard, torch.tensor([1])), numbers["kf_y"]) < 1e-4


def test_every_branch_gives_the_golden_numbers(network, heard):
    numbers = golden("atldiff_kflm")
    features, landmarks = heard
    rest = landmarks.flatten(1)[:, None]
    mouth = landmarks[..., [*range(49, 68), 48]].flatten(1)[:, None]
    taps = {
        "trans_gb": network.global_face(features, rest),
        "trans_gbm": network.global_mouth(features, mouth),
        "trans_ct": network.context(features, rest),
        "lstm": network.local_face(features)[0],
        "mouth": network.local_mouth(features)[0],
    }
    for name, found in taps.items():
        assert error(found[0][::6, ::3], numbers[f"kf_tap_{name}"]) < 1e-4, name


def test_other_sizes_and_weights_equal_the_plain_program(small):
    network = checkpoints.load("atl_diff/kflm", published(small))
    features, landmarks = torch.randn(1, 7, 12), torch.rand(1, 2, 68)
    for emotion in (0, 5):
        wanted = small(features, landmarks, torch.tensor([emotion]))
        assert error(network(features, landmarks, torch.tensor([emotion])), wanted) < 1e-5


def test_segments_of_a_batch_stand_for_themselves(small):
    network = checkpoints.load("atl_diff/kflm", published(small))
    features, landmarks = torch.randn(3, 7, 12), torch.rand(3, 2, 68)
    together = network(features, landmarks)
    for i in range(3):
        alone = network(features[i : i + 1], landmarks[i : i + 1])
        assert torch.allclose(together[i], alone[0], atol=1e-5)


@pytest.mark.parametrize("wrapper", [None, "state_dict"])
def test_training_files_with_the_speech_network_inside_load_too(small, tmp_path, wrapper):
    state = {**published(small), "w2v.encoder.transformer.layer_norm.bias": torch.zeros(4)}
    path = tmp_path / "weight.ckpt"
    torch.save({wrapper: state, "epoch": 199} if wrapper else state, path)
    network = checkpoints.load("atl_diff/kflm", path)
    features, landmarks = torch.randn(1, 7, 12), torch.rand(1, 2, 68)
    wanted = small(features, landmarks, torch.tensor([1]))
    assert error(network(features, landmarks), wanted) < 1e-5


def test_knots_may_be_left_out_since_they_are_constants(small):
    state = published(small)
    bare = {key: value for key, value in state.items() if not key.endswith("grid")}
    for key, value in checkpoints.load("atl_diff/kflm", state).state_dict().items():
        found = checkpoints.load("atl_diff/kflm", bare).state_dict()[key]
        assert torch.allclose(found, value), key


def test_moved_knots_are_used(small):
    state = published(small)
    moved = {k: v * 1.5 if k.endswith("grid") else v for k, v in state.items()}
    x = torch.rand(1, 7, 12), torch.rand(1, 2, 68)
    first = checkpoints.load("atl_diff/kflm", state)(*x)
    assert not torch.allclose(first, checkpoints.load("atl_diff/kflm", moved)(*x), atol=1e-4)


def test_a_missing_or_a_strange_key_is_named(small):
    state = published(small)
    del state["lstm.bias_hh_l0_reverse"]
    with pytest.raises(CheckpointError, match=r"1 missing: local_face\.bias_hh_l0_reverse"):
        checkpoints.load("atl_diff/kflm", state)
    with pytest.raises(CheckpointError, match="1 unexpected: strange"):
        checkpoints.load("atl_diff/kflm", {**published(small), "strange": torch.zeros(2)})
