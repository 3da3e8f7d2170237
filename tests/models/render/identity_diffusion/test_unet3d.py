"""The network is diffusers' UNet3DConditionModel in every candidate configuration, only faster."""

import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.checkpoints import CheckpointError
from soliloquy.models.payloads import PayloadError
from soliloquy.models.render.identity_diffusion.unet3d import config_from

from ....helpers import shared
from ....pseudo_weights import shapes
from .unet3d_weights import SMALL, both, candidates, given, golden, published

ODD = {
    **SMALL,
    "layers_per_block": 2,
    "in_channels": 5,
    "out_channels": 2,
    "act_fn": "gelu",
    "norm_eps": 1e-3,
    "mid_block_scale_factor": 1.7,
    "block_out_channels": [8, 16, 24],
    "down_block_types": ["DownBlock3D", "CrossAttnDownBlock3D", "DownBlock3D"],
    "up_block_types": ["CrossAttnUpBlock3D", "UpBlock3D", "CrossAttnUpBlock3D"],
}


def inputs(config, size=(4, 8, 6), batch=2):
    random = torch.Generator().manual_seed(0)
    x = torch.randn(batch, config["in_channels"], *size, generator=random)
    context = torch.randn(batch, 7, config["cross_attention_dim"], generator=random)
    return x, torch.tensor([900, 20])[:batch], context


def error(found, wanted):
    return float((found - wanted).abs().max() / wanted.std())


@pytest.mark.parametrize("tag", ["A1", "A2", "A3", "A4"])
def test_candidates_give_the_golden_numbers(tag):
    config = candidates()[tag]
    network = checkpoints.load("atl_diff/unet3d", published(config, tag), config=config)
    x = given("u3_x", (2, 3, 6, 16, 12))
    context = given("u3_ctx", (2, 64, config["cross_attention_dim"]))
    found = network(x, torch.tensor([500, 20]), context)
    assert error(found[..., ::2, ::2], golden()[f"{tag}_out"]) < 5e-5
    alone = network(x[:1], torch.tensor(500), context[:1])
    assert error(alone[..., 1::2, 1::2], golden()[f"{tag}_out_t500_b1"]) < 5e-5


@pytest.mark.parametrize(
    ("tag", "blocks"),
    [("A1", "A1_xattn_xattn_down"), ("A2", "A2_down_xattn_xattn"), ("A3", "A3_down_down_down")],
)
def test_listed_keys_load_and_tell_the_sizes(tag, blocks):
    listed = shapes(shared(f"design/keys/keys_atldiff_unet_candidate_{blocks}.txt"))
    state = {key: torch.zeros(shape) for key, shape in listed.items()}
    network = checkpoints.load("atl_diff/unet3d", state)
    assert network.config == config_from(candidates()[tag])
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in state.values())


@pytest.mark.parametrize("config", [SMALL, ODD], ids=["small", "odd"])
@pytest.mark.parametrize("size", [(4, 8, 6), (3, 7, 5), (1, 4, 4)])
def test_any_configuration_and_size_equals_the_plain_implementation(config, size):
    ours, plain = both(config)
    assert error(ours(*inputs(config, size)), plain(*inputs(config, size))) < 5e-5


def test_a_context_prepared_once_serves_every_step():
    ours, plain = both(SMALL)
    x, _, context = inputs(SMALL, batch=1)
    prepared = ours.condition(context)
    for timestep in (875, 250, 0):
        found = ours.denoise(x, timestep, prepared)
        assert error(found, plain(x, timestep, context)) < 5e-5


def test_class_labels_change_nothing_as_published():
    ours, _ = both(SMALL)
    x, timestep, context = inputs(SMALL)
    found = ours(x, timestep, context, class_labels=torch.tensor([1, 5]))
    assert torch.equal(found, ours(x, timestep, context))


def test_inputs_are_left_as_they_are():
    ours, _ = both(SMALL)
    arguments = inputs(SMALL)
    copies = [value.clone() for value in arguments]
    ours(*arguments)
    assert all(torch.equal(a, b) for a, b in zip(arguments, copies, strict=True))


def test_gradients_reach_every_parameter():
    ours, _ = both(SMALL)
    ours.requires_grad_(True)
    ours(*inputs(SMALL)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in ours.parameters())


@pytest.mark.parametrize(
    "key",
    [
        "up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight",
        "mid_block.temp_attentions.0.transformer_blocks.0.attn1.to_q.weight",
        "down_blocks.0.temp_convs.0.conv3.3.weight",
        "conv_in.weight",
    ],
)
def test_a_missing_or_a_strange_key_is_named(key):
    state = published(SMALL)
    del state[key]
    with pytest.raises(CheckpointError, match="missing"):
        checkpoints.load("atl_diff/unet3d", state, config=SMALL)
    state = {**published(SMALL), "strange.weight": torch.zeros(2)}
    with pytest.raises(CheckpointError, match=r"1 unexpected: strange\.weight"):
        checkpoints.load("atl_diff/unet3d", state, config=SMALL)


def test_weights_of_another_configuration_are_refused():
    with pytest.raises(CheckpointError, match="of another shape"):
        checkpoints.load(
            "atl_diff/unet3d", published(SMALL), config={**SMALL, "cross_attention_dim": 12}
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"down_block_types": ["DownBlock3D"]}, "1 down and 2 up"),
        ({"up_block_types": ["UpBlock3D", "UpBlock2D"]}, "'UpBlock2D'"),
        ({"act_fn": "tanh"}, "'tanh'"),
        ({"norm_num_groups": 32}, "32 groups"),
        ({"num_attention_heads": 4}, "num_attention_heads"),
        ({"time_cond_proj_dim": 4}, "time_cond_proj_dim"),
        ({"_class_name": "UNet2DModel"}, "UNet2DModel"),
    ],
)
def test_configurations_that_cannot_be_built_are_explained(change, message):
    with pytest.raises(PayloadError, match=message):
        config_from({**SMALL, **change})


def test_a_context_of_another_width_is_refused():
    ours, _ = both(SMALL)
    x, timestep, context = inputs(SMALL)
    with pytest.raises(PayloadError, match="9 channels; its weights need 10"):
        ours(x, timestep, context[..., :9])
