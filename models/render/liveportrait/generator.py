"""LivePortrait's generator: warped features become a picture of twice the crop's size.

Source: Guo et al. 2024, section 3.1; SPADE (Park et al. 2019), where the features themselves are
the map that modulates. The arrangement is ours and exact up to rounding: modulation maps are
convolved before they are enlarged (`upsampled.py`), gamma and beta come out of one convolution, the
twelve middle maps out of one too, normalisation happens before enlarging, and the shortcut, which
is linear, is one convolution with the beta of its norm. Spectral norms are baked.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...folding import StateDict, bake_spectral_norms
from .upsampled import UpsampledConv, phase_state
from .winograd import convolve

FEATURES, WIDTH, MAP = 256, 512, 128
MIDDLE = 6
UP = ((512, 256, 2), (256, 64, 4))  # channels in and out, size over that of the features
EPS = 1e-5
SLOPE = 0.2


class ModulatedBlock(nn.Module):
    """Two convolutions, each after a modulated norm, around a sum: [B, C, H, W] → the same."""

    def __init__(self, channels: int, operations: ModuleType | Any = nn):
        super().__init__()
        self.first_modulation = operations.Conv2d(MAP, 2 * channels, 3, padding=1)
        self.first = operations.Conv2d(channels, channels, 3, padding=1)
        self.second_modulation = operations.Conv2d(MAP, 2 * channels, 3, padding=1)
        self.second = operations.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, first_map: Tensor, second_map: Tensor) -> Tensor:
        """x and two modulation maps [B, 128, H, W]."""
        modulation = convolve(self.first_modulation, first_map)
        y = convolve(self.first, modulate(normalise(x), modulation))
        modulation = convolve(self.second_modulation, second_map)
        return x + convolve(self.second, modulate(normalise(y), modulation))


class EnlargingBlock(nn.Module):
    """[B, C, H, W], features → [B, O, 2H, 2W]: a modulated block with a shortcut of its own."""

    def __init__(self, inputs: int, outputs: int, factor: int, operations: ModuleType | Any = nn):
        super().__init__()
        self.first_map = UpsampledConv(FEATURES, MAP, factor, operations=operations)
        self.second_map = UpsampledConv(FEATURES, MAP, factor, operations=operations)
        self.shortcut_map = UpsampledConv(FEATURES, MAP, factor, operations=operations)
        self.first_modulation = operations.Conv2d(MAP, 2 * inputs, 3, padding=1)
        self.second_modulation = operations.Conv2d(MAP, 2 * outputs, 3, padding=1)
        self.shortcut_gamma = operations.Conv2d(MAP, inputs, 3, padding=1)
        self.shortcut_beta = operations.Conv2d(MAP, outputs, 3, padding=1)
        self.first = operations.Conv2d(inputs, outputs, 3, padding=1)
        self.second = operations.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = operations.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """The block on the enlarged x, which is never made."""
        x = normalise(x)
        shortcut_map = self.shortcut_map(features)
        gain = convolve(self.shortcut_gamma, shortcut_map)
        straight = self.shortcut(repeat_times(x, gain))
        straight += convolve(self.shortcut_beta, shortcut_map)
        modulation = convolve(self.first_modulation, self.first_map(features))
        y = convolve(self.first, modulate(x, modulation))
        modulation = convolve(self.second_modulation, self.second_map(features))
        return straight + convolve(self.second, modulate(normalise(y), modulation))


class SpadeGenerator(nn.Module):
    """features [B, 256, H, W] → picture [B, 3, 8H, 8W] in 0 … 1; H = W = 64 as published."""

    def __init__(self, operations: ModuleType | Any = nn, middle: int = MIDDLE):
        super().__init__()
        self.stem = operations.Conv2d(FEATURES, WIDTH, 3, padding=1)
        self.maps = operations.Conv2d(FEATURES, middle * 2 * MAP, 3, padding=1)
        self.middle = nn.ModuleList(ModulatedBlock(WIDTH, operations) for _ in range(middle))
        self.up = nn.ModuleList(EnlargingBlock(*sizes, operations) for sizes in UP)
        self.image = operations.Conv2d(UP[-1][1], 3 * 4, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """The picture."""
        features = features.contiguous(memory_format=torch.channels_last)
        x = convolve(self.stem, features)
        maps = F.relu(convolve(self.maps, features)).split(MAP, 1)
        for index, block in enumerate(self.middle):
            x = block(x, *maps[2 * index : 2 * index + 2])
        for block in self.up:
            x = block(x, features)
        return F.pixel_shuffle(self.image(F.leaky_relu(x, SLOPE)), 2).sigmoid()


def normalise(x: Tensor) -> Tensor:
    """Each channel of each picture to mean 0 and variance 1; statistics in float32."""
    variance, mean = torch.var_mean(x.float(), (2, 3), correction=0, keepdim=True)
    gain = torch.rsqrt(variance + EPS)
    return torch.addcmul((-mean * gain).to(x), x, gain.to(x))


def modulate(x: Tensor, modulation: Tensor) -> Tensor:
    """`leaky_relu(x · gamma + beta)`, x repeated to the size of the modulation [B, 2C, …]."""
    gamma, beta = modulation.chunk(2, 1)
    return F.leaky_relu_(repeat_times(x, gamma).add_(beta), SLOPE)


def repeat_times(x: Tensor, factor: Tensor) -> Tensor:
    """x [B, C, H, W], every pixel repeated, times `factor` [B, C, rH, rW], channels last."""
    height, width = x.shape[-2:]
    small = x.permute(0, 2, 3, 1)[:, :, None, :, None]
    large = factor.permute(0, 2, 3, 1).unflatten(2, (width, -1)).unflatten(1, (height, -1))
    return (large * small).flatten(1, 2).flatten(2, 3).permute(0, 3, 1, 2)


def prepare(state: StateDict) -> StateDict:
    """Published weights, rearranged for the network above."""
    state = bake_spectral_norms(state)
    middle = [f"G_middle_{index}" for index in range(MIDDLE)]
    maps = [f"{block}.norm_{norm}.mlp_shared.0" for block in middle for norm in (0, 1)]
    _join(state, maps, "maps")
    for block in middle:
        _join_modulation(state, f"{block}.norm_0")
        _join_modulation(state, f"{block}.norm_1")
    for index, (_, _, factor) in enumerate(UP):
        block = f"up_{index}"
        for norm, part in (("norm_0", "first"), ("norm_1", "second"), ("norm_s", "shortcut")):
            source = f"{block}.{norm}.mlp_shared.0"
            state.update(phase_state(state, source, f"{block}.{part}_map", factor))
        _join_modulation(state, f"{block}.norm_0")
        _join_modulation(state, f"{block}.norm_1")
        _fold_shortcut(state, block)
    return state


def _join(state: StateDict, sources: list[str], target: str) -> None:
    """Convolutions of the same input as one, or nothing where one is absent."""
    keys = [f"{source}.{entry}" for source in sources for entry in ("weight", "bias")]
    shapes = {state[key].shape[1:] for key in keys[::2] if key in state}
    if len(shapes) != 1 or any(key not in state for key in keys):
        return
    for entry in ("weight", "bias"):
        parts = [state.pop(f"{source}.{entry}") for source in sources]
        state[f"{target}.{entry}"] = torch.cat(parts)


def _join_modulation(state: StateDict, norm: str) -> None:
    """gamma and beta as one convolution, and the 1 of SPADE's 1 + gamma in its bias."""
    gamma = state.get(f"{norm}.mlp_gamma.bias")
    if gamma is not None:
        state[f"{norm}.mlp_gamma.bias"] = gamma + 1
    _join(state, [f"{norm}.mlp_gamma", f"{norm}.mlp_beta"], f"{norm}.modulation")


def _fold_shortcut(state: StateDict, block: str) -> None:
    """conv_s(x · (1 + γ) + β) = conv_s(x · (1 + γ)) + (conv_s ∘ β): no activation lies between."""
    norm, names = f"{block}.norm_s", ("mlp_gamma.bias", "mlp_beta.weight", "mlp_beta.bias")
    gamma, weight, bias = (state.get(f"{norm}.{name}") for name in names)
    shortcut = state.get(f"{block}.conv_s.weight")
    if gamma is None or weight is None or bias is None or shortcut is None:
        return
    if shortcut.ndim != 4 or shortcut.shape[1] != len(weight) or len(weight) != len(bias):
        return
    matrix = shortcut[:, :, 0, 0].double()
    state[f"{norm}.mlp_gamma.bias"] = gamma + 1
    folded = torch.einsum("oi,ichw->ochw", matrix, weight.double())
    state[f"{norm}.mlp_beta.weight"] = folded.float()
    state[f"{norm}.mlp_beta.bias"] = (matrix @ bias.double()).float()


def build(state: StateDict, metadata: dict[str, str], operations: ModuleType | Any) -> nn.Module:
    """The empty network."""
    return SpadeGenerator(operations)
