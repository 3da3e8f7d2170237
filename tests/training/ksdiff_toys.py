"""Small networks and data for the tests of KSDiff's recipe."""

from pathlib import Path

import numpy as np
from soliloquy.models.motion.ksdiff import PathConfig
from soliloquy.models.speech.dual_path import DualPathConfig
from soliloquy.training.ksdiff import KSDiffRecipe
from soliloquy.training.ksdiff_data import DRAWS, FRAMES, Sessions
from soliloquy.training.loop import LoopConfig

SPEECH = DualPathConfig(inputs=8, width=8, heads=2, groups=2, dilations=(1, 2))
SMALL = PathConfig(speech=8, text=8, width=16, heads=2, inner=16, layers=2)


def recipe(data: Path, **changes) -> KSDiffRecipe:
    """A recipe of seconds."""
    small = {
        "speech": SPEECH,
        "expression": SMALL,
        "pose": PathConfig(channels=7, speech=8, text=8, width=16, heads=2, inner=16, layers=2),
        "both": PathConfig(
            channels=59, speech=16, text=8, width=16, heads=2, inner=16, layers=2, keyframes=2
        ),
        "loop": LoopConfig(steps=4, warmup=1, log_every=2, save_every=2),
        "batch": 3,
    }
    return KSDiffRecipe(data=data, **{**small, **changes})


def sessions(count: int = 3, seed: int = 0) -> Sessions:
    """Sessions of noise, in which faces move smoothly."""
    source = np.random.default_rng(seed)
    time = np.arange(FRAMES)[:, None] / 25
    phase = source.uniform(0, 6, (count, DRAWS, 1, 59))
    motion = 0.3 + 0.2 * np.sin(2 * np.pi * source.uniform(0.3, 3, 59) * time + phase)
    return Sessions(
        features=source.normal(size=(count, 2 * FRAMES, 8)).astype(np.float16),
        prosody=source.normal(size=(count, 2 * FRAMES, 2)).astype(np.float16),
        motion=motion.astype(np.float16),
        text=source.integers(1, 28, (count, 40)).astype(np.uint8),
        times=np.sort(source.uniform(0, FRAMES, (count, 40)), axis=1).astype(np.float32),
        frames=np.full(count, FRAMES),
    )


def write(folder: Path, count: int = 3) -> Path:
    """A data folder of one file of sessions."""
    (folder / "train").mkdir(parents=True)
    np.savez(folder / "train" / "0000.npz", **vars(sessions(count)))
    return folder
