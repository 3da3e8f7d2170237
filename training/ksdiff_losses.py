"""What KSDiff's denoisers are punished for, on standardised coefficients `[B, T, C]`.

KSDiff's paper (Lyu et al. 2025) names a multi-resolution spectral loss and a dynamics
regularisation and publishes neither; the formulas here are ours. Every term is one number per clip
`[B]`, so that it can be weighted by how much noise the clip had.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.motion.arkit import INDEX
from ..models.motion.rig import load_rig
from .visemes import LIP_CHANNELS

WINDOWS = (8, 16, 32)  # frames of the spectra: 0.32, 0.64 and 1.28 s at 25 frames/s
# Below these a standardised coefficient counts as still: logarithms of nothing would outweigh
# everything that can be seen.
SPECTRUM_FLOOR, SPEED_FLOOR = 0.03, 0.03
STRONGEST = 5.0  # signal-to-noise ratio from which a clip counts fully (Hang et al. 2023)


def noise_weight(alpha: Tensor, floor: float = 0.0) -> Tensor:
    """`min(SNR, 5) / 5` of clips with the signal's share `ᾱ [B]`, raised to at least `floor`."""
    ratio = alpha / (1 - alpha).clamp(min=1e-8)
    return floor + (1 - floor) * ratio.clamp(max=STRONGEST) / STRONGEST


def position_loss(guess: Tensor, truth: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean squared error `[B]`, with a weight per frame `[B, T]` if given."""
    error = (guess - truth).square().mean(-1)
    if weight is None:
        return error.mean(1)
    return (error * weight).sum(1) / weight.sum(1).clamp(min=1e-6)


def velocity_loss(guess: Tensor, truth: Tensor) -> Tensor:
    """Squared error of the first differences, over how much the truth changes, `[B]`.

    Relative, because heads change little from frame to frame and would hardly count otherwise.
    """
    return _relative_error(guess.diff(dim=1), truth.diff(dim=1))


def _relative_error(guess: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error of each clip over the mean square of the truth of all clips."""
    size = truth.square().mean().clamp(min=SPEED_FLOOR**2)
    return (guess - truth).square().mean((1, 2)) / size


def spectral_loss(guess: Tensor, truth: Tensor) -> Tensor:
    """Distance of the magnitude spectra along time at three resolutions, `[B]`.

    Spectral convergence and mean absolute difference of logarithms (Yamamoto et al. 2020), for
    each coefficient's own spectrum. Blind to phase: it asks for as much movement as there is, not
    for every movement in its place.
    """
    terms = []
    for window in WINDOWS:
        guessed, true = spectrum(guess, window), spectrum(truth, window)
        size = true.square().sum((1, 2, 3)).sqrt().clamp(min=SPECTRUM_FLOOR)
        off = (guessed - true).square().sum((1, 2, 3)).clamp(min=1e-12).sqrt() / size
        logs = (guessed + SPECTRUM_FLOOR).log() - (true + SPECTRUM_FLOOR).log()
        terms.append(off + logs.abs().mean((1, 2, 3)))
    return torch.stack(terms).mean(0)


def spectrum(curves: Tensor, window: int) -> Tensor:
    """Magnitudes `[B, C, frames, bins]` of `[B, T, C]`: Hann windows, a quarter apart."""
    pieces = curves.transpose(1, 2).unfold(-1, window, window // 4)
    return (
        (pieces @ _fourier(window).to(curves))
        .unflatten(-1, (2, -1))
        .square()
        .sum(-2)
        .clamp(min=1e-12)
        .sqrt()
    )


@cache
def _fourier(window: int) -> Tensor:
    """Windowed cosines, then sines, `[window, 2 · bins]`: for short windows faster than an FFT."""
    time, bins = torch.arange(window), torch.arange(window // 2 + 1)
    angle = 2 * torch.pi * time[:, None] * bins / window
    return torch.hann_window(window)[:, None] * torch.cat([angle.cos(), angle.sin()], dim=1)


def dynamics_loss(guess: Tensor, truth: Tensor) -> Tensor:
    """Error of the second differences, and of how much each coefficient moves at all, `[B]`."""
    bend = _relative_error(guess.diff(n=2, dim=1), truth.diff(n=2, dim=1))
    speeds = [x.diff(dim=1).square().mean(1).add(SPEED_FLOOR**2).sqrt() for x in (guess, truth)]
    return bend + (speeds[0].log() - speeds[1].log()).abs().mean(-1)


def lip_loss(guess: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """How far the lips of ARKit weights `[B, T, 52]` are off: error `[B]`, and 1 − r `[B]`.

    Twenty lip landmarks of the rig, their gap and their width, each by its usual deviation;
    r is Pearson's, over time, of gap and width.
    """
    map_, deviation = _lips()
    seen, wanted = (x @ map_.to(x) / deviation.to(x) for x in (guess, truth))
    error = (seen - wanted).square()
    size = error[..., :-2].mean((1, 2)) + error[..., -2:].mean((1, 2))
    return size, 1 - correlation(seen[..., -2:], wanted[..., -2:]).mean(-1)


@cache
def _lips() -> tuple[Tensor, Tensor]:
    """Lip landmarks x and y, gap and width from ARKit weights: `[52, 42]`, and their deviations."""
    basis = load_rig().basis
    points = basis[:, 48:68, :2].flatten(1)
    gap = basis[:, 66, 1] - basis[:, 62, 1]
    width = basis[:, 54, 0] - basis[:, 48, 0]
    map_ = torch.cat([points, gap[:, None], width[:, None]], dim=1)
    jaw, smile = 0.1, 0.05  # usual deviations of jawOpen, and of the weights around the mouth
    size = torch.full((len(INDEX),), 0.0)
    size[[INDEX[name] for name in LIP_CHANNELS]] = smile
    size[INDEX["jawOpen"]] = jaw
    deviation = (map_.square() * size[:, None].square()).sum(0).sqrt()
    deviation[:-2] = deviation[:-2].square().mean().sqrt()  # points that hardly move count less
    return map_, deviation


def correlation(guess: Tensor, truth: Tensor) -> Tensor:
    """Pearson's r over time of `[B, T, D]`: `[B, D]`; 0 where the truth stands still."""
    guess, truth = guess - guess.mean(1, keepdim=True), truth - truth.mean(1, keepdim=True)
    spread = (guess.square().mean(1) + 1e-4).sqrt() * (truth.square().mean(1) + 1e-4).sqrt()
    return (guess * truth).mean(1) / spread


def emphasis(marks: Tensor, amount: float = 1.0) -> Tensor:
    """Weight per frame `[B, T]`: 1, and up to `amount` more around the keyframes `[B, T]`."""
    kernel = torch.tensor([0.135, 0.607, 1.0, 0.607, 0.135]).to(marks)  # a Gaussian of one frame
    near = F.conv1d(marks[:, None], kernel[None, None], padding=2)[:, 0]
    return 1 + amount * near.clamp(max=1)
