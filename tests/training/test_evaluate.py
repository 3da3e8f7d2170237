"""Systems measured on prepared clips."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from soliloquy.models.motion.arkit import INDEX
from soliloquy.models.payloads import PayloadError
from soliloquy.training import evaluate as module
from soliloquy.training.evaluate import evaluate, recorded, table
from soliloquy.training.prepare import Clip, write_clip

FRAMES, FPS = 75, 25


def clip() -> Clip:
    """Three seconds in which somebody says "ah" twice a second and nods."""
    time = np.arange(FRAMES) / FPS
    sound = np.sin(np.arange(3 * 16000) * 0.06) * (np.sin(np.arange(3 * 16000) / 16000 * 12) > 0)
    weights = np.zeros((FRAMES, 52), np.float16)
    weights[:, INDEX["jawOpen"]] = 0.3 * (1 + np.sin(time * 12))
    return Clip(
        sound=(sound * 9000).astype(np.int16),
        fps=Fraction(FPS),
        weights=weights,
        rotation=np.stack([5 * np.sin(time * 6), 0 * time, 0 * time], 1).astype(np.float32),
        translation=np.zeros((FRAMES, 3), np.float32),
        scale=np.ones(FRAMES, np.float32),
        landmarks68=np.zeros((FRAMES, 68, 3), np.float32),
        size=np.array([64, 64]),
    )


def test_the_starter_is_measured_with_all_measures(tmp_path):
    write_clip(clip(), tmp_path / "one.npz")
    write_clip(clip(), tmp_path / "two.npz")
    report = evaluate(tmp_path, "starter", keyframes="energy_peaks", seeds=2)
    assert set(report) == {"one", "two", "mean"}
    assert report["one"] == report["two"]
    assert report["mean"]["head across seeds"] > 0
    assert 0 < report["mean"]["energy peaks, expression F1 ±2"] <= 1
    assert table(report).count("\n") == len(report["mean"])


def test_a_perfect_performance_scores_perfectly():
    truth = recorded(clip())
    streams = {"energy": torch.rand(truth.timeline.num_frames, 1)}
    speech = module.Speech(streams=streams, timeline=truth.timeline)
    found = module.compare(truth, truth, speech)
    assert found["lip vertex error"] == 0
    assert found["lip aperture r"] == pytest.approx(1)
    for name in ("head velocity ratio", "head jerk ratio", "face jerk ratio"):
        assert found[name] == pytest.approx(1)


def test_a_folder_without_clips_says_how_to_make_some(tmp_path):
    with pytest.raises(PayloadError, match="soliloquy prepare"):
        evaluate(tmp_path, "starter")
