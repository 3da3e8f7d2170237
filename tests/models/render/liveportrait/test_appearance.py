"""The appearance extractor gives the golden features and refuses other files."""

import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.checkpoints import CheckpointError
from soliloquy.models.render.liveportrait.appearance import AppearanceExtractor

from ....pseudo_weights import picture
from .parity import error, golden, network, published


def test_features_are_the_golden_ones():
    with torch.no_grad():
        features = network("appearance")(picture())
    assert features.shape == (1, 32, 16, 64, 64)
    assert error(features[:, ::4, ::3, ::8, ::8], golden("F_out_sub")) < 1e-5


def test_pictures_of_a_batch_do_not_see_each_other():
    torch.manual_seed(0)
    network = AppearanceExtractor(width=4, blocks=1).eval()
    pictures = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network(pictures)[1:], network(pictures[1:]))


def test_incomplete_and_foreign_weights_are_refused():
    state = published("appearance")
    with pytest.raises(CheckpointError, match="seems to be LivePortrait appearance"):
        checkpoints.load("liveportrait/warping", state)
    del state["resblocks_3d.3dr2.norm1.running_var"]
    with pytest.raises(CheckpointError, match=r"unexpected: blocks\.2\.norm\.running_mean"):
        checkpoints.load("liveportrait/appearance", state)
