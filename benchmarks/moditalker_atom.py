"""How fast AToM speaks a window of 6.24 s, against the published arrangement in the same run.

The published program encodes speech and landmarks again in each of the 50 steps, twice, because
guidance runs the network twice. Random weights of the published sizes: time does not depend on
their values. What is counted is the time of the processor, so that other programs on the machine do
not matter; all steps are alike, so a few of them are timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..models import checkpoints
from ..models.motion.atom import AToM, guided
from ..models.sampling import (
    Denoiser,
    Schedule,
    alphas_cumprod,
    cosine_betas,
    sample_ddim,
    trailing_timesteps,
)
from .machine import description
from .moditalker_atom_plain import PlainAToM

STEPS, GUIDANCE, FRAMES = 50, 2.0, 156


def measure(steps: int = 3, repeats: int = 2) -> dict[str, Any]:
    """Time both arrangements, print a table, and return the numbers."""
    report = {"benchmark": "moditalker_atom", "machine": description(), **run(steps, repeats)}
    print("AToM on the CPU, a window of 156 frames, 50 steps, guidance 2, random weights")
    for name, key in (("published arrangement", "plain_ms"), ("ours", "ours_ms")):
        print(f"  {name:<24} {report[key]:10.0f} ms")
    print(f"  {'times faster':<24} {report['speedup']:10.2f}")
    print(f"  {'largest difference':<24} {report['difference']:10.1e} (of the largest output)")
    return report


@torch.inference_mode()
def run(steps: int = 3, repeats: int = 2, **sizes: int) -> dict[str, Any]:
    """Milliseconds per window, and how far both outputs are apart.

    Args:
        steps: that are timed, the first of 50.
        repeats: in turns; the fastest counts.
        sizes: of `PlainAToM`, the published ones by default.
    """
    torch.manual_seed(0)
    plain = networks(sizes)
    ours: AToM = checkpoints.load("moditalker/atom", plain.state_dict())
    frames = ours.config.frames
    first, audio = torch.randn(1, 1, 204) * 0.5, torch.randn(1, 2 * frames, 1024) * 0.5
    noise, times = torch.randn(1, frames, 204), trailing_timesteps(STEPS)
    best: dict[str, list[float]] = {"prepare": [], "ours": [], "plain": []}
    for _ in range(repeats):  # in turn, so that a busy machine slows both
        seconds, denoise = timed(partial(our_arrangement, ours, first, audio, times))
        best["prepare"].append(seconds)
        seconds, found = timed(partial(sampled, denoise, noise, times[:steps]))
        best["ours"].append(seconds)
        slow = published_arrangement(plain, first, audio)
        seconds, wanted = timed(partial(sampled, slow, noise, times[:steps]))
        best["plain"].append(seconds)
    window = {name: 1000 * min(seconds) for name, seconds in best.items()}
    ours_ms = window["prepare"] + window["ours"] * STEPS / steps
    plain_ms = window["plain"] * STEPS / steps
    return {
        "steps_timed": steps,
        "prepare_ms": round(window["prepare"], 1),
        "ours_ms": round(ours_ms, 1),
        "plain_ms": round(plain_ms, 1),
        "speedup": round(plain_ms / ours_ms, 3),
        "difference": float((found - wanted).abs().max() / wanted.abs().max()),
    }


def networks(sizes: dict[str, int]) -> PlainAToM:
    """The plain network, with outputs as large as inputs so that errors cannot hide."""
    plain = PlainAToM(**sizes).eval().requires_grad_(False)
    for weight in plain.parameters():
        if weight.ndim == 2:
            nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
    return plain


def our_arrangement(network: AToM, first: Tensor, audio: Tensor, timesteps: list[int]) -> Denoiser:
    """Everything that the steps share, computed once; guidance in one batch."""
    conditioning = network.guided_condition(first, audio)
    moments = network.moments(torch.tensor(timesteps), conditioning)
    by_timestep = dict(zip(timesteps, moments, strict=True))
    return lambda noisy, t: guided(
        network.step(noisy.expand(2, -1, -1), by_timestep[t], conditioning), GUIDANCE
    )


def published_arrangement(network: PlainAToM, first: Tensor, audio: Tensor) -> Denoiser:
    """Everything in every step."""
    return lambda noisy, t: network.guided(noisy, first, audio, torch.tensor([t]), GUIDANCE)


def sampled(denoise: Denoiser, noise: Tensor, timesteps: list[int]) -> Tensor:
    """From noise through these steps."""
    schedule = Schedule(alphas=alphas_cumprod(cosine_betas()), predicts="sample", clip=1.0)
    return sample_ddim(denoise, noise, schedule, steps=timesteps)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of the processor that `work` takes, and what it returns."""
    began = time.process_time()
    result = work()
    return time.process_time() - began, result
