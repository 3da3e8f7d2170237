"""The denoiser computes what the published one does, from the published file, only faster."""

import pytest
import torch
from soliloquy.benchmarks.moditalker_atom_plain import PlainAToM, alive
from soliloquy.models import checkpoints, sampling
from soliloquy.models.checkpoints import CheckpointError
from soliloquy.models.motion.atom import guided

from ...pseudo_weights import given
from .atom_weights import SMALL, golden, network, published, small

ODD = {"width": 48, "frames": 7, "hidden": 40, "depth": 2, "heads": 3, "audio": 10}


def deviation(found, wanted):
    """Largest difference, in standard deviations of what was wanted."""
    return float((found.double() - wanted.double()).abs().max() / wanted.double().std())


def inputs(frames=12, batch=2):
    noisy = given("at_x", (batch, frames, 204))
    landmarks = given("at_l", (batch, 1, 204), 0.5)
    audio = given("at_a", (batch, 2 * frames, 1024), 0.5)
    return noisy, landmarks, audio, torch.tensor([499, 19])[:batch]


def odd_inputs(frames=7, audio=10, batch=2):
    random = torch.Generator().manual_seed(0)
    noisy = torch.randn(batch, frames, 204, generator=random)
    landmarks = torch.randn(batch, frames, 204, generator=random)
    heard = torch.randn(batch, 2 * frames, audio, generator=random)
    return noisy, landmarks, heard, torch.randint(0, 1000, (batch,), generator=random)


def plain(tag, **sizes):
    module = PlainAToM(**sizes).eval().requires_grad_(False)
    module.load_state_dict(alive(published(tag, **sizes)))
    return module


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize(("kind", "dropped"), [("cond", 0.0), ("unc", 1.0)])
def test_small_network_gives_the_golden_numbers(kind, dropped, repeated):
    noisy, landmarks, audio, timestep = inputs()
    if repeated:
        landmarks = landmarks.repeat(1, 12, 1)
    found = small()(noisy, landmarks, audio, timestep, cond_drop_prob=dropped)
    assert deviation(found, golden()[f"atoms_{kind}"]) < 1e-4


def test_landmarks_that_change_from_frame_to_frame_give_the_golden_numbers():
    noisy, _, audio, timestep = inputs()
    found = small()(noisy, given("at_lv", (2, 12, 204), 0.5), audio, timestep)
    assert deviation(found, golden()["atoms_cond_facevar"]) < 1e-4


def test_guidance_gives_the_golden_numbers():
    noisy, landmarks, audio, timestep = inputs()
    found = small().guided_forward(noisy, landmarks, audio, timestep, 2.0)
    assert deviation(found, golden()["atoms_guided"]) < 1e-4
    first = (x[:1] for x in (noisy, landmarks, audio))
    found = small().guided_forward(*first, torch.tensor([999]), 2.0)
    assert deviation(found, golden()["atoms_b1_t999"]) < 1e-4


@pytest.mark.parametrize("tag", ["ATOM", "ATOM2"])
def test_published_size_gives_the_golden_numbers(tag):
    noisy, landmarks, audio, timestep = inputs(156)
    found = network(tag)(noisy, landmarks, audio, timestep)
    assert deviation(found[:, ::3, ::2], golden()[f"{tag.lower()}_cond"]) < 5e-4


def test_published_size_is_guided_to_the_golden_numbers():
    found = network("ATOM").guided_forward(*inputs(156), 2.0)
    assert deviation(found[:, ::3, ::2], golden()["atom_guided"]) < 1e-4


@pytest.mark.parametrize("dropped", [False, True])
def test_any_size_equals_the_plain_implementation(dropped):
    arguments = odd_inputs()
    found = network("odd", **ODD)(*arguments, cond_drop_prob=float(dropped))
    assert deviation(found, plain("odd", **ODD)(*arguments, dropped=dropped)) < 1e-4


def test_steps_with_a_prepared_window_are_the_whole_network():
    noisy, landmarks, audio, _ = inputs(batch=1)
    conditioning = small().guided_condition(landmarks, audio)
    for moment, timestep in zip(
        small().moments(torch.tensor([999, 19]), conditioning), (999, 19), strict=True
    ):
        found = guided(small().step(noisy.repeat(2, 1, 1), moment, conditioning), 2.0)
        whole = small().guided_forward(noisy, landmarks, audio, torch.tensor([timestep]), 2.0)
        assert torch.allclose(found, whole, atol=1e-4)


