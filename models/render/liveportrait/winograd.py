"""3 × 3 convolutions with a quarter of the multiplications, for CPUs.

Winograd's minimal filtering F(4 × 4, 3 × 3) (Lavin and Gray 2016): tiles of 6 × 6 pixels and the
weights are evaluated as polynomials at six points per direction, multiplied there, and interpolated
to 4 × 4 results. With the points 0, 1, −1, 2, −½ and ∞ the error in float32 is that of the direct
sum, which the usual choice ±2 doubles. Graphics cards have such kernels of their own.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

POINTS = (0.0, 1.0, -1.0, 2.0, -0.5)  # and infinity
TILE, KERNEL = 4, 3
SPAN = TILE + KERNEL - 1  # pixels of input per tile and direction
AT_ONE = SPAN + 1  # the product at the points (1, 1), whose share in every result is 1
MIN_CHANNELS, MIN_PIXELS = 96, 32 * 32  # of all images; below, the transforms cost too much
CHUNK = 2**24  # bytes of transformed pixels at a time: they should stay in the cache


def convolve(layer: Any, x: Tensor) -> Tensor:
    """`layer(x)`, by Winograd's algorithm where that is faster.

    Args:
        layer: a convolution; a 3 × 3 (× 3) one of stride 1 and padding 1 is accelerated in float32
            on a CPU, if it is `torch.nn`'s own.
        x: `[B, C, H, W]` or `[B, C, D, H, W]`.
    """
    if not _suits(layer, x):
        return layer(x)
    weight = _transformed(layer)
    if x.ndim == 4:
        return _by_rows(x[:, :, None], weight, layer.bias)[:, :, 0]
    return torch.cat([_by_rows(volume[None], weight, layer.bias) for volume in x])


def _suits(layer: Any, x: Tensor) -> bool:
    if type(layer) not in (nn.Conv2d, nn.Conv3d) or set(layer.kernel_size) != {KERNEL}:
        return False
    plain = set(layer.padding) == set(layer.stride) == set(layer.dilation) == {1}
    # Small volumes have many channels: their weights at the points would fill the memory.
    pixels = x[:, 0].numel() if x.ndim == 4 else x.shape[-2:].numel()
    large = min(layer.weight.shape[:2]) >= MIN_CHANNELS and pixels >= MIN_PIXELS
    real = x.device.type == "cpu" and x.dtype == layer.weight.dtype == torch.float32
    fixed = not (torch.is_grad_enabled() and (x.requires_grad or layer.weight.requires_grad))
    simple = layer.groups == 1 and layer.bias is not None
    return bool(plain and large and real and fixed and simple)


def _by_rows(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`[B, C, D, H, W]`, a few rows of tiles at a time; either B or the weights' depth is 1."""
    batch, channels, depth, height, width = x.shape
    taps, outputs = weight.shape[1], weight.shape[3]
    rows, columns = -(-height // TILE), -(-width // TILE)
    beyond = (TILE * columns + 1 - width, TILE * rows + 1 - height)
    margin = taps // 2
    padding = (0, 0, 1, beyond[0], 1, beyond[1], margin, margin)
    padded = F.pad(x.permute(0, 2, 3, 4, 1), padding)
    tiles = padded.unfold(2, SPAN, TILE).unfold(3, SPAN, TILE).permute(5, 6, 0, 1, 2, 3, 4)
    result = x.new_empty(batch, depth, rows, TILE, columns, TILE, outputs)
    slices = batch * (depth + 2 * margin)
    step = max(1, CHUNK // (4 * SPAN**2 * slices * columns * max(channels, outputs)))
    for row in range(0, rows, step):
        part = tiles[:, :, :, :, row : row + step]
        count = part.shape[4] * columns
        points = _multiply(_matrices()[0], part).view(SPAN**2, slices, count, channels)
        products = _products(points, weight, bias)
        values = _multiply(_matrices()[1], products).view(
            TILE, TILE, batch, depth, -1, columns, outputs
        )
        result[:, :, row : row + step] = values.permute(2, 3, 4, 0, 5, 1, 6)
    result = result.view(batch, depth, rows * TILE, columns * TILE, outputs)
    return result[:, :, :height, :width].permute(0, 4, 1, 2, 3)


def _products(points: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Pixels `[36, slices, tiles, C]` times weights `[36, taps, C, O]`, summed over depth."""
    taps = weight.shape[1]
    depth = points.shape[1] - taps + 1
    windows = (points[:, k : k + depth].flatten(1, 2) for k in range(taps))
    products = torch.bmm(next(windows), weight[:, 0])
    for k, window in enumerate(windows, start=1):
        products.baddbmm_(window, weight[:, k])
    products[AT_ONE] += bias
    return products


def _multiply(matrix: Tensor, values: Tensor) -> Tensor:
    return matrix @ values.reshape(matrix.shape[1], -1)


def _transformed(layer: Any) -> Tensor:
    """Weights at the points, `[36, taps, C, O]`; computed again when the layer's have changed."""
    weight = layer.weight
    version = 0 if weight.is_inference() else weight._version
    state = (weight.data_ptr(), version)
    if getattr(layer, "_winograd_state", None) != state:
        outputs, inputs = weight.shape[:2]
        kernels = weight.detach().double().reshape(outputs, inputs, -1, KERNEL**2)
        values = torch.einsum("pk,oitk->ptio", _matrices()[2], kernels)
        # The state last: another thread that finds it takes the weights.
        layer._winograd_weight, layer._winograd_state = values.float().contiguous(), state
    return layer._winograd_weight


@cache
def _matrices() -> tuple[Tensor, Tensor, Tensor]:
    """What evaluates pixels `[36, 36]`, interpolates `[16, 36]` and evaluates weights `[36, 9]`."""
    with torch.inference_mode(False):
        evaluate = torch.linalg.inv(_powers(SPAN)).mT
        size = evaluate.abs().amax(1, keepdim=True)  # rows of one size round evenly
        pixels, weights, results = evaluate / size, _powers(KERNEL) * size, _powers(TILE).mT
        both = (torch.kron(matrix.contiguous(), matrix.contiguous()) for matrix in
                (pixels, results, weights))  # fmt: skip
        first, second, third = both
        return first.float(), second.float(), third


def _powers(count: int) -> Tensor:
    """`[6, count]`: 1, x, x², … of every point; of infinity the highest power alone."""
    points = torch.tensor(POINTS, dtype=torch.float64)
    infinity = torch.zeros(1, count, dtype=torch.float64)
    infinity[0, -1] = 1
    return torch.cat([points[:, None] ** torch.arange(count), infinity])
