"""7 × 7 × 7 convolutions with a quarter of the multiplications, for CPUs.

Overlap-save: tiles of 16 × 16 pixels and the weights are Fourier transformed, multiplied at 144
frequencies, summed over depth and channels there, and transformed back to 10 × 10 results. The
transforms are small matrix products, which CPUs do faster than scattered small FFTs.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KERNEL, SPAN = 7, 16
TILE = SPAN - KERNEL + 1
FREQUENCIES = SPAN * (SPAN // 2 + 1)  # of a real tile
MIN_CHANNELS, MIN_PIXELS = 96, 32 * 32  # below, the transforms cost more than they save


def convolve(layer: Any, x: Tensor) -> Tensor:
    """`layer(x)`, through frequencies where that is faster.

    Args:
        layer: a 3-D convolution; one of 7 × 7 × 7, stride 1 and padding 3 is accelerated in
            float32 on a CPU, if it is `torch.nn`'s own.
        x: `[B, C, D, H, W]`.
    """
    if not _suits(layer, x):
        return layer(x)
    weight = _transformed(layer)
    return torch.cat([_convolved(volume, weight, layer.bias) for volume in x])


def _suits(layer: Any, x: Tensor) -> bool:
    if type(layer) is not nn.Conv3d or set(layer.kernel_size) != {KERNEL}:
        return False
    plain = set(layer.padding) == {KERNEL // 2} and set(layer.stride + layer.dilation) == {1}
    large = layer.in_channels >= MIN_CHANNELS and x.shape[-2:].numel() >= MIN_PIXELS
    real = x.device.type == "cpu" and x.dtype == layer.weight.dtype == torch.float32
    fixed = not (torch.is_grad_enabled() and (x.requires_grad or layer.weight.requires_grad))
    simple = layer.groups == 1 and layer.bias is not None
    return bool(plain and large and real and fixed and simple)


def _convolved(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """One volume `[C, D, H, W]` → `[1, O, D, H, W]`, a row of tiles at a time."""
    channels, depth, height, width = x.shape
    outputs = len(bias)
    rows, columns = -(-height // TILE), -(-width // TILE)
    before = KERNEL // 2
    beyond = (columns * TILE + before - width, rows * TILE + before - height)
    padded = F.pad(x.permute(1, 2, 3, 0), (0, 0, before, beyond[0], before, beyond[1]))
    tiles = padded.unfold(1, SPAN, TILE).unfold(2, SPAN, TILE)
    forward, back = _transforms()
    result = x.new_empty(depth, rows, TILE, columns, TILE, outputs)
    for row in range(rows):
        pixels = tiles[:, row].permute(3, 4, 0, 1, 2).reshape(SPAN**2, -1)
        waves = (forward @ pixels).view(2, FREQUENCIES, depth, columns, channels)
        products = _products(waves, weight).view(FREQUENCIES, -1, 2, outputs)
        values = back @ products.movedim(2, 0).reshape(2 * FREQUENCIES, -1)
        values = values.view(TILE, TILE, depth, columns, outputs)
        result[:, row] = values.permute(2, 0, 3, 1, 4) + bias
    result = result.view(depth, rows * TILE, columns * TILE, outputs)[:, :height, :width]
    return result.permute(3, 0, 1, 2)[None]


def _products(waves: Tensor, weight: Tensor) -> Tensor:
    """Waves `[2, 144, D, tiles, C]` (real, imaginary) times weights `[2, 144, 7, C, 2 · O]`,
    summed over depth, zeros outside: `[144, D · tiles, 2 · O]`."""
    _, _, depth, tiles, _ = waves.shape
    result = waves.new_zeros(FREQUENCIES, depth * tiles, weight.shape[-1])
    for tap in range(KERNEL):
        offset = tap - KERNEL // 2
        start, stop = max(0, -offset), min(depth, depth - offset)
        if start >= stop:
            continue
        target = result[:, start * tiles : stop * tiles]
        for part in range(2):
            source = waves[part, :, start + offset : stop + offset].flatten(1, 2)
            target.baddbmm_(source, weight[part, :, tap])
    return result


def _transformed(layer: Any) -> Tensor:
    """Weights at the frequencies, `[2, 144, 7, C, 2 · O]`: what a wave's real and imaginary part
    add to the real and imaginary parts of the outputs. Renewed when the layer's have changed."""
    weight = layer.weight
    state = (weight.data_ptr(), 0 if weight.is_inference() else weight._version)
    if getattr(layer, "_fourier_state", None) != state:
        # The layer correlates, which is multiplying with the conjugate.
        waves = torch.fft.rfft2(weight.detach(), s=(SPAN, SPAN)).conj()
        waves = waves.permute(3, 4, 2, 1, 0).reshape(FREQUENCIES, KERNEL, *weight.shape[1::-1])
        real = torch.cat([waves.real, waves.imag], -1)
        imaginary = torch.cat([-waves.imag, waves.real], -1)
        layer._fourier_state, layer._fourier_weight = state, torch.stack([real, imaginary])
    return layer._fourier_weight


@cache
def _transforms() -> tuple[Tensor, Tensor]:
    """From tiles to waves `[2 · 144, 256]`, and from waves to results `[100, 2 · 144]`."""
    with torch.inference_mode(False):
        pixels = torch.eye(SPAN**2, dtype=torch.float64).view(-1, SPAN, SPAN)
        waves = torch.fft.rfft2(pixels).flatten(1)
        forward = torch.cat([waves.real, waves.imag], 1).T
        units = torch.eye(FREQUENCIES, dtype=torch.float64).to(torch.complex128)
        units = torch.cat([units, 1j * units]).view(-1, SPAN, SPAN // 2 + 1)
        results = torch.fft.irfft2(units, s=(SPAN, SPAN))[:, :TILE, :TILE]
        return forward.float().contiguous(), results.flatten(1).T.float().contiguous()
