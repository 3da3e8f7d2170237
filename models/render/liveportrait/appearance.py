"""LivePortrait's appearance extractor: a picture becomes a volume of features, once per portrait.

Source: Guo et al. 2024, section 3.1 (after face-vid2vid, Wang et al. 2021). Batch norms are folded
into the convolutions when published weights are loaded.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...folding import StateDict, fold_batch_norms

WIDTH, BLOCKS = 64, 6
VOLUME = (32, 16)  # channels and depth that the 512 channels of the last picture are split into
NORMS = (
    (r"(.*(?:first|down_blocks\.\d))\.norm", r"\1.conv"),
    (r"(.*)\.norm2", r"\1.conv1"),
)


class ResidualBlock3d(nn.Module):
    """Scale and shift, ReLU, convolution, ReLU, convolution, sum: [B, C, D, H, W] → the same."""

    def __init__(self, channels: int, operations: ModuleType | Any = nn):
        super().__init__()
        self.norm = ChannelAffine(channels)
        self.first = operations.Conv3d(channels, channels, 3, padding=1)
        self.second = operations.Conv3d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """One block."""
        return x + self.second(F.relu(self.first(F.relu(self.norm(x)))))


class ChannelAffine(nn.Module):
    """What is left of a batch norm without a convolution before it: `x · weight + bias`."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Per channel, `[B, C, …]`."""
        shape = (-1, *[1] * (x.ndim - 2))
        weight, bias = (p.to(x).reshape(shape) for p in (self.weight, self.bias))
        return x * weight + bias


class AppearanceExtractor(nn.Module):
    """image [B, 3, H, W] in 0 … 1 → features [B, 32, 16, H/4, W/4]; H = W = 256 as published."""

    def __init__(self, operations: ModuleType | Any = nn, width: int = WIDTH, blocks: int = BLOCKS):
        super().__init__()
        channels, depth = VOLUME
        self.stem = operations.Conv2d(3, width, 3, padding=1)
        self.down = nn.ModuleList(
            operations.Conv2d(width * factor, width * factor * 2, 3, padding=1) for factor in (1, 2)
        )
        self.lift = operations.Conv2d(width * 4, channels * depth, 1)
        self.blocks = nn.ModuleList(ResidualBlock3d(channels, operations) for _ in range(blocks))

    def forward(self, image: Tensor) -> Tensor:
        """The feature volume."""
        x = F.relu(self.stem(image))
        for convolution in self.down:
            x = F.avg_pool2d(F.relu(convolution(x)), 2)
        x = self.lift(x).unflatten(1, VOLUME)
        for block in self.blocks:
            x = block(x)
        return x


def prepare(state: StateDict) -> StateDict:
    """Published weights with folded batch norms."""
    return fold_batch_norms(state, NORMS)


def build(state: StateDict, metadata: dict[str, str], operations: ModuleType | Any) -> nn.Module:
    """The empty network."""
    return AppearanceExtractor(operations)
