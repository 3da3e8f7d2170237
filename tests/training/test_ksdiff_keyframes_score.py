"""Scores of keyframe predictors."""

import torch
from soliloquy.models.keyframes.predictor import KeyframePredictors, PredictorConfig
from soliloquy.training.ksdiff_keyframes import deviations
from soliloquy.training.ksdiff_keyframes_score import rows, score

from .ksdiff_toys import sessions


def test_all_draws_count():
    truth = torch.zeros(1, 2, 20, dtype=torch.bool)
    truth[0, 0, 5] = truth[0, 1, 15] = True
    guess = torch.zeros(1, 20, dtype=torch.bool)
    guess[0, 6] = True
    assert score(truth, guess, 1) == 0.5
    assert score(truth, guess, 0) == 0


def test_both_paths_are_scored_against_loudness():
    data = sessions(1)
    torch.manual_seed(0)
    network = KeyframePredictors(
        PredictorConfig(speech=8, width=8, heads=2, layers=1, dilations=(1,), horizon=10)
    )
    heard = torch.zeros(1, 3, 512, 8)
    found = {name: far for name, _, far in rows(data, deviations(data), network, heard)}
    assert len(found) == 8
    assert found["expression, loudest, at best"] >= 0
    assert all(0 <= value <= 1 for value in found.values())
