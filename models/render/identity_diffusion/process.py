"""The walk of the identity diffusion: from guided (or plain) noise to clean frames by DDIM.

With guided noise only the difference to the identity diffuses, and each pixel's noise is as strong
as the mask allows: `x_t = I + √ᾱ (x₀ − I) + √(1 − ᾱ) (m + r_min) ε`. Where ᾱ is 0 that is exactly
the landmark-guided noise of stage 4. Plain noise is the same walk from nothing: `I = 0, m = 1`.
Pictures are in -1 … 1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ... import ddim_config
from ...ddim_config import DDIMConfig
from ...sampling import OnStep

STEPS = 8  # the paper's
STARTS = ("guided", "plain")

# Nothing of the clean frames may be left at the first step: the guided noise holds none of them.
SCHEDULER = DDIMConfig(
    prediction_type="sample",
    clip_sample=False,
    timestep_spacing="trailing",
    rescale_betas_zero_snr=True,
)

Predict = Callable[[Tensor, int], Tensor]  # (noisy frames, timestep) -> clean frames


def to_signed(pictures: Tensor) -> Tensor:
    """0 … 1 → -1 … 1."""
    return 2 * pictures - 1


def from_signed(pictures: Tensor) -> Tensor:
    """-1 … 1 → 0 … 1, clamped."""
    return ((pictures + 1) / 2).clamp(0, 1)


def noised(clean: Tensor, ground: Tensor, noise: Tensor, alpha: Tensor) -> Tensor:
    """What clean frames look like where `alpha` (ᾱ) of them is left.

    Args:
        clean: `[B, T, 3, H, W]`.
        ground: what the noise lies on: the identity for guided noise, zeros for plain; like clean.
        noise: as strong as it is in the end, like clean.
        alpha: `[B]`.
    """
    left = alpha.view(-1, 1, 1, 1, 1)
    return ground + left.sqrt() * (clean - ground) + (1 - left).sqrt() * noise


def sample(
    predict: Predict,
    start: Tensor,
    ground: Tensor,
    *,
    steps: int = STEPS,
    on_step: OnStep | None = None,
) -> Tensor:
    """Clean frames, from noise that lies on a ground.

    Args:
        predict: the network.
        start: `[B, T, 3, H, W]`, ground and noise together.
        ground: broadcast to `start`.
        steps: of DDIM, without fresh noise.
        on_step: called after each step.
    """

    def denoise(difference: Tensor, timestep: int) -> Tensor:
        return predict(ground + difference, timestep) - ground

    difference = ddim_config.sample(
        denoise, start - ground, SCHEDULER, steps=steps, on_step=on_step
    )
    return ground + difference


def alphas() -> Tensor:
    """`ᾱ` of every training timestep, `[1000]`."""
    return ddim_config.alphas(SCHEDULER)


def plain_start(shape: torch.Size, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Plain noise and its ground, for comparison."""
    noise = torch.randn(shape, generator=generator)
    return noise, torch.zeros(1)


def strength(mask: Tensor, r_min: float) -> Tensor:
    """Standard deviation of guided noise on pictures in -1 … 1; the mask is in 0 … 1."""
    return 2 * (mask + r_min)
