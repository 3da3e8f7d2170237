"""LivePortrait's three small networks: stitching, lip retargeting and eye retargeting.

Source: Guo et al. 2024, section 3.3. Each looks at keypoints and says by how much to move them:
stitching, so that the crop fits the rest of the picture; the others, so that lips or eyes open as
far as asked.
"""

from __future__ import annotations

from itertools import pairwise
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from .keypoints import NUM_KEYPOINTS

STITCHING = (126, 128, 128, 64, 65)
LIP = (65, 128, 128, 64, 63)
EYE = (66, 256, 256, 128, 128, 64, 63)
# Corner to corner and lid to lid, in the order of the 203 landmarks and of iBUG's 68.
OPENINGS: dict[int, dict[str, tuple[tuple[Any, ...], ...]]] = {
    203: {"eyes": ((6, 18, 0, 12), (30, 42, 24, 36)), "lip": ((90, 102, 48, 66),)},
    68: {"eyes": (((37, 38), (41, 40), 36, 39), ((43, 44), (47, 46), 42, 45)),
         "lip": ((62, 66, 60, 64),)},
}  # fmt: skip


class Retargeting(nn.Module):
    """Linear layers with ReLU between them: x [B, widths[0]] → [B, widths[-1]]."""

    def __init__(self, widths: tuple[int, ...], operations: ModuleType | Any = nn):
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [operations.Linear(inputs, outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """What to add to the keypoints."""
        return self.layers(x)


def stitch(network: nn.Module, source: Tensor, driving: Tensor) -> Tensor:
    """Driving keypoints `[B, 21, 3]` moved so that shoulders and hair stay where the source
    `[1, 21, 3]` has them."""
    source = source.expand_as(driving)
    change = network(torch.cat([source.flatten(1), driving.flatten(1)], 1))
    offset, shift = change[:, :-2].reshape_as(driving), change[:, -2:]
    return driving + offset + torch.nn.functional.pad(shift, (0, 1))[:, None]


def retarget(network: nn.Module, source: Tensor, ratios: Tensor) -> Tensor:
    """Offsets `[B, 21, 3]` that open lips or eyes from the source's ratios to the wanted one.

    Args:
        network: lip or eye retargeting.
        source: keypoints `[1, 21, 3]` of the portrait.
        ratios: `[B, 2]` lips (source, wanted), or `[B, 3]` eyes (left, right, wanted left).
    """
    keypoints = source.flatten(1).expand(len(ratios), -1)
    return network(torch.cat([keypoints, ratios.to(keypoints)], 1)).reshape(-1, NUM_KEYPOINTS, 3)


def eye_ratios(landmarks: Tensor) -> Tensor:
    """How far the eyes are open, height over width, `[B, 68 or 203, 2 or 3]` → `[B, 2]`."""
    return _openings(landmarks, "eyes")


def lip_ratio(landmarks: Tensor) -> Tensor:
    """How far the lips are open, height over width, `[B, 68 or 203, 2 or 3]` → `[B, 1]`."""
    return _openings(landmarks, "lip")


def _openings(landmarks: Tensor, part: str) -> Tensor:
    points = landmarks[..., :2].float()
    ratios = []
    for upper, lower, left, right in OPENINGS[points.shape[1]][part]:
        height, width = (_distance(points, *ends) for ends in ((upper, lower), (left, right)))
        ratios.append(height / (width + 1e-6))
    return torch.stack(ratios, -1)


def _distance(
    points: Tensor, first: int | tuple[int, int], second: int | tuple[int, int]
) -> Tensor:
    """Between two landmarks, or the means of two pairs."""
    ends = [
        points[:, [end] if isinstance(end, int) else list(end)].mean(1) for end in (first, second)
    ]
    return (ends[0] - ends[1]).norm(dim=-1)


def build_stitching(
    state: dict[str, Tensor], metadata: dict[str, str], operations: ModuleType | Any
) -> nn.Module:
    """The empty stitching network."""
    return Retargeting(STITCHING, operations)


def build_lip(
    state: dict[str, Tensor], metadata: dict[str, str], operations: ModuleType | Any
) -> nn.Module:
    """The empty lip retargeting network."""
    return Retargeting(LIP, operations)


def build_eye(
    state: dict[str, Tensor], metadata: dict[str, str], operations: ModuleType | Any
) -> nn.Module:
    """The empty eye retargeting network."""
    return Retargeting(EYE, operations)
