"""How long ATL-Diff's published U-Net takes for a second of video, and where that time goes.

A part of one segment, cut along the rows, through a candidate configuration with random weights:
speed does not depend on their values. The reference arrangement is a call per step with the context
repeated for every row (`atl_diff_plain.py`), as the published program does it; ours computes the
context once. What is measured is multiplied up to the segment of 128 rows and to 8 steps.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..models import checkpoints
from ..models.render.identity_diffusion.process import STEPS
from ..models.render.identity_diffusion.unet3d import UNet3D, config_from
from .atl_diff_plain import PlainUNet3D
from .machine import description

SQUARE, SEGMENT = 128, 32  # pixels, frames that the published program draws for a second
TOKENS = 64  # of the identity
SHARED = {
    "in_channels": 3,
    "out_channels": 3,
    "attention_head_dim": 8,
    "norm_num_groups": 32,
    "cross_attention_dim": 32,
    "block_out_channels": [32, 64, 128],
    "layers_per_block": 2,
}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "A3": {
        **SHARED,
        "down_block_types": ["DownBlock3D"] * 3,
        "up_block_types": ["UpBlock3D"] * 3,
    },
    "A2": {
        **SHARED,
        "down_block_types": ["DownBlock3D", "CrossAttnDownBlock3D", "CrossAttnDownBlock3D"],
        "up_block_types": ["CrossAttnUpBlock3D", "CrossAttnUpBlock3D", "UpBlock3D"],
    },
}
GROUPS = (  # what operators of the profiler are called here; the first that fits counts
    ("convolutions", ("convolution", "conv")),
    ("attention", ("attention", "softmax")),
    ("linear layers", ("mm", "linear")),
    ("norms and activations", ("norm", "silu", "gelu")),
)


def measure(rows: int = 32, repeats: int = 2, candidate: str = "A3") -> dict[str, Any]:
    """Time both arrangements in turns, print a table, and return the numbers.

    Args:
        rows: of the square's 128, which is what a segment is cut down to.
        repeats: of each, after a first pair that does not count.
        candidate: a key of `CONFIGURATIONS`.
    """
    report = {
        "benchmark": "atl_diff",
        "machine": description(),
        **run(rows, repeats, candidate),
    }
    print(f"ATL-Diff's U-Net, candidate {candidate}, {rows} of {SQUARE} rows, random weights, CPU")
    for name in ("reference", "ours"):
        print(f"  {name:<12} {report[f'{name}_step_s']:8.3f} s a step of these rows,")
        print(f"  {'':<12} {report[f'{name}_second_s']:8.1f} s a second of video")
        for part, share in report[f"{name}_shares"].items():
            print(f"  {'':<14} {part:<24} {100 * share:5.1f} %")
    print(
        f"  ours is {report['ratio']:.2f} times as fast; largest difference {report['error']:.1e}"
    )
    return report


def run(rows: int = 32, repeats: int = 2, candidate: str = "A3") -> dict[str, Any]:
    """The numbers.

    Returns:
        `reference_step_s`, `ours_step_s` (medians of processor time), `…_second_s` of them for a
        second of video, `ratio`, `error` (largest difference over the deviation of the output),
        `context_s` (once per clip), and `…_shares` of the time by kind of operation.
    """
    torch.manual_seed(0)
    config = CONFIGURATIONS[candidate]
    plain = PlainUNet3D(config_from(config)).eval().requires_grad_(False)
    network = checkpoints.load("atl_diff/unet3d", plain.state_dict(), config=config)
    assert isinstance(network, UNet3D)
    clip = torch.randn(1, 3, rows, SQUARE, SEGMENT)
    context = torch.randn(1, TOKENS, SHARED["cross_attention_dim"])
    with torch.inference_mode():
        prepared = network.condition(context)

        def ours() -> Tensor:
            return network.denoise(clip, 500, prepared)

        def reference() -> Tensor:
            return plain(clip, 500, context)

        expected = reference()
        error = float((ours() - expected).abs().max() / expected.std())
        # In turns, so that whatever else the machine does troubles both alike.
        pairs = [(seconds(reference), seconds(ours)) for _ in range(repeats)]
        slow, fast = (statistics.median(times) for times in zip(*pairs, strict=True))
        result: dict[str, Any] = {
            "candidate": candidate,
            "rows": rows,
            "context_s": round(seconds(lambda: network.condition(context)), 5),
            "ratio": round(slow / fast, 3),
            "error": error,
        }
        for name, step, call in (("reference", slow, reference), ("ours", fast, ours)):
            result[f"{name}_step_s"] = round(step, 4)
            result[f"{name}_second_s"] = round(step * STEPS * SQUARE / rows, 2)
            result[f"{name}_shares"] = shares(call)
    return result


def seconds(function: Callable[[], Any]) -> float:
    """Processor time of one call: other programs on a busy machine do not count."""
    began = time.process_time()
    function()
    return time.process_time() - began


def shares(function: Callable[[], Any]) -> dict[str, float]:
    """Which kind of operation takes which share of the time."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        function()
    times = dict.fromkeys([name for name, _ in GROUPS] + ["moving and adding"], 0.0)
    for event in profile.key_averages():
        kinds = [name for name, words in GROUPS if any(word in event.key for word in words)]
        times[kinds[0] if kinds else "moving and adding"] += event.self_cpu_time_total
    whole = sum(times.values())
    return {name: round(value / whole, 3) for name, value in times.items()}