def test_fifty_steps_pass_the_golden_ones():
    """From the stored start to the 26th step; beyond it these weights amplify rounding."""
    landmarks, audio = given("at_sl", (1, 1, 204), 0.5), given("at_sa", (1, 24, 1024), 0.5)
    module, times = small(), sampling.trailing_timesteps(50)
    assert [*times, -1] == golden()["at_times"].tolist()
    alphas = sampling.alphas_cumprod(sampling.cosine_betas())
    stored = golden()["at_alphas_cumprod"]
    assert torch.allclose(alphas[[0, 19, 39, 499, 979, 999]], stored, rtol=2e-6, atol=0)
    conditioning = module.guided_condition(landmarks, audio)
    moments = module.moments(torch.tensor(times), conditioning)
    seen, noisy = [], given("atoms_n0", (1, 12, 204))
    for k, moment in enumerate(moments):
        seen.append(noisy[0])
        clean = guided(module.step(noisy.repeat(2, 1, 1), moment, conditioning), 2.0).clamp(-1, 1)
        before = float(alphas[times[k + 1]]) if k < 49 else 1.0
        noise = given(f"atoms_n{k + 1}", (1, 12, 204)) if k < 49 else None
        alpha = float(alphas[times[k]])
        noisy = sampling.ddim_step(
            noisy, clean, alpha, before, predicts="sample", eta=1.0, noise=noise
        )
    assert deviation(seen[1], golden()["atoms_steps_x"][0]) < 1e-4
    assert deviation(seen[25], golden()["atoms_steps_x"][1]) < 1e-3
    assert deviation(noisy[0], golden()["atoms_sample"]) < 0.15


def test_inputs_are_left_as_they_are():
    arguments = odd_inputs()
    copies = [value.clone() for value in arguments]
    network("odd", **ODD)(*arguments)
    assert all(torch.equal(a, b) for a, b in zip(arguments, copies, strict=True))


def test_gradients_reach_every_parameter_that_is_trained():
    module = checkpoints.load("moditalker/atom", published("odd", **ODD)).requires_grad_(True)
    noisy, landmarks, audio, timestep = odd_inputs()
    (module(noisy, landmarks, audio, timestep).square().sum()).backward()
    module(noisy, landmarks, audio, timestep, cond_drop_prob=1.0).square().sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.parametrize("wrapper", ["model_state_dict", "ema_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_training_checkpoints_are_unwrapped(tmp_path, wrapper, prefix):
    state = {prefix + key: value for key, value in published("odd", **ODD).items()}
    path = tmp_path / "atom.pt"
    torch.save({wrapper: state, "optimizer_state_dict": {"lr": 4e-4}}, path)
    found = checkpoints.load("moditalker/atom", path)(*odd_inputs())
    assert torch.equal(found, network("odd", **ODD)(*odd_inputs()))


def test_the_weights_that_upstream_samples_with_come_first(tmp_path):
    state, other = published("odd", **ODD), published("average", **ODD)
    path = tmp_path / "atom.pt"
    torch.save({"ema_state_dict": other, "model_state_dict": state}, path)
    found = checkpoints.load("moditalker/atom", path)(*odd_inputs())
    assert torch.equal(found, network("odd", **ODD)(*odd_inputs()))


def test_weights_that_are_never_applied_may_be_there():
    dead = {
        "face_mlp.0.weight": torch.randn(192, 96),
        "input_projection.bias": torch.randn(48),
        "pos_encoder.1.self_attn.in_proj_weight": torch.randn(144, 48),
        "pos_encoder.0.rotary.freqs": torch.randn(24),
        "pos_projection.weight": torch.randn(48, 198),
        "non_attn_pos_projection.3.bias": torch.randn(48),
        "seqTransDecoder.stack.1.linear2.weight": torch.randn(48, 40),
        "rotary.freqs": torch.randn(24),
    }
    full = checkpoints.load("moditalker/atom", {**published("odd", **ODD), **dead})
    assert torch.equal(full(*odd_inputs()), network("odd", **ODD)(*odd_inputs()))


def test_a_missing_or_a_strange_key_is_named():
    state = published("odd", **ODD)
    del state["seqTransDecoder.stack.1.linear3.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing: layers\.1\.out\.bias"):
        checkpoints.load("moditalker/atom", state)
    state = {**published("odd", **ODD), "strange.weight": torch.zeros(2)}
    with pytest.raises(CheckpointError, match=r"1 unexpected: strange\.weight"):
        checkpoints.load("moditalker/atom", state)


def test_heads_follow_the_width_where_the_file_does_not_say():
    assert small().config.heads == SMALL["heads"]
    assert network("odd", **ODD).config.heads == 3


def test_the_benchmark_compares_equal_outputs():
    from soliloquy.benchmarks import moditalker_atom

    report = moditalker_atom.run(steps=2, repeats=1, **ODD | {"audio": 1024, "depth": 1})
    assert report["difference"] < 1e-3
    assert report["plain_ms"] > 0
