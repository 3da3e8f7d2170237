"""The generator paints the golden picture, by its shortcuts and step by step."""

import pytest
import torch
from soliloquy.benchmarks import liveportrait_plain
from soliloquy.models import checkpoints
from soliloquy.models.checkpoints import CheckpointError
from soliloquy.models.folding import bake_spectral_norms
from soliloquy.models.render.liveportrait.generator import SpadeGenerator

from ....pseudo_weights import given
from .parity import error, golden, network, published, warped


@torch.no_grad()
def test_a_small_picture_is_painted_as_the_plain_network_does():
    features = given("small", (1, 256, 16, 16))
    expected = liveportrait_plain.generator(bake_spectral_norms(published("generator")), features)
    assert error(network("generator")(features), expected) < 5e-5


@torch.no_grad()
def test_the_picture_is_the_golden_one():
    picture = network("generator")(given("spade_in", (1, 256, 64, 64)))
    assert picture.shape == (1, 3, 512, 512)
    assert error(picture[:, :, ::8, ::8], golden("G_out_sub")) < 5e-5


@torch.no_grad()
def test_a_picture_of_warped_features_is_the_golden_one():
    features, *_ = warped()
    picture = network("generator")(features)
    assert error(picture[:, :, ::8, ::8], golden("WG_out_sub")) < 1e-4


@torch.no_grad()
def test_frames_of_a_batch_do_not_see_each_other():
    torch.manual_seed(0)
    generator = SpadeGenerator(middle=1).eval()
    features = torch.randn(2, 256, 4, 6)
    both = generator(features)
    assert both.shape == (2, 3, 32, 48)
    torch.testing.assert_close(both[1:], generator(features[1:]), atol=1e-5, rtol=1e-4)


def test_incomplete_weights_are_refused():
    state = published("generator")
    del state["up_0.norm_s.mlp_beta.bias"], state["G_middle_1.conv_0.weight_u"]
    with pytest.raises(CheckpointError, match="missing.*unexpected"):
        checkpoints.load("liveportrait/generator", state)
