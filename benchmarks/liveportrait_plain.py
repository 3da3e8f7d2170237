"""LivePortrait's warping network and generator as the papers describe them, one step after another.

The slow side of `liveportrait.py`: functions of the published state dict, without any of the
rearrangements of `models/render/liveportrait`. Spectral norms are baked beforehand.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

StateDict = dict[str, Tensor]
MOTION = "dense_motion_network"


def warping(state: StateDict, features: Tensor, source: Tensor, driving: Tensor) -> Tensor:
    """feature_3d [1, 32, 16, 64, 64], keypoints [1, 21, 3] → [1, 256, 64, 64]."""
    compressed = F.relu(
        _batch_norm(state, f"{MOTION}.norm", _conv(state, f"{MOTION}.compress", features))
    )
    size = features.shape[2:]
    grid = _grid(size, features.device)
    motions = torch.cat([grid[None], grid - driving[0][:, None, None, None] + _points(source)])
    repeated = compressed.repeat(len(motions), 1, 1, 1, 1)
    moved = F.grid_sample(repeated, motions, align_corners=False)
    heat = _gaussian(grid, driving) - _gaussian(grid, source)
    heat = torch.cat([torch.zeros_like(heat[:1]), heat])
    x = torch.cat([heat[:, None], moved], 1).reshape(1, -1, *size)
    x = _hourglass(state, f"{MOTION}.hourglass", x)
    mask = _conv(state, f"{MOTION}.mask", x, 3).softmax(1)
    deformation = (mask[0, :, None] * motions.movedim(-1, 1)).sum(0).movedim(0, -1)[None]
    occlusion = _conv(state, f"{MOTION}.occlusion", x.flatten(1, 2), 3).sigmoid()
    x = F.grid_sample(features, deformation, align_corners=False).flatten(1, 2)
    x = F.leaky_relu(_batch_norm(state, "third.norm", _conv(state, "third.conv", x, 1)), 0.01)
    return _conv(state, "fourth", x) * occlusion


def generator(state: StateDict, features: Tensor) -> Tensor:
    """features [1, 256, 64, 64] → picture [1, 3, 512, 512]."""
    x = _conv(state, "fc", features, 1)
    for index in range(6):
        x = _spade_block(state, f"G_middle_{index}", x, features)
    for index in range(2):
        x = _spade_block(state, f"up_{index}", F.interpolate(x, scale_factor=2), features)
    return F.pixel_shuffle(_conv(state, "conv_img.0", F.leaky_relu(x, 0.2), 1), 2).sigmoid()


def _spade_block(state: StateDict, name: str, x: Tensor, features: Tensor) -> Tensor:
    y = F.leaky_relu(_spade(state, f"{name}.norm_0", x, features), 0.2)
    y = _conv(state, f"{name}.conv_0", y, 1)
    y = F.leaky_relu(_spade(state, f"{name}.norm_1", y, features), 0.2)
    y = _conv(state, f"{name}.conv_1", y, 1)
    if f"{name}.conv_s.weight" in state:
        x = _conv(state, f"{name}.conv_s", _spade(state, f"{name}.norm_s", x, features))
    return x + y


def _spade(state: StateDict, name: str, x: Tensor, features: Tensor) -> Tensor:
    features = F.interpolate(features, size=x.shape[2:])
    shared = F.relu(_conv(state, f"{name}.mlp_shared.0", features, 1))
    gamma, beta = (_conv(state, f"{name}.mlp_{part}", shared, 1) for part in ("gamma", "beta"))
    return F.instance_norm(x) * (1 + gamma) + beta


def _hourglass(state: StateDict, name: str, x: Tensor) -> Tensor:
    skips = [x]
    for index in range(5):
        x = _conv_norm_relu(state, f"{name}.encoder.down_blocks.{index}", skips[-1])
        skips.append(F.avg_pool3d(x, (1, 2, 2)))
    x = skips.pop()
    for index in range(5):
        x = F.interpolate(x, scale_factor=(1, 2, 2))
        x = _conv_norm_relu(state, f"{name}.decoder.up_blocks.{index}", x)
        x = torch.cat([x, skips.pop()], 1)
    return _conv_norm_relu(state, f"{name}.decoder", x)


def _conv_norm_relu(state: StateDict, name: str, x: Tensor) -> Tensor:
    return F.relu(_batch_norm(state, f"{name}.norm", _conv(state, f"{name}.conv", x, 1)))


def _conv(state: StateDict, name: str, x: Tensor, padding: int = 0) -> Tensor:
    convolve = F.conv3d if x.ndim == 5 else F.conv2d
    return convolve(x, state[f"{name}.weight"], state.get(f"{name}.bias"), padding=padding)


def _batch_norm(state: StateDict, name: str, x: Tensor) -> Tensor:
    entries = ("running_mean", "running_var", "weight", "bias")
    return F.batch_norm(x, *(state[f"{name}.{entry}"] for entry in entries))


def _grid(size: torch.Size, device: torch.device) -> Tensor:
    axes = [torch.arange(n, device=device) * (2 / (n - 1)) - 1 for n in size]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([x, y, z], -1)


def _points(keypoints: Tensor) -> Tensor:
    return keypoints[0][:, None, None, None]


def _gaussian(grid: Tensor, keypoints: Tensor) -> Tensor:
    return torch.exp(-0.5 / 0.01 * (grid[None] - _points(keypoints)).square().sum(-1))
