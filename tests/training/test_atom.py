"""The recipe of the small AToM learns, and leaves a file that loads."""

import numpy as np
import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.motion.atom_small import AToMSmallConfig
from soliloquy.training.atom import WEIGHTS, AToMRecipe, atom_loss, build
from soliloquy.training.loop import LoopConfig

from .test_atom_data import speakers

SMALL = AToMSmallConfig(width=16, depth=1, frames=24)


def recipe(**changes):
    loop = LoopConfig(steps=12, learning_rate=5e-3, warmup=2, log_every=6)
    return AToMRecipe(**{"network": SMALL, "loop": loop, "batch": 3, **changes})


@pytest.mark.parametrize("residual", [True, False])
def test_what_is_predicted_is_standardised(residual):
    config = AToMSmallConfig(width=16, depth=1, frames=24, residual=residual)
    made = recipe(network=config)
    network, batch = build(made, speakers()), made.draw(speakers(), 3)
    said = network.standardise(batch.landmarks, batch.first)
    assert float(said.abs().max()) < 12
    assert network.deviation.min() > 0
    value, parts = atom_loss(network, batch, made)
    assert torch.isfinite(value)
    assert set(parts) == {"error", "velocity", "lips"}


def test_a_run_leaves_weights_that_load(tmp_path):
    folder, made = tmp_path / "data" / "train", recipe(data=tmp_path / "data")
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    features = random.normal(size=(2, 100, 192)).astype(np.float16)
    motion = random.random((2, 2, 50, 59)).astype(np.float16)
    np.savez(folder / "0000.npz", features=features, motion=motion)
    seen = []
    made.run(tmp_path / "run", lambda step, parts, _: seen.append((step, parts["error"])))
    assert [step for step, _ in seen] == [6, 12]
    assert seen[1][1] < seen[0][1]
    network = checkpoints.load("moditalker_motion", tmp_path / "run" / WEIGHTS)
    assert network.config == SMALL
