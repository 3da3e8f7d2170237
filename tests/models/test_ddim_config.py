"""DDIM follows its configuration file to the golden numbers."""

import json
import zlib

import numpy as np
import pytest
import torch
from soliloquy.models import ddim_config
from soliloquy.models.ddim_config import DDIMConfig, config_from
from soliloquy.models.payloads import PayloadError

from ..helpers import shared

FOLDER = "golden/moditalker_atldiff"
NAMES = (
    "default_eps",
    "sample_noclip",
    "sample_clip",
    "v_zsnr_trailing",
    "scaled_linear_off1",
    "cos_linspace",
    "clip_range2_sample",
)


def given(name, scale):
    random = np.random.RandomState(zlib.crc32(f"input:{name}".encode()) & 0xFFFFFFFF)
    return torch.from_numpy((random.standard_normal((2, 5)) * scale).astype(np.float32))


@pytest.mark.parametrize("name", NAMES)
def test_configurations_give_the_golden_walk(name):
    config = config_from(json.loads(shared(f"{FOLDER}/ddim_configs.json").read_text())[name])
    with np.load(shared(f"{FOLDER}/atldiff_unet3d.npz")) as stored:
        times, walk = stored[f"ddim_{name}_t"], torch.from_numpy(stored[f"ddim_{name}_x"])
    seen = []

    def denoise(noisy, timestep):
        seen.append((timestep, noisy))
        return given(f"ddim_m{len(seen) - 1}", 1.2)

    last = ddim_config.sample(denoise, given("ddim_x0", 1.5), config, steps=8)
    assert [timestep for timestep, _ in seen] == times.tolist()
    assert torch.allclose(torch.stack([*(x for _, x in seen), last]), walk, atol=1e-5)


@pytest.mark.parametrize(
    ("spacing", "steps", "wanted"),
    [
        ("leading", 8, [875, 750, 625, 500, 375, 250, 125, 0]),
        ("trailing", 8, [999, 874, 749, 624, 499, 374, 249, 124]),
        ("linspace", 4, [999, 666, 333, 0]),
        ("leading", 1, [0]),
    ],
)
def test_spacings(spacing, steps, wanted):
    assert ddim_config.timesteps(DDIMConfig(timestep_spacing=spacing), steps) == wanted


def test_zero_terminal_signal_means_none_is_left():
    left = ddim_config.alphas(DDIMConfig(rescale_betas_zero_snr=True))
    assert left[-1] == 0
    assert left[0] == pytest.approx(0.9999, abs=1e-4)


def test_trained_betas_come_before_a_schedule():
    config = DDIMConfig(trained_betas=(0.1, 0.2, 0.3), num_train_timesteps=3)
    assert torch.allclose(ddim_config.alphas(config), torch.tensor([0.9, 0.72, 0.504]))


def test_a_threshold_is_the_samples_own():
    config = DDIMConfig(thresholding=True, dynamic_thresholding_ratio=1.0, sample_max_value=3.0)
    clean = torch.tensor([[0.5, -0.25], [2.0, -1.0], [8.0, 1.5]])
    kept = ddim_config.in_range(config, clean)
    assert torch.allclose(kept, torch.tensor([[0.5, -0.25], [1.0, -0.5], [1.0, 0.5]]))


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_perfect_predictions_end_at_the_clean_sample(prediction):
    config = DDIMConfig(prediction_type=prediction, clip_sample=False)
    left, clean, noise = ddim_config.alphas(config), given("clean", 1.0), given("noise", 1.0)

    def denoise(noisy, timestep):
        a = float(left[timestep])
        epsilon = (noisy - a**0.5 * clean) / (1 - a) ** 0.5
        answers = {
            "epsilon": epsilon,
            "sample": clean,
            "v_prediction": a**0.5 * epsilon - (1 - a) ** 0.5 * clean,
        }
        return answers[prediction]

    generator = torch.Generator().manual_seed(0)
    found = ddim_config.sample(denoise, noise, config, steps=5, eta=0.5, generator=generator)
    assert torch.allclose(found, clean, atol=1e-4)
    with pytest.raises(PayloadError, match="generator"):
        ddim_config.sample(denoise, noise, config, steps=5, eta=0.5)


@pytest.mark.parametrize(
    "change",
    [
        {"beta_schedule": "sigmoid"},
        {"prediction_type": "flow"},
        {"timestep_spacing": "log"},
        {"_class_name": "EulerDiscreteScheduler"},
    ],
)
def test_unknown_choices_are_named(change):
    with pytest.raises(PayloadError, match=next(iter(change.values()))):
        config_from(change)


@pytest.mark.parametrize(("steps", "offset"), [(0, 0), (1001, 0), (1000, 1)])
def test_impossible_numbers_of_steps_are_refused(steps, offset):
    with pytest.raises(PayloadError, match=f"{steps} sampling steps"):
        ddim_config.timesteps(DDIMConfig(steps_offset=offset), steps)


def test_every_step_is_reported_and_what_is_not_used_is_passed_over():
    config, seen = config_from({"_diffusers_version": "0.30.2", "clip_sample": False}), []
    ddim_config.sample(
        lambda x, t: x, given("x", 1.0), config, steps=3, on_step=lambda *s: seen.append(s)
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]
