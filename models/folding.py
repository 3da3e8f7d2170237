"""Arithmetic on published weights before they are loaded: norms that are constants at inference
become part of the convolution they follow.

Every function leaves what it does not understand as it is, so that the strict load after it names
the keys that are missing or superfluous.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

StateDict = dict[str, Tensor]
NORM_ENTRIES = ("weight", "bias", "running_mean", "running_var")
BATCH_NORM_EPS = 1e-5


def fold_batch_norms(state: StateDict, rules: tuple[tuple[str, str], ...]) -> StateDict:
    """Batch norms folded into the convolution before them, or reduced to scale and shift.

    Args:
        state: tensors by upstream's names.
        rules: ordered (pattern of a norm's name, name of its convolution); the first that matches
            the whole name counts. A norm that no rule matches has no convolution before it and
            keeps `weight` (scale) and `bias` (shift).
    """
    folded = dict(state)
    for key in [key for key in state if key.endswith(".running_mean")]:
        norm = key.removesuffix(".running_mean")
        if not all(f"{norm}.{entry}" in folded for entry in NORM_ENTRIES):
            continue
        scale, shift = _scale_and_shift(folded, norm)
        convolution = _convolution_of(norm, rules)
        if convolution is None:
            folded[f"{norm}.weight"], folded[f"{norm}.bias"] = scale.float(), shift.float()
        elif not _fold_into(folded, convolution, scale, shift):
            continue
        used = NORM_ENTRIES if convolution is not None else NORM_ENTRIES[2:]
        for entry in (*used, "num_batches_tracked"):
            folded.pop(f"{norm}.{entry}", None)
    return folded


def bake_spectral_norms(state: StateDict) -> StateDict:
    """`weight_orig / σ` in place of the parts of a spectral norm, `σ = uᵀ W v`."""
    baked = dict(state)
    for key in [key for key in state if key.endswith("weight_orig")]:
        stem = key.removesuffix("_orig")
        u, v = state.get(f"{stem}_u"), state.get(f"{stem}_v")
        matrix = state[key].double().flatten(1)
        if u is None or v is None or matrix.shape != (u.numel(), v.numel()):
            continue
        sigma = u.double() @ matrix @ v.double()
        baked[stem] = (state[key].double() / sigma).float()
        for part in ("_orig", "_u", "_v"):
            del baked[stem + part]
    return baked


def _scale_and_shift(state: StateDict, norm: str) -> tuple[Tensor, Tensor]:
    weight, bias, mean, variance = (state[f"{norm}.{entry}"].double() for entry in NORM_ENTRIES)
    scale = weight * torch.rsqrt(variance + BATCH_NORM_EPS)
    return scale, bias - mean * scale


def _convolution_of(norm: str, rules: tuple[tuple[str, str], ...]) -> str | None:
    for pattern, name in rules:
        if re.fullmatch(pattern, norm):
            return re.sub(pattern, name, norm)
    return None


def _fold_into(state: StateDict, name: str, scale: Tensor, shift: Tensor) -> bool:
    weight, bias = state.get(f"{name}.weight"), state.get(f"{name}.bias")
    if weight is None or bias is None or not weight.shape[:1] == bias.shape == scale.shape:
        return False
    per_output = scale.reshape(-1, *[1] * (weight.ndim - 1))
    state[f"{name}.weight"] = (weight.double() * per_output).float()
    state[f"{name}.bias"] = (bias.double() * scale + shift).float()
    return True
