"""Our variant of the autoencoder: it changes frames instead of painting them."""

from dataclasses import asdict

import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.payloads import PayloadError
from soliloquy.models.render.mtov.autoencoder import TriplaneAutoencoder
from soliloquy.models.render.mtov.posed import PosedAutoencoder, changed, moved

from .moving import POSED, TINY, posed_autoencoder


def video(seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, 16, 16, 16, generator=random) * 2 - 1


def test_it_begins_with_the_pose_as_it_is():
    module, pose = PosedAutoencoder(POSED), video(1)
    found = module.decode_from_sample(module.extract(video()), pose)
    assert torch.allclose(found, pose[0].movedim(1, 0), atol=1e-5)


def test_the_latent_decides_what_changes():
    module, pose = posed_autoencoder(), video(1)
    one, other = (module(video(seed), pose)[1] for seed in (0, 2))
    assert one.shape == (16, 5, 16, 16)
    assert not torch.allclose(one, other)
    noise = 0.1 * torch.randn(1, 4, POSED.latent_length)
    assert not torch.allclose(one, module(video(0), pose, None, noise)[1])


def test_where_the_lips_are_parted_something_else_is_drawn():
    module, pose = posed_autoencoder(), video(1)
    latent = module.extract(video(), pose)
    parted = torch.zeros(1, 1, 16, 16, 16)
    shut = module.changes(latent, pose)
    assert torch.equal(shut, module.changes(latent, pose, parted))
    parted[:, :, 3:, 12:, 12:] = 1.0
    differs = (module.changes(latent, pose, parted) - shut).abs().amax(1) > 1e-6
    assert differs[3:, 10:, 10:].any()
    assert not differs[:3].any()
    assert not differs[:, :4, :4].any()


def test_windows_of_a_batch_do_not_see_each_other():
    module = posed_autoencoder()
    both, pose = torch.cat([video(0), video(1)]), torch.cat([video(2), video(3)])
    together, alone = module(both, pose)[1][16:], module(both[1:], pose[1:])[1]
    assert (together - alone).abs().max() < 1e-5 * alone.abs().max()


def test_skin_is_taken_from_where_the_shift_points():
    frames = torch.arange(24.0).view(1, 1, 4, 6).expand(1, 3, 4, 6)
    right = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 4, 6)
    assert torch.allclose(moved(frames, right)[..., :5], frames[..., 1:], atol=1e-4)
    down = right.flip(1)
    assert torch.allclose(moved(frames, down)[..., :3, :], frames[..., 1:, :], atol=1e-4)
    paint = torch.full((1, 3, 4, 6), 2.0)
    found = changed(frames, torch.cat([right, paint], dim=1))
    assert torch.allclose(found[..., :5], frames[..., 1:] + 2, atol=1e-4)


def test_without_a_pose_nothing_is_decoded():
    with pytest.raises(PayloadError, match="but none were given"):
        posed_autoencoder().decode_from_sample(torch.zeros(1, 4, POSED.latent_length))


def test_a_file_says_which_variant_it_holds(tmp_path):
    for config, kind in ((TINY, TriplaneAutoencoder), (POSED, PosedAutoencoder)):
        checkpoints.save(kind(config), tmp_path / "net.safetensors", asdict(config))
        found = checkpoints.load("mtov_autoencoder", tmp_path / "net.safetensors")
        assert type(found) is kind
        assert found.config == config


def test_gradients_reach_every_parameter():
    module = posed_autoencoder().requires_grad_(True)
    module(video(), video(1))[1].square().sum().backward()
    assert not [name for name, value in module.named_parameters() if value.grad is None]
