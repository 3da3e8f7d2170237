"""How long ATL-Diff's published U-Net takes for a second of video, and where that time goes.

A segment goes through a candidate configuration with random weights: speed does not depend on their
values. The reference arrangement is a call per step with the context repeated for every row
(`atl_diff_plain.py`), as the published program does it; ours computes the context once. What is
measured is one step, which is multiplied up to the 8 of a segment.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from ..models import checkpoints
from ..models.render.identity_diffusion import unet3d_attention, unet3d_layers
from ..models.render.identity_diffusion.process import STEPS
from ..models.render.identity_diffusion.unet3d import UNet3D, config_from
from .atl_diff_plain import PlainUNet3D
from .machine import description

SQUARE, SEGMENT = 128, 32  # pixels, frames that the published program draws for a second
TOKENS = 64  # of the identity
WARM_UP = 8  # rows of the calls before the first that count
PROFILED = 32  # rows of the calls whose time is shared out
CONTEXT = 32  # channels of each
SHARED: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "attention_head_dim": 8,
    "norm_num_groups": 32,
    "cross_attention_dim": CONTEXT,
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
LABELLED = {"attention": (unet3d_attention, "attend"), "convolutions": (unet3d_layers, "convolve")}
"""Functions of ours that consist of several operators."""
GROUPS = (  # what operators of the profiler are called here; the first that fits counts
    ("convolutions", ("convolution", "conv")),
    ("attention", ("attention", "softmax")),
    ("linear layers", ("mm", "linear")),
    ("norms and activations", ("norm", "silu", "gelu", "addcmul", "sum", "pow")),
)
REST = "moving and adding"


def measure(rows: int = SQUARE, repeats: int = 2, candidate: str = "A3") -> dict[str, Any]:
    """Time both arrangements in turns, print a table, and return the numbers.

    Args:
        rows: of the square's 128, to cut a segment down to fewer.
        repeats: of each.
        candidate: a key of `CONFIGURATIONS`.
    """
    report = {
        "benchmark": "atl_diff",
        "machine": description(),
        **run(rows, repeats, candidate),
    }
    print(f"ATL-Diff's U-Net, candidate {candidate}, {rows} of {SQUARE} rows, random weights,")
    print(f"CPU, threads: {torch.get_num_threads()}")
    for name in ("reference", "ours"):
        print(f"  {name:<12} {report[f'{name}_step_s']:8.2f} s a step of these rows,")
        print(f"  {'':<12} {report[f'{name}_processor_s']:8.2f} s of all processors' time")
        print(f"  {'':<12} {report[f'{name}_second_s']:8.1f} s a second of video")
        for part, share in report[f"{name}_shares"].items():
            print(f"  {'':<14} {part:<24} {100 * share:5.1f} %")
    print(f"  ours is {report['ratio']:.2f} times as fast ({report['processor_ratio']:.2f} by")
    print(f"  processors' time); largest difference {report['error']:.1e}")
    return report


def run(rows: int = SQUARE, repeats: int = 2, candidate: str = "A3") -> dict[str, Any]:
    """The numbers.

    Returns:
        `reference_step_s`, `ours_step_s` (medians, by the clock) and `ratio` of them, `…_second_s`
        for a second of video, `…_processor_s` and `processor_ratio` of the time that all processors
        together were at work, `error` (largest difference over the deviation of the output),
        `context_s` (once per clip), and `…_shares` of the time by kind of operation, which are
        those of 32 rows on one thread.
    """
    torch.manual_seed(0)
    config = CONFIGURATIONS[candidate]
    plain = PlainUNet3D(config_from(config)).eval().requires_grad_(False)
    network = checkpoints.load("atl_diff/unet3d", plain.state_dict(), config=config)
    assert isinstance(network, UNet3D)
    clip = torch.randn(1, 3, rows, SQUARE, SEGMENT)
    context = torch.randn(1, TOKENS, CONTEXT)
    with torch.inference_mode():
        prepared = network.condition(context)

        def ours(clip: Tensor = clip) -> Tensor:
            return network.denoise(clip, 500, prepared)

        def reference(clip: Tensor = clip) -> Tensor:
            return plain(clip, 500, context)

        calls: dict[str, Callable[..., Tensor]] = {"reference": reference, "ours": ours}
        for call in calls.values():
            call(clip[:, :, :WARM_UP])
        drawn, result = _in_turns(calls, repeats)
        return {
            "candidate": candidate,
            "rows": rows,
            "threads": torch.get_num_threads(),
            "context_s": round(timed(lambda: network.condition(context))[1], 5),
            "error": float((drawn["ours"] - drawn["reference"]).abs().max())
            / float(drawn["reference"].std()),
            **result,
            **{
                f"{name}_second_s": round(result[f"{name}_step_s"] * STEPS * SQUARE / rows, 2)
                for name in calls
            },
            **{
                f"{name}_shares": shares(partial(call, clip[:, :, :PROFILED]))
                for name, call in calls.items()
            },
        }


def _in_turns(
    calls: dict[str, Callable[..., Tensor]], repeats: int
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """What the calls return, and their times.

    One after the other and again, so that whatever else the machine does troubles them alike.
    """
    drawn: dict[str, Tensor] = {}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            drawn[name], *seconds = timed(call)
            times[name].append((seconds[0], seconds[1]))
    result: dict[str, float] = {}
    for index, (kind, ratio) in enumerate((("step", "ratio"), ("processor", "processor_ratio"))):
        middle = {name: statistics.median(pair[index] for pair in times[name]) for name in calls}
        result |= {f"{name}_{kind}_s": round(value, 4) for name, value in middle.items()}
        result[ratio] = round(middle["reference"] / middle["ours"], 3)
    return drawn, result


def timed(function: Callable[[], Any]) -> tuple[Any, float, float]:
    """What a call returns, its seconds by the clock, and those of all processors together.

    The first is what a user waits for. The second leaves out what other programs do on a busy
    machine, but counts threads that spin while they wait for each other.
    """
    clock, processors = time.perf_counter(), time.process_time()
    value = function()
    return value, time.perf_counter() - clock, time.process_time() - processors


def shares(function: Callable[[], Any]) -> dict[str, float]:
    """Which kind of operation takes which share of the time.

    On one thread, as the profiler knows nothing of others.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with ExitStack() as labels:
        labels.callback(torch.set_num_threads, threads)
        for label, (module, name) in LABELLED.items():
            labels.enter_context(patch.object(module, name, _labelled(label, module, name)))
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            function()
    times = dict.fromkeys([name for name, _ in GROUPS] + [REST], 0.0)
    for event in profile.events() or ():
        times[_kind(event)] += event.self_cpu_time_total
    whole = sum(times.values())
    return {name: round(value / whole, 3) for name, value in times.items()}


def _labelled(label: str, module: Any, name: str) -> Callable[..., Any]:
    function = getattr(module, name)

    def call(*arguments: Any) -> Any:
        with torch.profiler.record_function(label):
            return function(*arguments)

    return call


def _kind(event: Any) -> str:
    """Of a labelled function that the event is part of, or else by the event's own name."""
    inside = event
    while inside is not None:
        if inside.name in LABELLED:
            return str(inside.name)
        inside = inside.cpu_parent
    kinds = [name for name, words in GROUPS if any(word in event.name for word in words)]
    return kinds[0] if kinds else REST
