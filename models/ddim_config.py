"""DDIM as a diffusers folder's `scheduler/scheduler_config.json` describes it.

Stage 5. The file decides on betas, on which timesteps are visited, on what the network predicts
and on how the clean guess is kept in range. Names and defaults are diffusers'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import cos, pi, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .payloads import PayloadError
from .sampling import Denoiser, OnStep, alphas_cumprod, seeded_noise

SCHEDULERS = ("DDIMScheduler",)
BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")
SPACINGS = ("leading", "linspace", "trailing")
PREDICTIONS = ("epsilon", "sample", "v_prediction")
COSINE_OFFSET, LARGEST_BETA = 0.008, 0.999  # Nichol & Dhariwal 2021, section 3.2


@dataclass(frozen=True, kw_only=True)
class DDIMConfig:
    """The fields that change numbers."""

    num_train_timesteps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    trained_betas: tuple[float, ...] | None = None  # instead of a schedule
    clip_sample: bool = True  # the clean guess, at ± clip_sample_range
    set_alpha_to_one: bool = True  # ᾱ after the last step: 1, or that of timestep 0
    steps_offset: int = 0
    prediction_type: str = "epsilon"
    thresholding: bool = False  # Saharia et al. 2022, section 2.3; instead of clip_sample
    dynamic_thresholding_ratio: float = 0.995
    clip_sample_range: float = 1.0
    sample_max_value: float = 1.0
    timestep_spacing: str = "leading"
    rescale_betas_zero_snr: bool = False  # Lin et al. 2024, algorithm 1

    def __post_init__(self) -> None:
        for name, value, known in (
            ("beta_schedule", self.beta_schedule, BETA_SCHEDULES),
            ("prediction_type", self.prediction_type, PREDICTIONS),
            ("timestep_spacing", self.timestep_spacing, SPACINGS),
        ):
            if value not in known:
                raise PayloadError(
                    f"The scheduler's configuration sets {name} to '{value}';"
                    f" {', '.join(known)} can be sampled."
                )


def config_from(found: Mapping[str, Any]) -> DDIMConfig:
    """The content of a `scheduler_config.json`; what is not used is passed over.

    Raises:
        PayloadError: it describes another sampler than DDIM, or an unknown choice.
    """
    kind = found.get("_class_name", SCHEDULERS[0])
    if kind not in SCHEDULERS:
        raise PayloadError(f"The folder's scheduler is a {kind}; a DDIMScheduler is needed.")
    known = {field.name for field in fields(DDIMConfig)}
    chosen: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in found.items()
        if name in known
    }
    return DDIMConfig(**chosen)


def alphas(config: DDIMConfig) -> Tensor:
    """`ᾱ` of every training timestep, `[N]` float32."""
    count = config.num_train_timesteps
    start, end = config.beta_start, config.beta_end
    if config.trained_betas is not None:
        betas = torch.tensor(config.trained_betas, dtype=torch.float32)
    elif config.beta_schedule == "linear":
        betas = torch.linspace(start, end, count, dtype=torch.float32)
    elif config.beta_schedule == "scaled_linear":
        betas = torch.linspace(start**0.5, end**0.5, count, dtype=torch.float32).square()
    else:
        betas = cosine_betas(count)
    if config.rescale_betas_zero_snr:
        betas = without_last_signal(betas)
    return alphas_cumprod(betas)


def cosine_betas(count: int) -> Tensor:
    """Betas for `ᾱ(t) = cos²((t + s) / (1 + s) · π / 2)`, none above 0.999."""

    def left(share: float) -> float:
        return cos((share + COSINE_OFFSET) / (1 + COSINE_OFFSET) * pi / 2) ** 2

    betas = [1 - left((i + 1) / count) / left(i / count) for i in range(count)]
    return torch.tensor([min(beta, LARGEST_BETA) for beta in betas], dtype=torch.float32)


def without_last_signal(betas: Tensor) -> Tensor:
    """The betas shifted and scaled so that nothing of the sample is left at the last timestep."""
    roots = alphas_cumprod(betas).sqrt()
    first, last = roots[0].clone(), roots[-1].clone()
    squares = ((roots - last) * (first / (first - last))).square()
    return 1 - torch.cat([squares[:1], squares[1:] / squares[:-1]])


def timesteps(config: DDIMConfig, steps: int) -> list[int]:
    """The timesteps that are visited, the noisiest first.

    Raises:
        PayloadError: fewer than 1 or more than the training had, or an offset leads beyond them.
    """
    count = config.num_train_timesteps
    if not 1 <= steps <= count:
        raise PayloadError(f"{steps} sampling steps were asked for; 1 to {count} work.")
    visited: np.ndarray
    if config.timestep_spacing == "linspace":
        visited = np.linspace(0, count - 1, steps).round()[::-1]
    elif config.timestep_spacing == "leading":
        visited = (np.arange(steps) * (count // steps))[::-1] + config.steps_offset
    else:
        visited = np.round(np.arange(count, 0, -count / steps)) - 1
    if visited[0] >= count:
        raise PayloadError(
            f"{steps} sampling steps with an offset of {config.steps_offset} would begin at"
            f" timestep {int(visited[0])} of {count}. Take another number of steps."
        )
    return [int(t) for t in visited]


def step(
    config: DDIMConfig,
    prediction: Tensor,
    noisy: Tensor,
    alpha: float,
    alpha_before: float,
    *,
    eta: float = 0.0,
    noise: Tensor | None = None,
) -> Tensor:
    """One step of DDIM (Song et al. 2021, eq. 12) from `ᾱ` to that of the timestep before.

    The direction is that of the network's prediction, not of the clipped clean guess.
    """
    signal, spread = sqrt(alpha), sqrt(1 - alpha)
    if config.prediction_type == "epsilon":
        clean, epsilon = (noisy - spread * prediction) / signal, prediction
    elif config.prediction_type == "sample":
        clean, epsilon = prediction, (noisy - signal * prediction) / spread
    else:
        clean = signal * noisy - spread * prediction
        epsilon = signal * prediction + spread * noisy
    clean = in_range(config, clean)
    sigma = 0.0
    if eta > 0:
        variance = (1 - alpha_before) / (1 - alpha) * (1 - alpha / alpha_before)
        sigma = eta * sqrt(max(variance, 0.0))
    direction = sqrt(max(1 - alpha_before - sigma**2, 0.0)) * epsilon
    moved = sqrt(alpha_before) * clean + direction
    return moved if noise is None or sigma == 0 else moved + sigma * noise


def in_range(config: DDIMConfig, clean: Tensor) -> Tensor:
    """The clean guess, thresholded per sample or clipped, or as it is."""
    if config.thresholding:
        rows = clean.flatten(1)
        limit = torch.quantile(rows.abs().float(), config.dynamic_thresholding_ratio, dim=1)
        limit = limit.clamp(1, config.sample_max_value).unsqueeze(1).to(rows)
        return (rows.clamp(-limit, limit) / limit).view_as(clean)
    if config.clip_sample:
        return clean.clamp(-config.clip_sample_range, config.clip_sample_range)
    return clean


def sample(
    denoise: Denoiser,
    noise: Tensor,
    config: DDIMConfig,
    *,
    steps: int,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """From noise to a sample; `noise` is taken as it is.

    Args:
        denoise: called with the noisy sample and the timestep.
        noise: where to start, on the device of the network.
        config: of the network's scheduler.
        steps: how many of the training steps are visited.
        eta: 0 is deterministic.
        generator: CPU generator of the fresh noise; needed where `eta` is above 0.
        on_step: called after each step; an exception raised in it ends the sampling.

    Raises:
        PayloadError: the number of steps is impossible, or the generator is missing.
    """
    if eta > 0 and generator is None:
        raise PayloadError(f"Sampling with eta {eta} draws noise: give a generator with a seed.")
    left = alphas(config).tolist()
    stride = config.num_train_timesteps // steps if steps > 0 else 0
    last = 1.0 if config.set_alpha_to_one else left[0]
    value = noise
    for done, t in enumerate(timesteps(config, steps), start=1):
        fresh = None
        if eta > 0 and generator is not None:
            fresh = seeded_noise(value.shape, generator).to(value)
        before = left[t - stride] if t >= stride else last
        value = step(config, denoise(value, t), value, left[t], before, eta=eta, noise=fresh)
        if on_step:
            on_step(done, steps)
    return value
