"""How fast LivePortrait renders, stage by stage, and how much faster than step by step.

Random weights: speed does not depend on their values.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..models import checkpoints
from ..models.folding import bake_spectral_norms
from ..models.payloads import Motion, Portrait, Timeline
from ..models.portrait.mapping import mean_landmarks
from ..models.render.liveportrait.appearance import AppearanceExtractor
from ..models.render.liveportrait.motion_extractor import MotionExtractor
from ..models.render.liveportrait.renderer import LivePortraitRenderer
from ..models.render.liveportrait.retargeting import EYE, LIP, STITCHING, Retargeting
from ..models.render.liveportrait.source import cropped
from . import liveportrait_plain
from .liveportrait_weights import generator_weights, warping_weights

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def run(
    device: str = "cpu",
    batch: int = 1,
    dtype: str = "float32",
    *,
    repeats: int = 3,
    frames: int = 0,
    compiled: bool = False,
    compare: bool = True,
) -> dict[str, Any]:
    """Milliseconds per stage and frames per second.

    Args:
        device: where to run.
        batch: frames per run of warping network and generator.
        dtype: their precision, a key of `DTYPES`.
        repeats: of every stage, after one that does not count; the median counts.
        frames: of a whole rendering at 512 × 512 with paste-back; 0 leaves it out.
        compiled: with `torch.compile`.
        compare: also time the plain implementation, frame by frame in float32.

    Returns:
        `encode_ms` per portrait; `stitch_ms`, `warping_ms`, `generator_ms`, `paste_ms` and
        `plain_ms` per frame; `ratio` of our time to the plain one's and `error`, the largest
        difference of the pictures; `frames_per_second` of warping and generator;
        `end_to_end_fps`; `peak_memory_mb`.
    """
    renderer = make_renderer(device, dtype, compiled)
    result: dict[str, Any] = {"device": device, "batch": batch, "dtype": dtype}
    with torch.inference_mode():
        result |= _stages(renderer, batch, repeats)
        if compare:
            result |= _comparison(renderer, repeats, result)
    if frames:
        result["end_to_end_fps"] = _end_to_end(renderer, batch, frames)
    result["peak_memory_mb"] = _peak_memory(renderer.device)
    return result


def make_renderer(device: str, dtype: str, compiled: bool = False) -> LivePortraitRenderer:
    """A renderer with random weights."""
    torch.manual_seed(0)
    networks = {
        "appearance": AppearanceExtractor(),
        "motion": MotionExtractor(),
        "warping": checkpoints.load("liveportrait/warping", warping_weights()),
        "generator": checkpoints.load("liveportrait/generator", generator_weights()),
        "stitching": Retargeting(STITCHING),
        "retarget_lip": Retargeting(LIP),
        "retarget_eye": Retargeting(EYE),
    }
    networks = {name: network.eval().requires_grad_(False) for name, network in networks.items()}
    return LivePortraitRenderer(networks, device=device, dtype=DTYPES[dtype], compiled=compiled)


def _stages(renderer: LivePortraitRenderer, batch: int, repeats: int) -> dict[str, float]:
    networks, (source, driving) = renderer.networks, _keypoints(renderer.device)
    volume = _volume(renderer.device).to(renderer.dtype)
    driving = driving.expand(batch, -1, -1)
    picture = torch.rand(1, 3, 256, 256, device=renderer.device)
    prepared = networks["warping"].prepare(volume, source)
    features = networks["warping"].warp(prepared, driving)
    pair = torch.cat([source.expand_as(driving).flatten(1), driving.flatten(1)], 1)
    crops = networks["generator"](features).float()
    finish = renderer._finisher(cropped(_portrait()), renderer.defaults)

    def encode() -> None:
        networks["motion"](picture)
        networks["warping"].prepare(networks["appearance"](picture).to(renderer.dtype), source)

    def median(work: Callable[[], Any], share: int = batch) -> float:
        return round(milliseconds(work, renderer.device, repeats) / share, 4)

    times = {
        "encode_ms": median(encode, 1),
        "stitch_ms": median(lambda: networks["stitching"](pair)),
        "warping_ms": median(lambda: networks["warping"].warp(prepared, driving)),
        "generator_ms": median(lambda: networks["generator"](features)),
        "frame_ms": median(lambda: renderer._paint(prepared, driving)),
        "paste_ms": median(lambda: finish(crops).cpu()),
    }
    return {**times, "frames_per_second": round(1000 / times["frame_ms"], 3)}


def _comparison(
    renderer: LivePortraitRenderer, repeats: int, stages: dict[str, Any]
) -> dict[str, float]:
    warping = {key: value.to(renderer.device) for key, value in warping_weights().items()}
    generator = bake_spectral_norms(generator_weights())
    generator = {key: value.to(renderer.device) for key, value in generator.items()}
    volume, (source, driving) = _volume(renderer.device), _keypoints(renderer.device)

    def plain() -> Tensor:
        features = liveportrait_plain.warping(warping, volume, source, driving)
        return liveportrait_plain.generator(generator, features)

    prepared = renderer.networks["warping"].prepare(volume.to(renderer.dtype), source)
    difference = plain() - renderer._paint(prepared, driving).float()
    elapsed = milliseconds(plain, renderer.device, repeats)
    return {
        "plain_ms": round(elapsed, 3),
        "ratio": round(stages["frame_ms"] / elapsed, 3),
        "error": float(difference.abs().max()),
    }


def _end_to_end(renderer: LivePortraitRenderer, batch: int, frames: int) -> float:
    random, portrait = torch.Generator().manual_seed(0), _portrait()
    motion = Motion(
        space="liveportrait",
        values=torch.randn(frames, 21, 3, generator=random) * 0.01,
        rotation=torch.zeros(frames, 3),
        translation=torch.zeros(frames, 3),
        scale=torch.ones(frames),
        timeline=Timeline.for_frames(frames, 25),
    )
    list(renderer.render(portrait, motion, batch=batch)) if renderer.device.type != "cpu" else None
    start = time.perf_counter()
    for _ in renderer.render(portrait, motion, batch=batch):
        pass
    return round(frames / (time.perf_counter() - start), 3)


def _portrait() -> Portrait:
    random = torch.Generator().manual_seed(0)
    landmarks = mean_landmarks() * 130
    landmarks[:, :2] += 256
    return Portrait(
        image=torch.randint(0, 256, (512, 512, 3), dtype=torch.uint8, generator=random),
        landmarks=landmarks,
        box=(0.0, 0.0, 512.0, 512.0),
        crop=torch.eye(3, dtype=torch.float64),
        crop_size=512,
        rotation=(0.0, 0.0, 0.0),
    )


def milliseconds(work: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """Median time of some work on a device, after one run that does not count."""
    times = []
    for _ in range(repeats + 1):
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[1:])


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.get_device_module(device).synchronize(device)


def _peak_memory(device: torch.device) -> float:
    """Of the device, or of the process where the device is a CPU, MiB."""
    if device.type != "cpu":
        return round(torch.get_device_module(device).max_memory_allocated(device) / 2**20, 1)
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)


def _volume(device: torch.device) -> Tensor:
    return torch.randn(1, 32, 16, 64, 64, generator=torch.Generator().manual_seed(1)).to(device)


def _keypoints(device: torch.device) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(2)
    source = torch.randn(1, 21, 3, generator=random) * 0.25
    driving = source + torch.randn(1, 21, 3, generator=random) * 0.03
    return source.to(device), driving.to(device)
