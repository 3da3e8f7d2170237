"""ResNet-50 with folded batch norms is the one with batch norms, and its file is recognised."""

import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.checkpoints import CheckpointError

from .plain_resnet import plain_resnet


def test_features_equal_those_of_the_network_with_batch_norms():
    plain = plain_resnet(classes=10)
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    network, wanted = checkpoints.load("resnet50", plain.state_dict()), plain(pictures)
    assert wanted.shape == (2, 128)
    assert torch.allclose(network(pictures), wanted, atol=1e-4 * float(wanted.abs().max()))


def test_the_file_loads_without_its_classes_and_without_what_counts_batches(tmp_path):
    state = plain_resnet(classes=10).state_dict()
    kept = {key: value for key, value in state.items() if "num_batches" not in key}
    assert len(kept) < len(state)
    torch.save(kept, tmp_path / "resnet50.pth")
    assert checkpoints.load("resnet50", tmp_path / "resnet50.pth").stem.weight.shape == (4, 3, 7, 7)


def test_a_smaller_resnet_is_refused():
    state = plain_resnet(classes=10).state_dict()
    shallow = {key: value for key, value in state.items() if not key.startswith("layer3.5.")}
    with pytest.raises(CheckpointError, match="ResNet-50"):
        checkpoints.load("resnet50", shallow)
