"""How MToV removes noise: its schedule, its timesteps and its noised start.

Stage 5. Published sampling starts from the noised latent of the first frame and takes the last 25
of 100 steps; without it, 100 steps start from noise. Both clamp the clean latent to −1 … 1 in each
step, use the predicted noise as it is, and draw as much noise as DDPM.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...payloads import PayloadError
from ...sampling import (
    Denoiser,
    OnStep,
    Schedule,
    add_noise,
    alphas_cumprod,
    sample_ddim,
    trailing_timesteps,
)

TRAIN_STEPS = 1000
BETA_START, BETA_END = 0.0015, 0.0195
STEPS = 100  # of full sampling
RATIO = 0.25  # of the steps that are left from a noised start
FRESH = 1.0  # η of DDIM


def schedule() -> Schedule:
    """The square roots of β rise evenly; the network says what the noise is."""
    # In double precision, as published: the shared function works in single.
    roots = torch.linspace(BETA_START**0.5, BETA_END**0.5, TRAIN_STEPS, dtype=torch.float64)
    return Schedule(alphas=alphas_cumprod(roots.square()).float(), clip=1.0)


def timesteps(steps: int = STEPS, ratio: float = 1.0) -> list[int]:
    """The timesteps to visit, the noisiest first: 999, 989, … 9 for 100 steps, of which a `ratio`
    below 1 leaves the last: 249, 239, … 9 for 0.25.

    Raises:
        PayloadError: an impossible number of steps, or a ratio that is not in 0 … 1.
    """
    every = trailing_timesteps(steps, TRAIN_STEPS)
    if not 0 < ratio <= 1:
        raise PayloadError(f"The start ratio is {ratio}; more than 0 and at most 1 is possible.")
    return every[int(steps * (1 - ratio)) :]


def noised_start(clean: Tensor, noise: Tensor, ratio: float = RATIO) -> Tensor:
    """A clean latent as it looks where sampling with this `ratio` begins, t = 250 for 0.25."""
    at = min(int(TRAIN_STEPS * ratio), TRAIN_STEPS - 1)
    return add_noise(clean, noise, float(schedule().alphas[at]))


def sample(
    denoise: Denoiser,
    start: Tensor,
    times: list[int],
    generator: torch.Generator | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """From a noisy latent `[B, 4, n]` to a clean one in −1 … 1.

    Args:
        denoise: called with the noisy latent and the timestep; says what noise is in it.
        start: the latent at the first of `times`.
        times: from `timesteps`.
        generator: on the CPU, of each step's fresh noise, as published; without one no step draws
            noise, and the start decides everything.
        on_step: called after each step; an exception raised in it ends the sampling.
    """
    return sample_ddim(
        denoise,
        start,
        schedule(),
        steps=times,
        eta=0.0 if generator is None else FRESH,
        generator=generator,
        on_step=on_step,
    )
