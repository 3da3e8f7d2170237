"""Noise schedules and samplers as functions, shared by every diffusion model.

Stages 3 to 5. Nothing here knows a network: a denoiser is any callable of the noisy sample and the
timestep. Noise is drawn on the CPU, so a seed gives the same frames on every device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import pi, sqrt

import torch
from torch import Tensor

from .payloads import PayloadError

Denoiser = Callable[[Tensor, int], Tensor]  # (noisy sample, timestep) -> prediction
Constraint = Callable[[Tensor, float], Tensor]  # (noisy sample, ᾱ) -> the sample made to fit
OnStep = Callable[[int, int], None]  # (steps done, steps in all)
Step = Callable[..., Tensor]  # like `ddim_step`
PREDICTIONS = ("epsilon", "sample")


@dataclass(frozen=True, kw_only=True, eq=False)
class Schedule:
    """How a network was trained to remove noise."""

    alphas: (
        Tensor  # [training steps] float32 on the CPU: ᾱ, the share of the signal's variance left
    )
    predicts: str = "epsilon"  # or "sample": what the network says, the noise or the clean sample
    clip: float | None = None  # the largest magnitude a clean sample has, where there is one
    end: float = 1.0  # ᾱ where sampling ends; some programs stop at the least noisy training step
    step: Step | None = None  # what a step does with the prediction, if not `ddim_step`

    def __post_init__(self) -> None:
        if self.predicts not in PREDICTIONS:
            raise PayloadError(
                f"A network predicts {' or '.join(PREDICTIONS)}, not '{self.predicts}'."
            )


def linear_betas(start: float, end: float, train_steps: int = 1000) -> Tensor:
    """Variance added at each training step, `[train_steps]` float32 (Ho et al. 2020, section 4)."""
    return torch.linspace(start, end, train_steps, dtype=torch.float32)


def scaled_linear_betas(start: float, end: float, train_steps: int = 1000) -> Tensor:
    """Variance added where its square root grows evenly, as in latent diffusion: float32."""
    return torch.linspace(sqrt(start), sqrt(end), train_steps, dtype=torch.float32).square()


def cosine_betas(train_steps: int = 1000, offset: float = 0.008) -> Tensor:
    """Variance added so that ᾱ falls like a squared cosine (Nichol & Dhariwal 2021, eq. 17)."""
    done = torch.arange(train_steps + 1, dtype=torch.float64) / train_steps
    alphas = torch.cos((done + offset) / (1 + offset) * pi / 2).square()
    return (1 - alphas[1:] / alphas[:-1]).clamp(0, 0.999).float()


def alphas_cumprod(betas: Tensor) -> Tensor:
    """`ᾱ_t = Π (1 − β)` of the variance `β` that each training step adds."""
    return torch.cumprod(1.0 - betas, dim=0)


def spaced_timesteps(steps: int, train_steps: int = 1000) -> list[int]:
    """`steps` timesteps a whole stride apart, the noisiest first, 0 last: 980, 960, … 0 for 50.

    Raises:
        PayloadError: fewer than 2 steps, which would start next to the clean end, or too many.
    """
    if not 2 <= steps <= train_steps:
        raise PayloadError(f"{steps} sampling steps were asked for; 2 to {train_steps} work.")
    stride = train_steps // steps
    return [stride * i for i in reversed(range(steps))]


def trailing_timesteps(steps: int, train_steps: int = 1000) -> list[int]:
    """`steps` timesteps from the very last one on, evenly spaced down to nothing: 999, … 19 for 50.

    Raises:
        PayloadError: fewer than 1 step, or more than the network was trained on.
    """
    if not 1 <= steps <= train_steps:
        raise PayloadError(f"{steps} sampling steps were asked for; 1 to {train_steps} work.")
    edges = torch.linspace(-1, train_steps - 1, steps + 1)
    return [int(edge) for edge in edges[1:].flip(0)]


def seeded_noise(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Standard normal noise of a CPU generator, float32 on the CPU."""
    return torch.randn(*shape, generator=generator)


def add_noise(sample: Tensor, noise: Tensor, alpha: float) -> Tensor:
    """`√ᾱ · x₀ + √(1 − ᾱ) · ε`: a clean sample as it looks where `alpha` of it is left."""
    return sqrt(alpha) * sample + sqrt(1 - alpha) * noise


def part_of(on_step: OnStep | None, index: int, count: int) -> OnStep | None:
    """`on_step` for part `index` of `count` that are sampled one after the other, equally long."""
    if on_step is None:
        return None
    return lambda done, total: on_step(index * total + done, count * total)


