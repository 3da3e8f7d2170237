"""One small training loop: AdamW, warm-up and cosine decay, and an average of the weights."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Log = Callable[[int, dict[str, float], nn.Module], None]
"""Hears the step, the mean parts of the loss since the last call, and the averaged network."""


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long and how fast."""

    steps: int
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: int = 200
    clip: float = 1.0
    average: float = 0.998  # of the weights, per step
    log_every: int = 50


def train(
    network: nn.Module,
    batches: Iterator[Any],
    loss: Callable[[nn.Module, Any], tuple[Tensor, dict[str, float]]],
    config: LoopConfig,
    on_log: Log | None = None,
) -> nn.Module:
    """Train `network` in place and return the average of its weights along the way.

    Args:
        network: in training mode, on its device.
        batches: an endless iterator.
        loss: `(network, batch)` → the value to minimise and its parts, for the log.
        config: length and speed.
        on_log: called every `log_every` steps.
    """
    average = copy.deepcopy(network).eval().requires_grad_(False)
    optimiser = torch.optim.AdamW(
        network.parameters(),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: pace(step, config))
    seen: list[dict[str, float]] = []
    began = time.monotonic()
    for step in range(1, config.steps + 1):
        value, parts = loss(network, next(batches))
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), config.clip)
        optimiser.step()
        schedule.step()
        follow(average, network, min(config.average, step / (step + 20)))
        seen.append(parts)
        if step % config.log_every == 0 or step == config.steps:
            means = {name: sum(row[name] for row in seen) / len(seen) for name in parts}
            means["seconds"] = time.monotonic() - began
            seen.clear()
            if on_log:
                on_log(step, means, average)
    return average


def pace(step: int, config: LoopConfig) -> float:
    """Factor on the learning rate: linear warm-up, then half a cosine down to a fiftieth."""
    warm = min(1.0, (step + 1) / config.warmup)
    done = min(1.0, step / config.steps)
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, momentum: float) -> None:
    """Move the averaged weights a little towards the current ones."""
    for slow, fast in zip(average.parameters(), network.parameters(), strict=True):
        slow.lerp_(fast, 1 - momentum)
