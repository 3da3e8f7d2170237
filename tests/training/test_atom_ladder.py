"""The ladder trains every rung alike, scores what is there, and its measures know a lip."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.motion.atom_small import AToMSmallConfig
from soliloquy.models.motion.rig import load_rig
from soliloquy.training.atom import WEIGHTS, AToMRecipe
from soliloquy.training.atom_ladder import (
    RUNGS,
    climb,
    lagged,
    lip_curves,
    lip_distance,
    mean_scores,
    spread_scores,
    table,
)
from soliloquy.training.loop import LoopConfig


def test_gap_and_width_are_those_of_the_landmarks():
    face = load_rig().mean_face.clone()
    closed = lip_curves(face.flatten()[None])[0]
    face[66, 1] += 0.1
    face[54, 0] += 0.2
    opened = lip_curves(face.flatten()[None])[0]
    assert float(opened[0] - closed[0]) == pytest.approx(0.1, abs=0.02)
    assert float(opened[1] - closed[1]) == pytest.approx(0.2, abs=0.01)


def test_distance_counts_the_lips_alone_in_percent():
    truth = torch.zeros(2, 5, 204)
    guess = truth.clone().unflatten(-1, (68, 3))
    guess[..., :48, :] = 9
    guess[..., 48:, 1] = 0.02
    assert lip_distance(guess.flatten(-2), truth) == pytest.approx(2.0, abs=1e-4)


def test_a_curve_that_is_early_fits_best_at_its_lag():
    real = torch.sin(torch.arange(60) / 4.0)
    early = torch.sin((torch.arange(60) + 2) / 4.0)
    assert lagged(real, early, 2) == pytest.approx(1.0, abs=1e-6)
    assert lagged(real, early, 0) < 0.95


def test_each_rung_is_trained_once_with_its_switches(tmp_path):
    random = np.random.default_rng(0)
    for name in ("train", "held_out"):
        folder = tmp_path / name
        folder.mkdir()
        features = random.normal(size=(2, 100, 192)).astype(np.float16)
        motion = random.random((2, 2, 50, 59)).astype(np.float16)
        np.savez(folder / "0000.npz", features=features, motion=motion)
    loop = LoopConfig(steps=1, warmup=1, log_every=1)
    network = AToMSmallConfig(width=16, depth=1, frames=24)
    recipe = AToMRecipe(data=tmp_path, network=network, loop=loop, batch=2)
    seen = []
    climb(recipe, tmp_path / "runs", None, lambda name, scores: seen.append((name, scores)))
    assert [name for name, _ in seen] == list(RUNGS)
    assert all(set(s) == {"synthetic LMD", "synthetic gap", "synthetic width"} for _, s in seen)
    first = checkpoints.load("moditalker_motion", tmp_path / "runs" / "rung_0" / WEIGHTS)
    assert first.config == replace(network, residual=False, landmarks=False, disentangled=False)
    again = []
    broken = replace(recipe, batch=0)  # would fail if anything were trained again
    climb(broken, tmp_path / "runs", None, lambda name, scores: again.append((name, scores)))
    assert again == seen


def test_seeds_are_told_by_their_mean_and_how_far_they_are_apart():
    rows = [{"a": 1.0, "b": 2.0}, {"a": 2.468, "b": 2.0}]
    assert spread_scores(rows) == {"a": pytest.approx(1.468), "b": 0.0}
    assert table({"x": mean_scores(rows)}).splitlines() == [
        "| | a | b |",
        "| --- | --- | --- |",
        "| x | 1.73 | 2.00 |",
    ]
