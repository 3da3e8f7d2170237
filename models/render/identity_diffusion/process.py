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
from ...noise.landmark_guided import R_MIN
from ...sampling import OnStep

STEPS = 8  # the paper's
SIGNAL = {"guided": 0.2, "plain": 0.5}  # usual size of what the noise hides, above its ground
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


def quieted(noisy: Tensor, ground: Tensor | None, mask: Tensor, timestep: Tensor) -> Tensor:
    """Noisy frames with as much of what lies on the ground as is likely no noise (Wiener 1949).

    At the first step that is nothing, and in strong noise little: what a network has not learnt to
    remove cannot show.

    Args:
        noisy: `[B, T, 3, H, W]`.
        ground: of guided noise, broadcast to `noisy`; None for plain noise.
        mask: of guided noise, `[B, T, 1, H, W]`.
        timestep: `[B]`.
    """
    alpha = alphas().to(noisy)[timestep].view(-1, 1, 1, 1, 1)
    guided = ground is not None
    signal = SIGNAL["guided" if guided else "plain"] ** 2
    noise = strength(mask, R_MIN).square() if guided else torch.ones_like(alpha)
    gain = alpha.sqrt() * signal / (alpha * signal + (1 - alpha) * noise).clamp(min=1e-8)
    return gain * noisy if ground is None else ground + gain * (noisy - ground)


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
