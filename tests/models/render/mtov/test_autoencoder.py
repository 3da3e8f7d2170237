"""The autoencoder computes what the published one does, from the published file, only faster."""

import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.checkpoints import CheckpointError
from soliloquy.models.payloads import PayloadError
from soliloquy.models.render.mtov.autoencoder import (
    AutoencoderConfig,
    TriplaneAutoencoder,
    split_planes,
)

from ....golden_recipe import error, given, golden, recipe
from .mtov_weights import LONG, SMALL, TINY, network, plain, published, published_shapes


def video(side, batch=1, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 3, 16, side, side, generator=random) * 2 - 1


def test_latents_and_pictures_are_the_golden_ones():
    module, numbers = network("autoencoder", "AES", **SMALL), golden("mtov_ae")
    found = module.extract(torch.from_numpy(recipe().video(n=64)))
    assert error(found[0], numbers["aes_enc"]) < 1e-4
    decoded = module.decode_from_sample(given("aes_z", (1, 4, 320), 0.5).clamp(-1, 1))
    assert error(decoded[::3, :, ::3, ::3], numbers["aes_dec_sub"]) < 1e-4
    again = module.decode_from_sample(found)
    assert error(again[::3, :, ::3, ::3], numbers["aes_rec_sub"]) < 1e-4


@LONG
def test_latents_and_pictures_of_the_published_size_are_golden():
    module, numbers = network("autoencoder", "AE"), golden("mtov_ae")
    found = module.extract(torch.from_numpy(recipe().video(n=256)))
    assert error(found[0], numbers["ae_enc"]) < 1e-4
    decoded = module.decode_from_sample(given("ae_z", (1, 4, 2048), 0.5).clamp(-1, 1))
    assert error(decoded[::3, :, ::7, ::7], numbers["ae_dec_sub"]) < 1e-4


@pytest.mark.parametrize("sizes", [TINY, {**TINY, "side": 3, "patch": 4, "heads": 1}])
def test_any_size_computes_what_the_plain_arrangement_does(sizes):
    given_video = video(sizes["side"] * sizes.get("patch", 8), batch=2)
    fast, slow = network("autoencoder", "odd", **sizes), plain("autoencoder", "odd", **sizes)
    latent = slow.extract(given_video)
    assert error(fast.extract(given_video), latent) < 1e-4
    assert error(fast.decode_from_sample(latent), slow.decode_from_sample(latent)) < 1e-4


def test_windows_of_a_batch_do_not_see_each_other():
    module, both = network("autoencoder", "odd", **TINY), video(16, batch=2)
    assert torch.allclose(module.extract(both)[1:], module.extract(both[1:]), atol=1e-6)


def test_sizes_are_those_of_the_file():
    config = network("autoencoder", "odd", **TINY).config
    assert (config.side, config.channels, config.depth, config.heads) == (2, 32, 2, 2)
    assert (config.resolution, config.latent_length) == (16, 4 + 2 * 16 * 2)
    assert network("autoencoder", "AES", **SMALL).config.latent_length == 320


def test_tables_in_the_file_may_be_there_or_not():
    tables = {
        "coords": torch.zeros(16, 1),
        "encoder.frame_rot_emb.inv_freqs": torch.ones(32),
        "decoder.image_rot_emb.scales": torch.ones(16),
    }
    full = checkpoints.load(
        "moditalker/autoencoder", {**published("autoencoder", "odd", **TINY), **tables}
    )
    expected = network("autoencoder", "odd", **TINY).extract(video(16))
    assert torch.equal(full.extract(video(16)), expected)


def test_the_published_file_fits():
    state = published_shapes("keys_moditalker_mtov_autoencoder")
    assert len(state) == 415
    assert checkpoints.load("moditalker/autoencoder", state).config == AutoencoderConfig()


def test_a_missing_key_is_named():
    state = published("autoencoder", "odd", **TINY)
    del state["decoder.layers.1.2.fn.net.3.weight"]
    with pytest.raises(CheckpointError, match=r"1 missing: decoder\.blocks\.1\.feed\.narrow"):
        checkpoints.load("moditalker/autoencoder", state)


def test_another_size_of_video_is_refused():
    with pytest.raises(PayloadError, match=r"windows of \(3, 16, 16, 16\)"):
        network("autoencoder", "odd", **TINY).extract(video(24))


def test_planes_that_do_not_fill_the_latent_are_refused():
    shapes = AutoencoderConfig(side=2).plane_shapes
    assert [tuple(part.shape) for part in split_planes(torch.zeros(1, 4, 68), shapes)] == [
        *((1, 4, 2, 2), (1, 4, 16, 2)),
        (1, 4, 16, 2),
    ]
    with pytest.raises(PayloadError, match="have 68 places, but the latent has 67"):
        split_planes(torch.zeros(1, 4, 67), shapes)


def test_gradients_reach_every_parameter():
    module = TriplaneAutoencoder(
        AutoencoderConfig(side=2, channels=32, depth=1, decoder_depth=1, pool_depth=2, hidden=16)
    )
    module(video(16)).square().sum().backward()
    unread = [name for name, value in module.named_parameters() if value.grad is None]
    assert not unread
