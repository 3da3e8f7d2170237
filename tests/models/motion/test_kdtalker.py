"""The denoiser computes what the published one does, from the published file, only faster."""

import pickle

import pytest
import torch
from safetensors.torch import save_file
from soliloquy.benchmarks.kdtalker_plain import PlainKDTalker, strip
from soliloquy.models import checkpoints
from soliloquy.models.checkpoints import CheckpointError
from soliloquy.models.motion.kdtalker import distance_buckets, rotary_frequencies, rotations

from ...pseudo_weights import given, relative_error
from .kdtalker_weights import PREFIX, golden, network, published

SIZES = {"channels": 11, "audio": 9, "width": 26, "depth": 3}


def inputs(batch=2, tokens=9, channels=11, audio=9, seed=0):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, tokens, channels, generator=random)
    context = torch.randn(batch, tokens, audio, generator=random)
    return x, torch.randint(0, 1000, (batch,), generator=random), context


def plain(tag, **sizes):
    module = PlainKDTalker(**sizes).eval().requires_grad_(False)
    module.load_state_dict(strip(published(tag, **sizes)))
    return module


def test_noise_is_the_golden_noise():
    x, context = given("kd_x", (2, 66, 70)), given("kd_ctx", (2, 66, 512)).clamp(min=0)
    found = network()(x, torch.tensor([980, 40]), context)
    assert relative_error(found, golden("kdtalker")["denoiser_eps"]) < 1e-5


@pytest.mark.parametrize("tag", ["KD", "another"])
def test_noise_equals_the_plain_implementations(tag):
    x, timestep, context = inputs(batch=1, tokens=66, channels=70, audio=512)
    assert relative_error(network(tag)(x, timestep, context), plain(tag)(x, timestep, context)) < (
        1e-5
    )


@pytest.mark.parametrize("tokens", [3, 66, 140])
def test_any_size_and_any_number_of_frames_works(tokens):
    arguments = inputs(tokens=tokens)
    found = network("odd", **SIZES)(*arguments)
    assert relative_error(found, plain("odd", **SIZES)(*arguments)) < 1e-5


def test_a_step_with_prepared_speech_and_time_is_the_whole_network():
    module = network("odd", **SIZES)
    x, _, context = inputs(batch=1)
    conditioning, table = module.condition(context), module.time_table(torch.tensor([980, 40, 0]))
    for row, timestep in zip(table, (980, 40, 0), strict=True):
        step = module.step(x, row[None], conditioning)
        assert torch.allclose(step, module(x, torch.tensor([timestep]), context), atol=1e-5)


def test_inputs_are_left_as_they_are():
    arguments = inputs()
    copies = [value.clone() for value in arguments]
    network("odd", **SIZES)(*arguments)
    assert all(torch.equal(a, b) for a, b in zip(arguments, copies, strict=True))


def test_gradients_reach_every_parameter_that_is_trained():
    module = checkpoints.load("kdtalker", published("odd", **SIZES))
    module.requires_grad_(True)
    module(*inputs()).square().sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_dead_parameters_and_constants_may_be_there_or_not():
    dead = {
        f"{PREFIX}positional_encoding.freq_bands": torch.randn(10),
        **{
            f"{PREFIX}layers.{i}.2.fn.fn.rotary_emb.freqs": rotary_frequencies(12) for i in range(3)
        },
    }
    state = published("odd", **SIZES)
    arguments = inputs()
    expected = network("odd", **SIZES)(*arguments)
    full = checkpoints.load("kdtalker", {**state, **dead})
    assert torch.equal(full(*arguments), expected)
    state = {key: value for key, value in state.items() if ".block2.norm." not in key}
    assert torch.equal(checkpoints.load("kdtalker", state)(*arguments), expected)


@pytest.mark.parametrize("wrapper", ["model", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_training_checkpoints_are_unwrapped(tmp_path, wrapper, prefix):
    state = {prefix + key: value for key, value in published("odd", **SIZES).items()}
    path = tmp_path / "KDTalker.pth"
    torch.save({wrapper: state, "step": 500000, "optimizer": {"lr": 1e-4}}, path)
    found = checkpoints.load("kdtalker", path)(*inputs())
    assert torch.equal(found, network("odd", **SIZES)(*inputs()))


def test_keys_without_the_prefix_load_too():
    state = {key.removeprefix(PREFIX): v for key, v in published("odd", **SIZES).items()}
    assert torch.equal(
        checkpoints.load("kdtalker", state)(*inputs()), network("odd", **SIZES)(*inputs())
    )


@pytest.mark.parametrize(
    "key", ["time_mlp.3.bias", "layers.1.1.block1.norm.gamma", "layers.2.2.fn.fn.to_qkv.weight"]
)
def test_a_missing_or_a_strange_key_is_named(key):
    state = published("odd", **SIZES)
    del state[PREFIX + key]
    with pytest.raises(CheckpointError, match="1 missing"):
        checkpoints.load("kdtalker", state)
    state = {**published("odd", **SIZES), f"{PREFIX}strange.weight": torch.zeros(2)}
    with pytest.raises(CheckpointError, match=r"1 unexpected: strange\.weight"):
        checkpoints.load("kdtalker", state)


def test_another_networks_file_is_refused_by_name():
    other = {f"module.audio_encoder.{i}.conv_block.0.weight": torch.zeros(1) for i in (0, 12)}
    other["module.audio_encoder.0.conv_block.1.running_var"] = torch.ones(1)
    with pytest.raises(CheckpointError, match=r"not a KDTalker file.*seems to be Wav2Lip"):
        checkpoints.load("kdtalker", other)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_truncated_file_is_refused(tmp_path, suffix):
    path = tmp_path / f"KDTalker{suffix}"
    save = save_file if suffix == ".safetensors" else torch.save
    save(published("odd", **SIZES), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoints.load("kdtalker", path)


class Trap:
    """Would write a file if it were unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_pickle_with_code_is_refused_and_nothing_runs(tmp_path):
    trap = tmp_path / "sprung"
    for name, save in (("a.pth", torch.save), ("b.pth", pickle_dump)):
        save({"model": published("odd", **SIZES), "cfg": Trap(trap)}, tmp_path / name)
        with pytest.raises(CheckpointError, match="convert"):
            checkpoints.load("kdtalker", tmp_path / name)
        assert not trap.exists()


def pickle_dump(value, path):
    path.write_bytes(pickle.dumps(value))


def test_distances_share_buckets_as_in_the_reference():
    buckets = distance_buckets(torch.arange(200), 32, 128)
    assert buckets[5, :6].tolist() == [5, 4, 3, 2, 1, 0]  # earlier frames
    assert buckets[0, :9].tolist() == [0, 17, 18, 19, 20, 21, 22, 23, 24]  # later ones
    assert buckets[199, 0] == 15
    assert buckets[16:129:16, 0].tolist() == [10, 12, 13, 14, 14, 15, 15, 15]


def test_rotation_depends_on_the_distance_alone():
    turn = rotations(torch.arange(30)[:, None] * rotary_frequencies(12))
    q, k = torch.randn(2, 1, 12, generator=torch.Generator().manual_seed(0))
    early, late = (q @ turn[3]) @ (k @ turn[8]).T, (q @ turn[20]) @ (k @ turn[25]).T
    assert torch.allclose(early, late, atol=1e-5)
    assert not torch.allclose(early, (q @ turn[3]) @ (k @ turn[9]).T, atol=1e-3)
