"""The training loop."""

import itertools
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from soliloquy.models.payloads import PayloadError
from soliloquy.training.loop import LoopConfig, pace, recorded, train
from torch import nn


def test_it_learns_a_line_and_returns_the_average():
    torch.manual_seed(0)
    network = nn.Linear(1, 1)
    x = torch.linspace(-1, 1, 32)[:, None]

    def loss(model: nn.Module, batch: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
        error = (model(batch) - (3 * batch + 1)).square().mean()
        return error, {"error": float(error.detach())}

    log: list[tuple[int, float]] = []
    config = LoopConfig(steps=300, learning_rate=0.05, warmup=10, average=0.9, log_every=100)
    average = train(
        network, itertools.repeat(x), loss, config, lambda s, p, n: log.append((s, p["error"]))
    )
    assert [step for step, _ in log] == [100, 200, 300]
    assert log[-1][1] < log[0][1]
    assert abs(float(average.weight) - 3) < 0.1
    assert not average.training


@dataclass(frozen=True)
class Data:
    corpus: Path = Path("/data/speech/corpus")
    start: Path | None = None


@dataclass(frozen=True)
class Recipe:
    data: Data = field(default_factory=Data)
    output: Path = Path("/data/runs/first")
    steps: int = 3


def test_weight_files_are_told_the_recipe_but_not_where_its_files_lie():
    told = recorded(Recipe())
    assert "/" not in told
    assert "corpus" in told
    assert "first" in told
    assert "steps=3" in told
    assert Recipe().output == Path("/data/runs/first")


def test_the_pace_warms_up_and_slows_down():
    config = LoopConfig(steps=1000, warmup=100)
    assert pace(0, config) < 0.02
    assert pace(100, config) > 0.9
    assert abs(pace(1000, config) - 0.02) < 1e-6


def test_without_accelerate_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(PayloadError, match=r"pip install \"soliloquy\[train\]\""):
        train(nn.Linear(1, 1), itertools.repeat(None), None, LoopConfig(steps=1))
