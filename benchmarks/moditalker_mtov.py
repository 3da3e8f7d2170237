"""How fast MToV draws a window of 16 frames, against the published arrangement in the same run.

The published program encodes the first frame anew for every window and the frames themselves for
nothing, sends each plane through the U-Net by itself, and writes whole attention matrices down.
Random weights of small sizes: time does not depend on their values. What is counted is the time of
the processor, so that other programs on the machine do not matter.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..models import checkpoints
from ..models.render.mtov import diffusion
from .machine import description
from .moditalker_mtov_plain import PlainAutoencoder, PlainUNet

SIDE, CHANNELS, WIDTH = 8, 256, 32  # so that encoding takes most of the time, as published
FRAMES = 16
STEPS, RATIO = 100, 0.25


def measure(windows: int = 3, repeats: int = 1) -> dict[str, Any]:
    """Time both arrangements, print a table, and return the numbers."""
    report = {"benchmark": "moditalker_mtov", "machine": description(), **run(windows, repeats)}
    print("MToV on the CPU, a window of 16 frames, 25 of 100 steps, small random weights")
    for name, key in (("published arrangement", "plain_ms"), ("ours", "ours_ms")):
        print(f"  {name:<24} {report[key]:10.0f} ms")
    print(f"  {'times faster':<24} {report['speedup']:10.2f}")
    print(f"  {'largest difference':<24} {report['difference']:10.1e} (of −1 … 1)")
    return report


@torch.inference_mode()
def run(windows: int = 3, repeats: int = 1) -> dict[str, Any]:
    """Milliseconds per window, and how far the frames of both arrangements are apart.

    Args:
        windows: of the clip; the portrait is encoded once per clip or once per window.
        repeats: of the clip; the fastest counts.
    """
    plain, ours = networks()
    clip = [inputs(number) for number in range(windows)]
    reference = signal(99, still=True)
    timed: dict[str, list[float]] = {"plain": [], "ours": []}
    frames: dict[str, Tensor] = {}
    for _ in range(repeats):  # in turn, so that a busy machine slows both
        for name, arrangement, parts in (
            ("plain", published_arrangement, plain),
            ("ours", our_arrangement, ours),
        ):
            seconds, frames[name] = _timed(lambda a=arrangement, p=parts: a(p, clip, reference))
            timed[name].append(seconds * 1000 / windows)
    return {
        "plain_ms": min(timed["plain"]),
        "ours_ms": min(timed["ours"]),
        "speedup": statistics.median(
            a / b for a, b in zip(timed["plain"], timed["ours"], strict=True)
        ),
        "difference": float((frames["plain"] - frames["ours"]).abs().max()),
        "windows": windows,
    }


def networks() -> tuple[dict[str, nn.Module], dict[str, Any]]:
    """The published arrangement, and ours with the same weights."""
    torch.manual_seed(0)
    plain = {
        "autoencoder": PlainAutoencoder(side=SIDE, channels=CHANNELS),
        "motion_autoencoder": PlainAutoencoder(side=SIDE, channels=CHANNELS),
        "unet": PlainUNet(width=WIDTH),
    }
    ours = {}
    for name, module in plain.items():
        module.eval().requires_grad_(False)
        kind = "unet" if name == "unet" else "autoencoder"
        ours[name] = checkpoints.load(f"moditalker/{kind}", module.state_dict())
    return plain, ours


def signal(seed: int, *, still: bool = False) -> Tensor:
    """Random video `[1, 3, 16, S, S]` in −1 … 1."""
    random = torch.Generator().manual_seed(seed)
    size = 8 * SIDE
    video = 2 * torch.rand(1, 3, 1 if still else FRAMES, size, size, generator=random) - 1
    return video.expand(-1, -1, FRAMES, -1, -1)


def inputs(number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Frames, frames without their lower half and landmarks of a window."""
    return signal(3 * number), signal(3 * number + 1), signal(3 * number + 2)


def sampled(denoise: Callable[[Tensor, int], Tensor], clean: Tensor) -> Tensor:
    """25 steps from the noised latent, the same noise whoever asks."""
    generator = torch.Generator().manual_seed(0)
    start = diffusion.noised_start(clean, torch.randn(clean.shape, generator=generator), RATIO)
    return diffusion.sample(denoise, start, diffusion.timesteps(STEPS, RATIO), generator)


def published_arrangement(
    parts: dict[str, Any], clip: list[tuple[Tensor, Tensor, Tensor]], reference: Tensor
) -> Tensor:
    """Everything anew for each window."""
    frames = []
    for video, masked, drawn in clip:
        parts["autoencoder"].extract(video)  # computed and never used
        identity = parts["autoencoder"].extract(reference)
        condition = torch.cat(
            [parts["motion_autoencoder"].extract(drawn), parts["autoencoder"].extract(masked)], 1
        )
        still = identity[..., : SIDE * SIDE]

        def denoise(x: Tensor, t: int, condition: Tensor = condition, still: Tensor = still) -> Any:
            return parts["unet"](x, condition, still, torch.tensor([t]))

        frames.append(parts["autoencoder"].decode_from_sample(sampled(denoise, identity)))
    return torch.cat(frames)


def our_arrangement(
    parts: dict[str, Any], clip: list[tuple[Tensor, Tensor, Tensor]], reference: Tensor
) -> Tensor:
    """What the renderer does: shared work once per clip, once per window, then the steps."""
    unet, times, frames = parts["unet"], diffusion.timesteps(STEPS, RATIO), []
    of_time = unet.modulations(torch.tensor(times))
    identity = parts["autoencoder"].extract(reference)
    for _, masked, drawn in clip:
        condition = unet.condition(
            torch.cat(
                [parts["motion_autoencoder"].extract(drawn), parts["autoencoder"].extract(masked)],
                dim=1,
            ),
            identity,
        )

        def denoise(x: Tensor, t: int, condition: Any = condition) -> Tensor:
            i = times.index(t)
            rows = [[part[i : i + 1] for part in block] for block in of_time]
            return unet.step(x, condition, rows)

        frames.append(parts["autoencoder"].decode_from_sample(sampled(denoise, identity)))
    return torch.cat(frames)


def _timed(work: Callable[[], Tensor]) -> tuple[float, Tensor]:
    began = time.process_time()
    made = work()
    return time.process_time() - began, made
