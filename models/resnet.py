"""ResNet-50 (He et al. 2016), the batch norms folded into its convolutions.

Two published systems look at a face with it: Deep3DFaceRecon for the coefficients of a face model
(`motion/face_model.py`), ATL-Diff for whom a portrait shows
(`render/identity_diffusion/published.py`). Here is what they share, and torchvision's own file.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn

from .folding import fold_batch_norms

BLOCKS = (3, 4, 6, 3)  # of the four stages
WIDTH = 64  # channels of the first stage inside its blocks


class Bottleneck(nn.Module):
    """Three convolutions and a way around: [B, C, H, W] → [B, 4 · width, H', W']."""

    def __init__(self, channels: int, width: int, stride: int, operations: ModuleType | Any):
        super().__init__()
        self.conv1 = operations.Conv2d(channels, width, 1)
        self.conv2 = operations.Conv2d(width, width, 3, stride, 1)
        self.conv3 = operations.Conv2d(width, 4 * width, 1)
        self.shortcut = None
        if stride != 1 or channels != 4 * width:
            self.shortcut = operations.Conv2d(channels, 4 * width, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both ways."""
        y = self.conv3(F.relu(self.conv2(F.relu(self.conv1(x)))))
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet50(nn.Module):
    """Pictures `[B, 3, H, W]` → features `[B, 32 · width]`, the mean over the picture."""

    def __init__(self, width: int = WIDTH, operations: ModuleType | Any = nn):
        super().__init__()
        self.stem = operations.Conv2d(3, width, 7, 2, 3)
        self.stages = nn.ModuleList()
        self.channels = width
        for stage, count in enumerate(BLOCKS):
            inner = width * 2**stage
            strides = [2 if stage else 1] + [1] * (count - 1)
            blocks = nn.ModuleList()
            for stride in strides:
                blocks.append(Bottleneck(self.channels, inner, stride, operations))
                self.channels = 4 * inner
            self.stages.append(blocks)

    def forward(self, pictures: Tensor) -> Tensor:
        """The features."""
        x = F.max_pool2d(F.relu(self.stem(pictures)), 3, 2, 1)
        for stage in self.stages:
            for block in cast(nn.ModuleList, stage):
                x = block(x)
        return x.mean((2, 3))


def folded(state: dict[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """torchvision's tensors with every batch norm folded into the convolution before it.

    Args:
        state: with torchvision's names.
        prefix: before the names of the network itself.
    """
    prepared = dict(state)
    for key, value in state.items():
        if key.startswith(prefix) and value.ndim == 4:
            prepared[f"{key.removesuffix('weight')}bias"] = value.new_zeros(len(value))
    rules = ((r"(.*)bn(\d)", r"\1conv\2"), (r"(.*)downsample\.1", r"\1downsample.0"))
    return fold_batch_norms(prepared, rules)


def build(
    state: dict[str, Tensor], metadata: dict[str, str], operations: ModuleType | Any = nn
) -> nn.Module:
    """The empty network, as wide as the weights."""
    return ResNet50(state["stem.weight"].shape[0], operations)
