"""The U-Net computes what the published one does, from the published file, only faster."""

import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.checkpoints import CheckpointError
from soliloquy.models.payloads import PayloadError
from soliloquy.models.render.mtov import diffusion
from soliloquy.models.render.mtov.unet import plane_side

from ....golden_recipe import error, given, golden
from .mtov_weights import LONG, NARROW, network, plain, published, published_shapes

GOLDEN = {"width": 32}


def golden_inputs(batch=2):
    x = given("un_x", (2, 4, 2048))
    cond = given("un_c", (2, 8, 2048), 0.5).clamp(-1, 1)
    identity = given("un_ic", (2, 4, 1024), 0.5).clamp(-1, 1)
    return x[:batch], cond[:batch], identity[:batch]


def inputs(side=4, batch=2):
    random = torch.Generator().manual_seed(1)
    length = side * (side + 32)
    x, cond, identity = (
        torch.randn(batch, c, n, generator=random)
        for c, n in ((4, length), (8, length), (4, side * side))
    )
    return x, cond, identity, torch.randint(0, 1000, (batch,), generator=random)


def sampled(tag, monkeypatch, steps, **sizes):
    """Samples of the golden noise, and what the network saw in each call."""
    module, (_, cond, identity) = network("unet", tag, **sizes), golden_inputs(1)
    condition, seen = module.condition(cond, identity), []

    def denoise(x, t):
        seen.append(x)
        return module.step(x, condition, module.modulations(torch.tensor([t])))

    numbers = iter(range(1, 100))
    monkeypatch.setattr(
        "soliloquy.models.sampling.seeded_noise",
        lambda shape, generator: given(f"un_n{next(numbers)}", tuple(shape)),
    )
    return lambda start: (diffusion.sample(denoise, start, steps, torch.Generator()), seen)


def golden_start():
    clean = given("un_zref", (1, 4, 2048), 0.5).clamp(-1, 1)
    return diffusion.noised_start(clean, given("un_n0", (1, 4, 2048)))


def test_noise_is_the_golden_noise():
    x, cond, identity = golden_inputs()
    found = network("unet", "UNETS", **GOLDEN)(x, cond, identity, torch.tensor([249, 939]))
    assert error(found, golden("mtov_unet")["unets_eps"]) < 1e-4


def test_the_first_sampling_step_is_the_golden_one(monkeypatch):
    sample = sampled("UNETS", monkeypatch, diffusion.timesteps(100, 0.25)[:2], **GOLDEN)
    start, numbers = golden_start(), golden("mtov_unet")
    _, seen = sample(start)
    assert torch.allclose(seen[0][0, :, ::7], numbers["unets_ns25_xstart"], atol=1e-6)
    assert error(seen[1][0, :, ::7], numbers["unets_ns25_x_step1"]) < 1e-4


@LONG
def test_sampling_from_a_noised_start_is_golden(monkeypatch):
    sample = sampled("UNETS", monkeypatch, diffusion.timesteps(100, 0.25), **GOLDEN)
    assert error(sample(golden_start())[0][0], golden("mtov_unet")["unets_ns25"]) < 1e-3


@LONG
def test_sampling_from_noise_is_golden(monkeypatch):
    sample = sampled("UNETS", monkeypatch, diffusion.timesteps(10), **GOLDEN)
    found, _ = sample(given("un_n0", (1, 4, 2048)))
    assert error(found[0], golden("mtov_unet")["unets_full10"]) < 1e-3


@LONG
def test_noise_of_the_published_size_is_golden(monkeypatch):
    x, cond, identity = golden_inputs()
    found = network("unet", "UNET")(x, cond, identity, torch.tensor([249, 939]))
    assert error(found[..., ::3], golden("mtov_unet")["unet_eps"]) < 1e-4
    sample = sampled("UNET", monkeypatch, diffusion.timesteps(100, 0.25))
    assert error(sample(golden_start())[0][0, :, ::3], golden("mtov_unet")["unet_ns25"]) < 1e-3


@pytest.mark.parametrize(
    "sizes", [NARROW, {"width": 64, "multipliers": (1, 1, 2), "attended": (False, True, True)}]
)
def test_any_size_computes_what_the_plain_arrangement_does(sizes):
    arguments = inputs()
    fast, slow = network("unet", "odd", **sizes), plain("unet", "odd", **sizes)
    assert error(fast(*arguments), slow(*arguments)) < 1e-4


def test_a_step_with_prepared_conditions_is_the_whole_network():
    module, (x, cond, identity, t) = network("unet", "odd", **NARROW), inputs(batch=1)
    step = module.step(x, module.condition(cond, identity), module.modulations(t))
    assert torch.equal(step, module(x, cond, identity, t))


def test_only_the_identitys_still_plane_is_seen():
    module, (x, cond, identity, t) = network("unet", "odd", **NARROW), inputs()
    longer = torch.cat([identity, torch.ones(2, 4, 128)], dim=-1)
    assert torch.equal(module(x, cond, longer, t), module(x, cond, identity, t))


def test_dead_branches_of_the_file_are_dropped():
    state = published("unet", "odd", **NARROW)
    dead = {
        key.replace("output_", "output_bg_"): value
        for key, value in state.items()
        if "output_" in key
    }
    assert len(dead) > 50
    full = checkpoints.load(
        "moditalker/unet",
        {**state, **dead, "diffusion_model.zeros": state["diffusion_model.out.2.bias"]},
    )
    assert torch.equal(full(*inputs()), network("unet", "odd", **NARROW)(*inputs()))


@pytest.mark.parametrize("prefix", ["", "module.", "module.diffusion_model."])
def test_keys_load_with_and_without_their_prefixes(prefix):
    state = {
        prefix + key.removeprefix("diffusion_model."): value
        for key, value in published("unet", "odd", **NARROW).items()
    }
    found = checkpoints.load("moditalker/unet", state)
    assert torch.equal(found(*inputs()), network("unet", "odd", **NARROW)(*inputs()))


def test_sizes_are_those_of_the_file():
    for sizes in (GOLDEN, NARROW):
        config = network("unet", "UNETS" if sizes is GOLDEN else "odd", **sizes).config
        assert config.width == sizes["width"]
        assert config.multipliers == sizes.get("multipliers", (1, 2, 4, 4))
        assert config.attended == sizes.get("attended", (True, True, True, False))


@pytest.mark.parametrize(("kind", "width"), [("base", 128), ("longvid", 256)])
def test_the_published_files_are_told_apart_by_their_sizes(kind, width):
    state = published_shapes(f"keys_moditalker_mtov_unet_{kind}")
    module = checkpoints.load("moditalker/unet", state)
    assert module.config.width == width
    if kind == "base":
        assert sum(part.numel() for part in module.parameters()) == 132_172_804


def test_a_missing_key_is_named():
    state = published("unet", "odd", **NARROW)
    del state["diffusion_model.output_attns.2.proj_out.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing: up\.2\.across\.out\.bias"):
        checkpoints.load("moditalker/unet", state)


def test_latents_that_are_not_three_planes_are_refused():
    assert plane_side(2048) == 32
    assert plane_side(320) == 8
    with pytest.raises(PayloadError, match="2047 places is not three planes"):
        plane_side(2047)
    x, cond, identity, t = inputs()
    with pytest.raises(PayloadError, match="12 channels, but 8 were given"):
        network("unet", "odd", **NARROW)(x, cond[:, :4], identity, t)


def test_gradients_reach_every_parameter():
    module = checkpoints.load("moditalker/unet", published("unet", "odd", **NARROW))
    module.requires_grad_(True)
    module(*inputs()).square().sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
