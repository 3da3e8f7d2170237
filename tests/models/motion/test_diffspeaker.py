"""DiffSpeaker computes what the published one does, and steps as its program and as others do."""

import re
from functools import cache

import numpy as np
import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.checkpoints import CheckpointError
from soliloquy.models.motion.diffspeaker import (
    frames_of,
    period_of,
    sample,
    schedule,
    smoothed,
    stretch,
)
from soliloquy.models.sampling import ddim_step, ddim_step_0_11

from ...helpers import shared
from ...pseudo_weights import given, stream, weight

SIZES = {"vertices": 56, "width": 64, "inner": 128, "layers": 1, "period": 30, "speakers": 8}
VOCASET = {"vertices": 15069, "width": 512, "inner": 1024, "layers": 1, "period": 30, "speakers": 8}
BIWI = {"vertices": 70110, "width": 1024, "inner": 2048, "layers": 1, "period": 25, "speakers": 6}


@cache
def golden(key):
    with np.load(shared("golden/moditalker_atldiff/diffspeaker.npz")) as stored:
        return torch.from_numpy(np.asarray(stored[key]))


def shapes(vertices, width, inner, layers, speakers, audio=768, **_):
    """Key → shape of the published file."""
    styles = width * layers
    linear = {
        "audio_feature_map": (width, audio),
        "vertice_map": (width, vertices),
        "motion_decoder": (vertices, width),
        "time_embedding.linear_1": (styles, audio),
        "time_embedding.linear_2": (styles, styles),
    }
    norms = []
    for i in range(layers):
        stem = f"transformer_decoder.layers.{i}."
        for attention in ("self_attn", "multihead_attn"):
            linear[f"{stem}{attention}.in_proj_"] = (3 * width, width)
            linear[f"{stem}{attention}.out_proj"] = (width, width)
        linear |= {f"{stem}linear1": (inner, width), f"{stem}linear2": (width, inner)}
        norms += [f"{stem}norm{k}" for k in (1, 2, 3)]
    found = {"obj_vector.weight": (speakers, styles)}
    for name, shape in linear.items():
        dot = "" if name.endswith("_") else "."
        found |= {f"{name}{dot}weight": shape, f"{name}{dot}bias": shape[:1]}
    for name in norms:
        found |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    return found


