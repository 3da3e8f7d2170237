"""LivePortrait's motion extractor: head pose, expression and canonical keypoints of a picture.

A ConvNeXt V2-Tiny (Woo et al. 2023) with seven linear heads. Run it in fp32: 17 of the 63
expression numbers hardly ever move, and KDTalker divides by how much they do.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

StateDict = dict[str, Tensor]
DEPTHS, WIDTHS = (3, 3, 9, 3), (96, 192, 384, 768)
HEADS = {"pitch": 66, "yaw": 66, "roll": 66, "t": 3, "exp": 63, "scale": 1, "kp": 63}
EPS = 1e-6


class GlobalResponseNorm(nn.Module):
    """Channels compete by their energy (Woo et al. 2023, eq. 1–3): [B, H, W, C] → the same."""

    def __init__(self, channels: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, channels))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, channels))

    def forward(self, x: Tensor) -> Tensor:
        """The calibrated features, added to what came in."""
        energy = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)
        share = energy / (energy.mean(-1, keepdim=True) + EPS)
        return self.gamma.to(x) * (x * share) + self.beta.to(x) + x


class ConvNeXtBlock(nn.Module):
    """Depthwise 7 × 7, norm, widen by four, GELU, response norm, narrow, sum: [B, H, W, C]."""

    def __init__(self, channels: int, operations: ModuleType | Any = nn):
        super().__init__()
        self.depthwise = operations.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = operations.LayerNorm(channels, eps=EPS)
        self.widen = operations.Linear(channels, 4 * channels)
        self.response = GlobalResponseNorm(4 * channels)
        self.narrow = operations.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """One block."""
        y = self.norm(_over_picture(self.depthwise, x))
        return x + self.narrow(self.response(F.gelu(self.widen(y))))


class MotionExtractor(nn.Module):
    """image [B, 3, 256, 256] in 0 … 1 → `pitch`, `yaw`, `roll` [B, 66] as bins, `t` [B, 3],
    `exp` and `kp` [B, 63], `scale` [B, 1]."""

    def __init__(
        self,
        operations: ModuleType | Any = nn,
        depths: tuple[int, ...] = DEPTHS,
        widths: tuple[int, ...] = WIDTHS,
    ):
        super().__init__()
        inputs = (3, *widths)
        self.down = nn.ModuleList(
            operations.Conv2d(inputs[i], width, *((4, 4) if i == 0 else (2, 2)))
            for i, width in enumerate(widths)
        )
        # After the first shrinking, before the others.
        self.down_norms = nn.ModuleList(
            operations.LayerNorm(widths[max(i - 1, 0)], eps=EPS) for i in range(len(widths))
        )
        self.stages = nn.ModuleList(
            nn.Sequential(*(ConvNeXtBlock(width, operations) for _ in range(depth)))
            for depth, width in zip(depths, widths, strict=True)
        )
        self.norm = operations.LayerNorm(widths[-1], eps=EPS)
        self.heads = nn.ModuleDict(
            {name: operations.Linear(widths[-1], size) for name, size in HEADS.items()}
        )

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """The raw heads by name."""
        x = self.stages[0](self.down_norms[0](_over_picture(self.down[0], image.movedim(1, -1))))
        for down, norm, stage in zip(
            self.down[1:], self.down_norms[1:], self.stages[1:], strict=True
        ):
            x = stage(_over_picture(down, norm(x)))
        x = self.norm(x.mean((1, 2)))
        return {name: head(x) for name, head in self.heads.items()}


def _over_picture(convolution: nn.Module, x: Tensor) -> Tensor:
    """A convolution on features with channels last, `[B, H, W, C]`."""
    return convolution(x.movedim(-1, 1)).movedim(1, -1)


def build(state: StateDict, metadata: dict[str, str], operations: ModuleType | Any) -> nn.Module:
    """The empty network."""
    return MotionExtractor(operations)
