from dataclasses import replace

import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.payloads import PayloadError
from soliloquy.models.render.mtov.renderer import MToVSettings, load
from soliloquy.training import mtov
from soliloquy.training.loop import LoopConfig
from soliloquy.training.mtov_data import Windows
from soliloquy.training.recipes import find_recipe

from ..models.render.mtov.moving import NARROW, PORTRAIT, TINY, speaking

SHORT = LoopConfig(steps=3, log_every=1, save_every=3, warmup=1)


def windows(count=3, size=16):
    random = torch.Generator().manual_seed(0)

    def pixels(*shape):
        return torch.randint(0, 256, (count, *shape), generator=random, dtype=torch.uint8)

    video = (16, 3, size, size)
    return Windows(
        frames=pixels(*video),
        masked=pixels(*video),
        drawn=pixels(16, size, size),
        reference=pixels(3, size, size),
        names=["noise"] * count,
    )


@pytest.fixture
def folder(tmp_path):
    """With windows, so that none are drawn."""
    for part in ("train", "test"):
        windows().save(tmp_path / f"{part}_windows.safetensors")
    return tmp_path


def test_three_recipes_make_a_renderer(folder):
    small = mtov.AutoencoderRecipe(network=TINY, loop=SHORT, batch=1)
    logged = []
    small.run(folder, lambda step, parts, network: logged.append(parts["l1"]))
    replace(small, name=mtov.MOTION_AUTOENCODER).run(folder)
    mtov.UNetRecipe(network=NARROW, loop=SHORT, batch=2).run(folder)
    assert len(logged) == 3
    made = load(
        autoencoder=folder / "mtov_autoencoder.safetensors",
        motion_autoencoder=folder / "mtov_motion_autoencoder.safetensors",
        unet=folder / "mtov_unet.safetensors",
        settings=MToVSettings(steps=4),
    )
    assert torch.cat(list(made.render(PORTRAIT, speaking(5)))).shape == (5, 160, 128, 3)


def test_the_decoder_of_a_start_stays_as_it_is(folder):
    recipe = mtov.AutoencoderRecipe(network=TINY, loop=SHORT, batch=1)
    recipe.run(folder)
    first = folder / "mtov_autoencoder.safetensors"
    replace(recipe, name=mtov.MOTION_AUTOENCODER, start=first).run(folder)
    before, _ = checkpoints.read(first)
    after, _ = checkpoints.read(folder / "mtov_motion_autoencoder.safetensors")
    same = {key for key in before if torch.equal(before[key], after[key])}
    assert same == {key for key in before if key.startswith("decoder.")}
    with pytest.raises(PayloadError, match="is to be trained"):
        mtov.begun(replace(TINY, depth=2), first)


def test_the_recipes_have_names():
    names = {name: find_recipe(name) for name in ("mtov_autoencoder", "mtov_motion_autoencoder")}
    assert all(recipe.name == name for name, recipe in names.items())
    assert isinstance(find_recipe("mtov_unet"), mtov.UNetRecipe)


def test_a_network_learns_the_noise_of_one_window():
    latents = {kind: torch.randn(1, 4, 68) for kind in ("frames", "masked", "drawn", "reference")}
    recipe = mtov.UNetRecipe(network=NARROW, batch=4)
    batch = mtov.unet_batches(latents, recipe)
    network, loss = mtov.TriplaneUNet(NARROW), mtov.unet_loss(1000)
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for number in range(60):
        value, parts = loss(network, batch(number))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        losses.append(parts["noise"])
    assert sum(losses[-10:]) < 0.7 * sum(losses[:5]) * 2


def test_batches_depend_on_their_number_alone():
    recipe = mtov.AutoencoderRecipe(network=TINY, batch=3)
    batch, other = (mtov.autoencoder_batches(windows(), recipe) for _ in range(2))
    assert torch.equal(batch(7), other(7))
    assert not torch.equal(batch(7), batch(8))
    assert batch(7).shape == (3, 3, 16, 16, 16)
    assert batch(7).abs().max() <= 1


def test_drawn_landmarks_are_white_in_all_colours():
    recipe = mtov.AutoencoderRecipe(name=mtov.MOTION_AUTOENCODER, network=TINY, batch=1)
    video = mtov.autoencoder_batches(windows(), recipe)(0)[0]
    assert torch.equal(video[0], video[2])


def test_lpips_joins_the_loss_or_says_what_it_lacks(monkeypatch):
    loss = mtov.autoencoder_loss(lambda one, other: (one - other).square().mean((1, 2, 3)), 2.0)
    _, parts = loss(lambda video: torch.zeros_like(video), torch.ones(1, 3, 16, 4, 4))
    assert parts == {"l1": 1.0, "lpips": 1.0}
    monkeypatch.setitem(__import__("sys").modules, "lpips", None)
    with pytest.raises(PayloadError, match="LPIPS needs the Python package"):
        mtov.AutoencoderRecipe(network=TINY, perceptual=1.0).run(None)


def test_timesteps_that_were_not_trained_are_refused():
    with pytest.raises(PayloadError, match="1 to 1000"):
        mtov.unet_loss(0)
