"""Losses of MToV's autoencoders: our variant's, the published one's, that of drawn landmarks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..models.render.mtov.posed import SHIFT, changed

MASK_WEIGHT = 4.0  # of the lower face, against 1 for the rest
SPEECH_WEIGHT = 8.0  # of what speech changes by a fourth of the range or more, likewise
INSIDE_WEIGHT = 30.0  # of the inside of the mouth, which is small, likewise
EDGE_WEIGHT = 0.5  # of the error in differences between neighbouring pixels
TIME_WEIGHT = 0.5  # of the error in differences between frames
LANDMARK_WEIGHT = 0.15  # of a pixel by which a landmark's skin is taken from beside it
SMOOTH_WEIGHT = 0.02  # of a pixel by which neighbours are shifted apart
PAINT_WEIGHT = 0.005  # of paint: what a shift can do is better done by it, it stays sharp
LATENT_WEIGHT = 0.01  # of the planes' squares: near −1 and 1 they would hardly change any more
MARK_WEIGHT = 10.0  # of the pixels around drawn landmarks, against 1 for the rest
BLURS = 1, 3, 7, 15  # sides of the boxes over which drawings are averaged, pixels
MOVING = [*range(2, 15), *range(48, 68)]  # landmarks that speech moves: jaw and mouth

Loss = Callable[[Any, Any], tuple[Tensor, dict[str, float]]]


def posed_loss(network: Any, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
    """Of our variant: the weighted error of the frames, of their edges and of their changes over
    time; that the skin moves with the landmarks, smoothly, and little is painted."""
    video, pose = (rearrange(batch[name], "b c t h w -> b t c h w") for name in ("video", "pose"))
    latent, change = network(
        batch["seen"], batch["pose"], batch["marks"], batch["noise"], batch["mouth"]
    )
    found = changed(pose.flatten(0, 1), change)
    spoken = (4 * (video - pose).abs().mean(2, keepdim=True) / 2).clamp(max=1)
    inside = rearrange(batch["mouth"], "b c t h w -> b t c h w")
    weight = 1 + MASK_WEIGHT * batch["shown"][:, :, None] + SPEECH_WEIGHT * spoken
    weight = weight + INSIDE_WEIGHT * inside
    parts = weighted_errors(found.view_as(video) - video, weight)
    shift, paint = change[:, :SHIFT], change[:, SHIFT:]
    parts["landmarks"] = landmark_error(shift, batch["landmarks"], batch["unspoken"])
    parts["smooth"] = shift.diff(dim=-1).abs().mean() + shift.diff(dim=-2).abs().mean()
    parts["paint"] = paint.abs().mean()
    parts["latent"] = latent.square().mean()
    return weighed(parts)


def weighted_errors(error: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """Absolute error `[B, T, C, H, W]` of pixels, of edges and of changes over time."""
    edges = [
        (error.diff(dim=axis).abs() * weight.narrow(axis, 1, weight.shape[axis] - 1)).mean()
        for axis in (-1, -2)
    ]
    return {
        "pixels": (error.abs() * weight).mean(),
        "edges": edges[0] + edges[1],
        "time": (error.diff(dim=1).abs() * weight[:, 1:]).mean(),
    }


def weighed(parts: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
    """The sum of a loss's parts, and the parts for the log."""
    weights = {
        "edges": EDGE_WEIGHT,
        "time": TIME_WEIGHT,
        "landmarks": LANDMARK_WEIGHT,
        "smooth": SMOOTH_WEIGHT,
        "paint": PAINT_WEIGHT,
        "latent": LATENT_WEIGHT,
    }
    value = torch.stack([weights.get(name, 1.0) * part for name, part in parts.items()]).sum()
    return value, {name: float(part.detach()) for name, part in parts.items()}


def landmark_error(shift: Tensor, landmarks: Tensor, unspoken: Tensor) -> Tensor:
    """How far the skin at the landmarks is taken from beside where they are in the pose, pixels.

    Args:
        shift: `[B · T, 2, H, W]`.
        landmarks: `[B, T, 68, 2]`, of the frames.
        unspoken: `[B, T, 68, 2]`, of the pose.
    """
    points = landmarks[:, :, MOVING].flatten(0, 1)
    wanted = unspoken[:, :, MOVING].flatten(0, 1) - points
    grid = (2 * points[:, None] + 1) / shift.shape[-1] - 1
    there = F.grid_sample(shift, grid, padding_mode="border", align_corners=False)[:, :, 0]
    return (there.mT - wanted).abs().mean()


def drawing_loss(network: Any, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
    """Squared error of drawn landmarks, sharp and blurred, mostly around them: of what is sharp
    alone only black would be learnt, which is nearly right."""
    drawn, found = (
        rearrange(video[:, :1], "b c t h w -> (b t) c h w")
        for video in (batch["video"], network(batch["video"]))
    )
    near = 1 + MARK_WEIGHT * F.max_pool2d((drawn + 1) / 2, 7, 1, 3)
    errors = [F.avg_pool2d(found - drawn, k, 1, k // 2) * k for k in BLURS]
    parts = {f"blur {k}": (e.square() * near).mean() for k, e in zip(BLURS, errors, strict=True)}
    value = torch.stack(list(parts.values())).sum()
    return value, {name: float(part.detach()) for name, part in parts.items()}


def picture_loss(perceive: Callable[[Tensor, Tensor], Tensor] | None, weight: float) -> Loss:
    """Of the published autoencoder: `L1 + weight · LPIPS`, LPIPS of one random frame a window."""

    def loss(network: Any, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        video = batch["video"]
        rebuilt = network(video)
        value = (rebuilt - video).abs().mean()
        parts = {"l1": float(value.detach())}
        if perceive is not None:
            frame = int(torch.randint(video.shape[2], ()))
            distance = perceive(rebuilt[:, :, frame], video[:, :, frame]).mean()
            value = value + weight * distance
            parts["lpips"] = float(distance.detach())
        return value, parts

    return loss
