"""The generator hears over time, feels, and may lose a domain or its curves."""

import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.checkpoints import CheckpointError
from soliloquy.models.motion.dual_domain import EMOTIONS, DualDomainConfig

from .dual_domain_examples import inputs, network, saved


def test_a_frame_of_landmarks_comes_out_per_feature():
    found = network()(*inputs())
    assert found.shape == (2, 40, 68, 3)
    assert found.std() > 0.001


@pytest.mark.parametrize(
    ("switch", "reach"), [("local_domain", 4), ("global_domain", 40)], ids=["global", "local"]
)
def test_each_domain_alone_hears_as_far_as_it_should(switch, reach):
    module = network(**{switch: False})
    features, rest, emotion = inputs()
    changed = features.clone()
    changed[:, 20] += 3
    difference = (module(features, rest, emotion) - module(changed, rest, emotion)).abs()
    touched = difference.amax((0, 2, 3)) > 0
    assert touched[20]
    assert touched[19]
    assert touched[21]
    if reach < 20:
        assert touched.nonzero().flatten().tolist() == list(range(20 - reach, 20 + reach + 1))


def test_segments_of_a_batch_stand_for_themselves():
    features, rest, emotion = inputs()
    together = network()(features, rest, emotion)
    for i in range(2):
        alone = network()(features[i : i + 1], rest[i : i + 1], emotion[i : i + 1])
        assert torch.allclose(together[i], alone[0], atol=1e-5)


def test_emotion_and_face_have_an_effect():
    features, rest, emotion = inputs()
    first = network()(features, rest, emotion)
    assert not torch.allclose(first, network()(features, rest, emotion + 1), atol=1e-4)
    assert not torch.allclose(first, network()(features, rest + 0.3, emotion), atol=1e-4)


def test_a_mixture_of_one_emotion_is_that_emotion():
    features, rest, emotion = inputs()
    mixture = torch.nn.functional.one_hot(emotion, len(EMOTIONS)).float()
    found = network()(features, rest, mixture)
    assert torch.allclose(found, network()(features, rest, emotion), atol=1e-6)


def test_the_curves_have_as_many_parameters_as_what_replaces_them():
    sizes = DualDomainConfig()
    count = {
        kan: sum(p.numel() for p in network(curves=sizes.curves, kan=kan).curves.parameters())
        for kan in (True, False)
    }
    assert count[False] == pytest.approx(count[True], rel=0.02)


def test_contrast_widens_movements_around_the_middle():
    plain, wide = network(), network(contrast=1.5)
    middle = torch.randn(68, 3, generator=torch.Generator().manual_seed(0))
    wide.middle.copy_(middle)
    expected = middle + 1.5 * (plain(*inputs()) - middle)
    assert torch.allclose(wide(*inputs()), expected, atol=1e-5)


@pytest.mark.parametrize("switch", ["kan", "local_domain", "global_domain"])
def test_a_file_says_what_is_switched_off(tmp_path, switch):
    path = saved(tmp_path / "a.safetensors", **{switch: False})
    loaded = checkpoints.load("atl_diff_landmarks", path)
    wanted = network(**{switch: False})(*inputs())
    assert getattr(loaded.config, switch) is False
    assert torch.allclose(loaded(*inputs()), wanted, atol=0.01)


def test_a_file_without_a_configuration_is_refused():
    with pytest.raises(CheckpointError, match="does not say how its network is built"):
        checkpoints.load("atl_diff_landmarks", network().state_dict())


def test_gradients_reach_every_parameter():
    module = network().train().requires_grad_(True)
    module(*inputs()).square().sum().backward()
    assert all(p.grad is not None for p in module.parameters())
