"""A path hears its speech, its keyframes and the transcript, and can be told to hear none."""

import time
from dataclasses import replace

import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.checkpoints import CheckpointError
from soliloquy.models.motion.ksdiff import KSDiff, PathConfig, PathDenoiser, schedule

SMALL = PathConfig(channels=5, speech=12, text=9, width=16, layers=4)


def denoiser(config=SMALL, seed=0):
    """With a head that says something: a fresh one says nothing."""
    torch.manual_seed(seed)
    module = PathDenoiser(config).eval().requires_grad_(False)
    torch.nn.init.normal_(module.motion_out.weight)
    return module


def clip(config=SMALL, batch=2, frames=40, seed=1):
    random = torch.Generator().manual_seed(seed)
    channels = {"noisy": config.channels, "speech": config.speech, "text": config.text}
    drawn = {
        name: torch.randn(batch, frames, size, generator=random) for name, size in channels.items()
    }
    strength = (torch.rand(batch, frames, generator=random) > 0.9).float()
    return {**drawn, "timestep": torch.randint(0, 1000, (batch,)), "strength": strength}


def differs(a, b):
    return float((a - b).abs().max()) > 1e-5


def test_a_fresh_network_says_nothing():
    assert PathDenoiser(SMALL)(**clip()).abs().max() == 0


@pytest.mark.parametrize("name", ["noisy", "timestep", "speech", "strength", "text"])
def test_every_input_is_heard(name):
    module, given = denoiser(), clip()
    changed = {**given, name: given[name] + 1}
    assert differs(module(**given), module(**changed))


@pytest.mark.parametrize("frames", [1, 3, 100, 140])
@pytest.mark.parametrize("band", [0, 12])
def test_any_number_of_frames_works(frames, band):
    config = replace(SMALL, band=band)
    assert denoiser(config)(**clip(frames=frames)).shape == (2, frames, 5)


def test_nobody_said_where_keyframes_are():
    module, given = denoiser(), clip()
    nobody = module(**{**given, "strength": None})
    unsaid = module(**{**given, "strength": torch.full((2, 40), -1.0)})
    none = module(**{**given, "strength": torch.zeros(2, 40)})
    assert torch.allclose(nobody, unsaid, atol=1e-6)
    assert differs(nobody, none)


def test_a_clip_that_hears_nothing_does_not_depend_on_the_speech():
    module, given = denoiser(), clip()
    other = {**given, "speech": given["speech"] + 1, "text": given["text"] - 1}
    heard = torch.tensor([True, False])
    a, b = module(**given, heard=heard), module(**other, heard=heard)
    assert differs(a[0], b[0])
    assert torch.equal(a[1], b[1])


def test_known_frames_are_marked():
    module, given = denoiser(), clip()
    known = torch.zeros(2, 40, dtype=torch.bool)
    assert not differs(module(**given), module(**given, known=known))
    known[:, :10] = True
    assert differs(module(**given), module(**given, known=known))


def test_clips_of_a_batch_do_not_meet():
    module, given = denoiser(), clip()
    first = {name: value[:1] for name, value in given.items()}
    assert torch.allclose(module(**given)[:1], module(**first), atol=1e-5)


def test_switches_remove_what_they_switch_off():
    plain = replace(SMALL, keyframes=0, transcript=False)
    module, given = denoiser(plain), clip()
    assert not [key for key in module.state_dict() if "keyframes" in key or "text" in key]
    less = {**given, "strength": None, "text": None}
    assert torch.equal(module(**given), module(**less))


def test_one_path_can_hear_two_sequences_of_keyframes():
    config = replace(SMALL, keyframes=2)
    given = {**clip(), "strength": torch.rand(2, 40, 2)}
    module = denoiser(config)
    swapped = {**given, "strength": given["strength"].flip(-1)}
    assert differs(module(**given), module(**swapped))


def test_standardising_and_back_changes_nothing():
    module, coefficients = denoiser(), torch.randn(7, 5)
    module.mean.copy_(torch.arange(5.0))
    module.deviation.copy_(torch.arange(1.0, 6.0))
    assert torch.allclose(module.restore(module.standardise(coefficients)), coefficients, atol=1e-6)
    assert not module.standardise(module.mean).any()


def test_gradients_reach_every_parameter():
    module, given = denoiser(), clip()
    module.requires_grad_(True)
    given["strength"][0, :5] = -1
    options = {"heard": torch.tensor([True, False]), "known": torch.ones(2, 40, dtype=torch.bool)}
    module(**given, **options).square().sum().backward()
    assert not [name for name, value in module.named_parameters() if value.grad is None]


def test_noise_at_the_noisiest_step_hides_everything():
    known = schedule()
    assert known.predicts == "sample"
    assert known.alphas[-1] < 1e-6


def test_a_saved_network_comes_back(tmp_path):
    torch.manual_seed(0)
    network = KSDiff({"expression": SMALL, "pose": replace(SMALL, channels=7, band=4)})
    torch.nn.init.normal_(network.path("pose").motion_out.weight)
    file = tmp_path / "ksdiff.safetensors"
    checkpoints.save(network, file, network.config())
    loaded = checkpoints.load("ksdiff_motion", file)
    assert loaded.configs == network.configs
    given = clip(network.configs["pose"])
    assert torch.allclose(loaded.path("pose")(**given), network.path("pose")(**given), atol=2e-2)


def test_a_saved_network_of_one_path_comes_back(tmp_path):
    network = KSDiff({"both": replace(SMALL, channels=59, keyframes=2)})
    file = tmp_path / "ksdiff.safetensors"
    checkpoints.save(network, file, network.config())
    assert checkpoints.load("ksdiff_motion/both", file).configs == network.configs


def test_a_file_that_does_not_describe_its_paths_is_refused(tmp_path):
    network = KSDiff({"expression": SMALL, "pose": SMALL})
    file = tmp_path / "ksdiff.safetensors"
    checkpoints.save(network, file, {})
    with pytest.raises(CheckpointError, match="metadata describes"):
        checkpoints.load("ksdiff_motion", file)


def test_a_step_of_training_is_fast():
    config = PathConfig()
    module, given = PathDenoiser(config), clip(config, batch=16, frames=100)
    best = 10.0
    for _ in range(4):
        begun = time.perf_counter()
        module(**given).square().sum().backward()
        best = min(best, time.perf_counter() - begun)
    assert best < 1.0  # 0.15 s on one core of 2020; the margin is for busy machines