def ddim_step(
    noisy: Tensor,
    prediction: Tensor,
    alpha: float,
    alpha_before: float,
    *,
    predicts: str = "epsilon",
    eta: float = 0.0,
    noise: Tensor | None = None,
    clip: float | None = None,
) -> Tensor:
    """One step of DDIM (Song et al. 2021, eq. 12).

    Args:
        noisy: the sample at the present timestep.
        prediction: what the network says of it, the noise or the clean sample.
        alpha: `ᾱ` of the present timestep.
        alpha_before: `ᾱ` of the timestep to go to, 1 for the clean end.
        predicts: "epsilon" or "sample".
        eta: 0 is deterministic, 1 draws as much noise as DDPM.
        noise: fresh noise like `noisy`, needed where `eta` is above 0.
        clip: the largest magnitude a clean sample may have; a predicted noise stays as it is.
    """
    clean, epsilon = clean_sample(noisy, prediction, alpha, predicts, clip), prediction
    if predicts == "sample":
        epsilon = (noisy - sqrt(alpha) * clean) / sqrt(1 - alpha)
    return _towards(clean, epsilon, alpha, alpha_before, eta, noise)


def ddim_step_0_11(
    noisy: Tensor,
    prediction: Tensor,
    alpha: float,
    alpha_before: float,
    *,
    predicts: str = "epsilon",
    eta: float = 0.0,
    noise: Tensor | None = None,
    clip: float | None = None,
) -> Tensor:
    """The step of diffusers 0.11, which takes every prediction for the noise when it adds that.

    It differs from `ddim_step`, whose arguments it has, for networks that predict the clean sample:
    each step begins anew from the prediction, a little too large. DiffSpeaker was published with
    it.
    """
    clean = clean_sample(noisy, prediction, alpha, predicts, clip)
    return _towards(clean, prediction, alpha, alpha_before, eta, noise)


def clean_sample(
    noisy: Tensor, prediction: Tensor, alpha: float, predicts: str, clip: float | None = None
) -> Tensor:
    """The clean sample that a prediction means, within ±`clip`."""
    clean = prediction
    if predicts == "epsilon":
        clean = (noisy - sqrt(1 - alpha) * prediction) / sqrt(alpha)
    return clean if clip is None else clean.clamp(-clip, clip)


def _towards(
    clean: Tensor,
    epsilon: Tensor,
    alpha: float,
    alpha_before: float,
    eta: float,
    noise: Tensor | None,
) -> Tensor:
    """The clean sample with as much noise as the timestep before has, `eta` of it fresh."""
    variance = (1 - alpha_before) / (1 - alpha) * (1 - alpha / alpha_before)
    sigma = eta * sqrt(max(variance, 0.0))
    step = sqrt(alpha_before) * clean + sqrt(max(1 - alpha_before - sigma**2, 0.0)) * epsilon
    return step if noise is None or sigma == 0 else step + sigma * noise


def sample_ddim(
    denoise: Denoiser,
    noise: Tensor,
    schedule: Schedule,
    *,
    steps: int | Sequence[int],
    eta: float = 0.0,
    generator: torch.Generator | None = None,
    constrain: Constraint | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """From noise to a sample.

    Args:
        denoise: called with the noisy sample and the timestep.
        noise: where to start, on the device of the network.
        schedule: of the network's training, and how its program steps.
        steps: how many of the training steps are visited, evenly spaced down to 0; or which,
            the noisiest first.
        eta: 0 is deterministic.
        generator: CPU generator of the fresh noise; needed where `eta` is above 0.
        constrain: applied before each step, for example to keep frames that are known.
        on_step: called after each step; an exception raised in it ends the sampling.

    Returns:
        The sample, shaped like `noise`.

    Raises:
        PayloadError: the number of steps is impossible, or the generator is missing.
    """
    if eta > 0 and generator is None:
        raise PayloadError(f"Sampling with eta {eta} draws noise: give a generator with a seed.")
    if isinstance(steps, int):
        steps = spaced_timesteps(steps, len(schedule.alphas))
    # Plain numbers, looked up once: indexing on a device would make it wait in every step.
    present = [float(schedule.alphas[t]) for t in steps]
    step = schedule.step or ddim_step
    sample = noise
    for i, (alpha, before) in enumerate(zip(present, [*present[1:], schedule.end], strict=True)):
        fresh = None
        if eta > 0 and generator is not None:
            fresh = seeded_noise(sample.shape, generator).to(sample)
        if constrain:
            sample = constrain(sample, alpha)
        prediction = denoise(sample, steps[i])
        sample = step(
            sample,
            prediction,
            alpha,
            before,
            predicts=schedule.predicts,
            eta=eta,
            noise=fresh,
            clip=schedule.clip,
        )
        if on_step:
            on_step(i + 1, len(steps))
    return sample


def guided(conditional: Denoiser, unconditional: Denoiser, guidance: float) -> Denoiser:
    """Classifier-free guidance (Ho & Salimans 2022, eq. 6) around two denoisers.

    1 is the conditional prediction alone, more exaggerates what the condition changes.
    """
    if guidance == 1:
        return conditional

    def denoise(noisy: Tensor, timestep: int) -> Tensor:
        without = unconditional(noisy, timestep)
        return without + guidance * (conditional(noisy, timestep) - without)

    return denoise
