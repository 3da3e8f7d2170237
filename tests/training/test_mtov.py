from dataclasses import replace

import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.payloads import PayloadError
from soliloquy.models.render.mtov.renderer import BUNDLED, NETWORKS, MToVSettings, load
from soliloquy.training import mtov
from soliloquy.training.loop import LoopConfig
from soliloquy.training.mtov_data import Windows
from soliloquy.training.recipes import find_recipe

from ..models.render.mtov.moving import NARROW, PORTRAIT, POSED, TINY, speaking

SHORT = LoopConfig(steps=3, log_every=1, save_every=3, warmup=1)


def windows(count=3, size=16):
    random = torch.Generator().manual_seed(0)

    def pixels(*shape):
        return torch.randint(0, 256, (count, *shape), generator=random, dtype=torch.uint8)

    video = (16, 3, size, size)
    points = size * torch.rand(count, 16, 68, 2, generator=random)
    return Windows(
        frames=pixels(*video),
        pose=pixels(*video),
        drawn=pixels(16, size, size),
        reference=pixels(3, size, size),
        landmarks=points,
        unspoken=points + 0.5,
        shown=pixels(16, size, size),
        names=["noise"] * count,
    )


@pytest.fixture
def folder(tmp_path):
    """With windows, so that none are drawn."""
    for part in ("train", "test"):
        windows().save(tmp_path / f"{part}_windows.safetensors")
    return tmp_path


@pytest.mark.parametrize(("config", "part"), [(TINY, "l1"), (POSED, "landmarks")])
def test_three_recipes_make_a_renderer(folder, config, part):
    small = mtov.AutoencoderRecipe(network=config, loop=SHORT, batch=1)
    logged = []
    small.run(folder, lambda step, parts, network: logged.append(parts[part]))
    replace(small, network=TINY, name=mtov.MOTION_AUTOENCODER).run(folder)
    unet = replace(NARROW, conditions=2) if config is POSED else NARROW
    mtov.UNetRecipe(network=unet, loop=SHORT, batch=2).run(folder)
    assert len(logged) == 3
    names = BUNDLED if config is POSED else NETWORKS
    files = {name: folder / f"mtov_{name}.safetensors" for name in names}
    made = load(**files, settings=MToVSettings(steps=4))
    assert type(made.autoencoder.config) is type(config)
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
    latents = {kind: torch.randn(1, 4, 68) for kind in ("frames", "reference", "start")}
    latents["given"] = torch.randn(1, 8, 68)
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
    video = batch(7)["video"]
    assert torch.equal(video, other(7)["video"])
    assert not torch.equal(video, batch(8)["video"])
    assert video.shape == (3, 3, 16, 16, 16)
    assert video.abs().max() <= 1


def test_a_mirrored_window_is_mirrored_in_all_it_has():
    points = torch.tensor([[[2.0, 5.0], [13.0, 1.0]]])
    assert mtov._mirrored(points, 16).tolist() == [[[13.0, 5.0], [2.0, 1.0]]]
    picture = torch.rand(3, 16, 16, 16)
    assert torch.equal(mtov._mirrored(picture, 16), picture.flip(-1))


def test_a_window_in_which_nothing_is_said_is_its_own_pose():
    recipe = mtov.AutoencoderRecipe(network=POSED, batch=40)
    batch = mtov.autoencoder_batches(windows(), recipe)(0)
    same = [
        torch.equal(video, pose) for video, pose in zip(batch["video"], batch["pose"], strict=True)
    ]
    still = (batch["landmarks"] == batch["unspoken"]).flatten(1).all(1)
    assert still.tolist() == same
    assert 0 < sum(same) < 20
    assert 0.9 < batch["noise"].std() / recipe.latent_noise < 1.1


def test_our_encoder_sees_only_the_landmarks_of_some_windows():
    recipe = mtov.AutoencoderRecipe(network=POSED, batch=16)
    batch = mtov.autoencoder_batches(windows(), recipe)(0)
    pairs = zip(batch["seen"], batch["pose"], strict=True)
    assert 2 < sum(torch.equal(seen, pose) for seen, pose in pairs) < 14
    assert not torch.equal(batch["seen"], batch["video"])


def test_sampling_from_its_start_comes_to_the_frames():
    """A network that is right in training is right on the whole way of sampling."""
    latents = {kind: torch.rand(1, 4, 68) for kind in ("frames", "given", "reference", "start")}
    alphas = mtov.diffusion.schedule().alphas

    def knows(noisy, condition, reference, timesteps):
        alpha = alphas[timesteps].view(-1, 1, 1)
        return (noisy - alpha.sqrt() * latents["frames"]) / (1 - alpha).sqrt()

    seen = []
    batch = mtov.unet_batches(latents, mtov.UNetRecipe(network=NARROW, batch=8, started=1.0))(0)
    batch["noise"] = batch["noise"][:1].expand(8, -1, -1)
    batch["timesteps"] = torch.arange(240, 0, -30)

    def keeps(noisy, *rest):
        seen.append(noisy)
        return knows(noisy, *rest)

    assert mtov.unet_loss(1000)(keeps, batch)[0] < 1e-6
    start = mtov.diffusion.noised_start(latents["start"], batch["noise"][:1])
    path = []

    def denoise(x, t):
        path.append(x)
        return knows(x, None, None, torch.tensor([t]))

    times = [250, *batch["timesteps"].tolist()]
    assert torch.allclose(
        mtov.diffusion.sample(denoise, start, times), latents["frames"], atol=1e-4
    )
    assert torch.allclose(torch.cat(path[1:]), seen[0], atol=1e-4)


def test_drawn_landmarks_are_white_in_all_colours():
    recipe = mtov.AutoencoderRecipe(name=mtov.MOTION_AUTOENCODER, network=TINY, batch=1)
    video = mtov.autoencoder_batches(windows(), recipe)(0)["video"][0]
    assert torch.equal(video[0], video[2])


def test_lpips_says_what_it_lacks(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lpips", None)
    with pytest.raises(PayloadError, match="LPIPS needs the Python package"):
        mtov.AutoencoderRecipe(network=TINY, perceptual=1.0).run(None)


def test_timesteps_that_were_not_trained_are_refused():
    with pytest.raises(PayloadError, match="1 to 1000"):
        mtov.unet_loss(0)