def table(width, period, rows=5000):
    """The positions as the published program tiles them."""
    position = torch.arange(period, dtype=torch.float64)[:, None]
    rates = torch.exp(torch.arange(0, width, 2) * (-np.log(10000.0) / width))
    one = torch.stack([torch.sin(position * rates), torch.cos(position * rates)], -1).flatten(1)
    return one.repeat(rows // period + 1, 1)[None].float()


def published(tag="DS", **changes):
    """A state dict as upstream's program saves it."""
    sizes = {**SIZES, **changes}
    state = {}
    for key, shape in shapes(**sizes).items():
        value = weight(key, shape, tag)
        if key == "obj_vector.weight":
            value = stream(f"{tag}/{key}").standard_normal(shape).astype(np.float32)
        if key == "motion_decoder.weight" and tag.startswith("DS"):
            value = value * np.float32(0.4)
        state[f"denoiser.{key}"] = torch.from_numpy(value)
    state["denoiser.PPE.pe"] = table(sizes["width"], sizes["period"])
    return state


@cache
def network(tag="DS", **changes):
    return checkpoints.load("diffspeaker", published(tag, **changes))


def inputs():
    x, audio = given("ds_x", (2, 60, 56)), given("ds_audio", (2, 49, 768), 0.3)
    return x, audio, torch.tensor([981, 21]), torch.tensor([3, 5])


def close(found, wanted, tolerance=1e-4):
    assert float((found - wanted).abs().max() / wanted.std()) < tolerance


def test_the_output_is_the_golden_output():
    close(network()(*inputs()), golden("ds_out"))
    close(network("DS2", layers=2)(*inputs()), golden("ds2_out"))


def test_a_shorter_clip_of_a_batch_is_the_golden_one():
    valid = torch.ones(2, 60, dtype=torch.bool)
    valid[1, 45:] = False
    close(network()(*inputs(), valid), golden("ds_out_pad"))


def test_clips_longer_than_the_period_are_the_golden_ones():
    x, audio = given("ds_xl", (1, 140, 56)), given("ds_audiol", (1, 233, 768), 0.3)
    found = network()(x, audio, torch.tensor([501]), torch.tensor([3]))
    close(found[:, ::4], golden("ds_out_T140_sub"))


def test_speech_is_stretched_as_in_the_golden_numbers():
    _, audio, _, _ = inputs()
    close(stretch(audio, 60)[:, :, ::32], golden("ds_audio_resized_sub"), 2e-6)
    assert golden("ds_resize_len_default")[1] == frames_of(49)
    assert torch.equal(stretch(audio, 49), audio)


def test_the_timestep_is_the_golden_one():
    close(network()._time(torch.tensor([981, 21])), golden("ds_temb"))


def test_the_schedule_is_the_golden_one():
    found = schedule().alphas[[0, 1, 21, 501, 981, 999]]
    assert (found - golden("ds_alphas_cumprod")).abs().max() < 2e-6
    asked = []
    x = torch.zeros(1, 5, 56)
    sample(network(), torch.zeros(1, 5, 768), x, 0, on_step=lambda *step: asked.append(step))
    assert asked[-1] == (50, 50)


def test_the_timesteps_are_the_golden_ones():
    seen = []

    def spy(noisy, audio, timestep, speaker):
        seen.append(int(timestep[0]))
        return noisy

    sample(spy, torch.zeros(1, 5, 768), torch.zeros(1, 5, 56), 0)
    assert seen == golden("ds_timesteps").tolist()


@pytest.mark.parametrize(
    ("name", "step"), [("ds_step_modern", ddim_step), ("ds_step_d0111", ddim_step_0_11)]
)
def test_single_steps_are_the_golden_ones(name, step):
    x, m, known = given("ds_step_x", (3, 4)), given("ds_step_m", (3, 4)), schedule()
    for timestep, wanted in zip((981, 501, 1), golden(name), strict=True):
        before = float(known.alphas[timestep - 20]) if timestep > 20 else known.end
        found = step(x, m, float(known.alphas[timestep]), before, predicts="sample")
        assert (found - wanted).abs().max() < 1e-5


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("stepper", ["modern", "0.11"])
def test_samples_are_the_golden_ones(stepper, smooth):
    _, audio, _, _ = inputs()
    noise = given("ds_noise", (1, 60, 56))
    found = sample(network(), audio[:1], noise, 3, stepper=stepper, smooth=smooth)
    name = "ds_sample_modern" if stepper == "modern" else "ds_sample_d0111"
    close(found, golden(name + "_smooth" * smooth), 1e-3)


def test_smoothing_leaves_a_line_as_it_is():
    line = torch.arange(6.0)[None, :, None].expand(1, 6, 3)
    assert torch.allclose(smoothed(line), line)


@pytest.mark.parametrize("sizes", [SIZES, {**SIZES, "layers": 3}, {**SIZES, "width": 32}])
@pytest.mark.parametrize("tag", ["DS", "another"])
def test_it_equals_a_plain_implementation(sizes, tag):
    state = {key.removeprefix("denoiser."): v for key, v in published(tag, **sizes).items()}
    close(network(tag, **sizes)(*inputs()), plain(state, *inputs(), **sizes))


def plain(state, x, audio, timestep, speaker, *, width, layers, period, **_):
    """By torch's own attention with a mask per pair of frames."""

    def linear(name, value):
        return torch.nn.functional.linear(value, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(name, value):
        return torch.nn.functional.layer_norm(
            value, (width,), state[f"{name}.weight"], state[f"{name}.bias"]
        )

    def attend(name, query, memory, bias):
        module = torch.nn.MultiheadAttention(width, 4, batch_first=True).eval()
        own = {key.removeprefix(f"{name}."): v for key, v in state.items() if key.startswith(name)}
        module.load_state_dict(own)
        return module(query, memory, memory, attn_mask=bias.repeat(2, 1, 1))[0].detach()

    frames = x.shape[1]
    i, j = torch.arange(frames)[:, None], torch.arange(frames)
    periods = torch.where(j <= i, (i - j) // period, (j - i - 1) // period)
    among = -(0.25 ** torch.arange(1, 5))[:, None, None] * periods
    own = torch.where(i == j, 0.0, -torch.inf).expand(4, -1, -1)
    among, own = (torch.nn.functional.pad(bias, (2, 0)) for bias in (among, own))
    rates = torch.exp(torch.arange(384) * (-np.log(10000.0) / 384))
    angles = timestep[:, None] * rates
    time = linear("time_embedding.linear_1", torch.cat([angles.cos(), angles.sin()], 1))
    time = linear("time_embedding.linear_2", torch.nn.functional.silu(time))
    tokens = torch.stack([state["obj_vector.weight"][speaker], time], 1)
    rows = torch.nn.functional.interpolate(
        audio.transpose(1, 2), frames, mode="linear", align_corners=True
    )
    memory = linear("audio_feature_map", rows.transpose(1, 2))
    h = linear("vertice_map", x) + state["PPE.pe"][:, :frames]
    for layer in range(layers):
        stem = f"transformer_decoder.layers.{layer}."
        token = tokens[..., layer * width : (layer + 1) * width]
        y = norm(f"{stem}norm1", h)
        h = h + attend(f"{stem}self_attn", y, torch.cat([token, y], 1), among)
        y = norm(f"{stem}norm2", h)
        h = h + attend(f"{stem}multihead_attn", y, torch.cat([token, memory], 1), own)
        y = torch.nn.functional.gelu(linear(f"{stem}linear1", norm(f"{stem}norm3", h)))
        h = h + linear(f"{stem}linear2", y)
    return linear("motion_decoder", h)


def test_one_hot_speakers_are_speakers():
    x, audio, timestep, speaker = inputs()
    one_hot = torch.nn.functional.one_hot(speaker, 8)
    assert torch.equal(
        network()(x, audio, timestep, one_hot), network()(x, audio, timestep, speaker)
    )


@pytest.mark.parametrize("sizes", [VOCASET, BIWI])
def test_the_published_sizes_load(sizes):
    keys = {
        f"denoiser.{key}": torch.zeros(1).expand(shape) for key, shape in shapes(**sizes).items()
    }
    found = checkpoints.load("diffspeaker", keys)
    assert found.config.vertices == sizes["vertices"]
    assert (int(found.period), found.config.speakers) == (sizes["period"], sizes["speakers"])


@pytest.mark.parametrize("period", [15, 25, 30])
def test_the_period_is_read_off_the_table_of_positions(period):
    assert period_of(table(64, period)[0]) == period
    assert int(network("DS", period=period).period) == period


def test_a_checkpoint_with_its_audio_encoder_loads(tmp_path):
    state = {**published(), "audio_encoder.masked_spec_embed": torch.zeros(768)}
    path = tmp_path / "diffspeaker.ckpt"
    torch.save({"state_dict": state, "epoch": 8999}, path)
    assert torch.equal(checkpoints.load("diffspeaker", path)(*inputs()), network()(*inputs()))


def test_a_missing_key_and_another_file_are_named():
    state = published()
    del state["denoiser.transformer_decoder.layers.0.norm2.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing: layers\.0\.norm_speech\.bias"):
        checkpoints.load("diffspeaker", state)
    with pytest.raises(CheckpointError, match="not a DiffSpeaker file"):
        checkpoints.load("diffspeaker", {"stem.weight": torch.zeros(1)})


def test_the_listed_keys_are_the_keys_of_these_tests():
    listed = shared("design/keys/keys_diffspeaker.txt").read_text()
    block = listed.split("## denoiser [VOCASET]")[1].split("# trainable")[0]
    keys = dict(re.findall(r"^denoiser\.(\S+)\t\(([\d, ]+)\)", block, re.MULTILINE))
    keys.pop("PPE.pe")
    found = {key: ", ".join(map(str, shape)) for key, shape in shapes(**VOCASET).items()}
    assert found == {key: size.rstrip(", ") for key, size in keys.items()}
