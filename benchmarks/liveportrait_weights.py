"""Random weights with the keys and shapes of LivePortrait's published files, for benchmarks."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

StateDict = dict[str, Tensor]
Layer = tuple[str, tuple[int, ...]]
ENCODER = (110, 64, 128, 256, 512, 1024)
DECODER = ((1024, 512), (1024, 256), (512, 128), (256, 64), (128, 32))


def warping_weights(seed: int = 0) -> StateDict:
    """Weights of the warping network."""
    return _random(_warping_layers(), seed)


def generator_weights(seed: int = 0) -> StateDict:
    """Weights of the generator, spectral norms with their parts."""
    state = _random(_generator_layers(), seed)
    for key in [key for key in state if ".conv_" in key and key.endswith(".weight")]:
        u, v = _singular_vectors(state[key].flatten(1))
        state |= {f"{key}_orig": state.pop(key), f"{key}_u": u, f"{key}_v": v}
        if ".conv_s." in key:
            del state[key.replace("weight", "bias")]
    return state


def _singular_vectors(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Three power iterations from the first row: enough to be of a published norm's size."""
    v = matrix[0]
    for _ in range(3):
        u = torch.nn.functional.normalize(matrix @ v, dim=0)
        v = torch.nn.functional.normalize(matrix.T @ u, dim=0)
    return u, v


def _warping_layers() -> Iterator[Layer]:
    motion = "dense_motion_network"
    for index in range(5):
        inputs, outputs = ENCODER[index : index + 2]
        name = f"{motion}.hourglass.encoder.down_blocks.{index}"
        yield from _normed(name, (outputs, inputs, 3, 3, 3))
        inputs, outputs = DECODER[index]
        name = f"{motion}.hourglass.decoder.up_blocks.{index}"
        yield from _normed(name, (outputs, inputs, 3, 3, 3))
    yield from _normed(f"{motion}.hourglass.decoder", (142, 142, 3, 3, 3))
    yield f"{motion}.mask", (22, 142, 7, 7, 7)
    yield f"{motion}.compress", (4, 32, 1, 1, 1)
    yield f"{motion}.norm", (4,)
    yield f"{motion}.occlusion", (1, 2272, 7, 7)
    yield from _normed("third", (256, 512, 3, 3))
    yield "fourth", (256, 256, 1, 1)


def _normed(name: str, shape: tuple[int, ...]) -> Iterator[Layer]:
    yield f"{name}.conv", shape
    yield f"{name}.norm", shape[:1]


def _generator_layers() -> Iterator[Layer]:
    yield "fc", (512, 256, 3, 3)
    for name, inputs, outputs in (
        *((f"G_middle_{index}", 512, 512) for index in range(6)),
        ("up_0", 512, 256),
        ("up_1", 256, 64),
    ):
        yield f"{name}.conv_0", (outputs, inputs, 3, 3)
        yield f"{name}.conv_1", (outputs, outputs, 3, 3)
        norms = {"norm_0": inputs, "norm_1": outputs}
        if inputs != outputs:
            yield f"{name}.conv_s", (outputs, inputs, 1, 1)
            norms["norm_s"] = inputs
        for norm, channels in norms.items():
            yield f"{name}.{norm}.mlp_shared.0", (128, 256, 3, 3)
            yield f"{name}.{norm}.mlp_gamma", (channels, 128, 3, 3)
            yield f"{name}.{norm}.mlp_beta", (channels, 128, 3, 3)
    yield "conv_img.0", (12, 64, 3, 3)


def _random(layers: Iterator[Layer], seed: int) -> StateDict:
    random = torch.Generator().manual_seed(seed)
    state: StateDict = {}
    for name, shape in layers:
        weight = torch.randn(shape, generator=random)
        state[f"{name}.bias"] = 0.05 * torch.randn(shape[:1], generator=random)
        if len(shape) > 1:
            state[f"{name}.weight"] = weight / math.sqrt(math.prod(shape[1:]))
            continue
        state[f"{name}.weight"] = 1 + 0.1 * weight
        state[f"{name}.running_mean"] = 0.05 * torch.randn(shape, generator=random)
        state[f"{name}.running_var"] = 1 + 0.2 * torch.randn(shape, generator=random).abs()
        state[f"{name}.num_batches_tracked"] = torch.tensor(0)
    return state
