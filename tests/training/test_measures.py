"""Measures on motions whose answer is known."""

import math

import pytest
import torch
from soliloquy.models.motion.arkit import INDEX
from soliloquy.models.motion.rig import load_rig
from soliloquy.training import measures


def marks(frames: int, *places: int) -> torch.Tensor:
    found = torch.zeros(frames, dtype=torch.bool)
    found[list(places)] = True
    return found


def test_each_keyframe_is_matched_once():
    truth = marks(40, 10, 20, 30)
    assert measures.matched(marks(40, 9, 10, 11), truth, 2) == 1
    assert measures.matched(marks(40, 12, 22, 33), truth, 2) == 2
    assert measures.matched(marks(40, 8, 12, 18), marks(40, 10, 14, 20), 2) == 3


def test_keyframe_scores_count_all_clips_together():
    pairs = [(marks(30, 5, 15), marks(30, 6, 25)), (marks(30, 3), marks(30, 3, 10))]
    score = measures.keyframe_score(pairs, tolerance=1)
    assert score.precision == pytest.approx(2 / 3)
    assert score.recall == pytest.approx(2 / 4)
    assert score.f1 == pytest.approx(4 / 7)
    assert score.rate_ratio == pytest.approx(3 / 4)
    assert measures.keyframe_score([(marks(9), marks(9))], 2).f1 == 0


def spoken(frames: int = 60) -> torch.Tensor:
    weights = torch.zeros(frames, 52)
    weights[:, INDEX["jawOpen"]] = 0.3 + 0.2 * torch.sin(torch.arange(frames) * 0.5)
    weights[:, INDEX["mouthPucker"]] = 0.3 + 0.2 * torch.cos(torch.arange(frames) * 0.7)
    return weights


def test_lips_that_are_the_same_have_no_error_and_correlate_fully():
    assert measures.lip_vertex_error(spoken(), spoken()) == 0
    assert measures.lip_correlation(spoken(), spoken()) == pytest.approx((1.0, 1.0))
    assert measures.lip_correlation(spoken(), torch.zeros(60, 52))[0] == 0


def test_lip_vertex_error_is_the_square_of_the_worst_landmark():
    one, other = torch.zeros(3, 52), torch.zeros(3, 52)
    other[:, INDEX["mouthSmileLeft"]] = 0.5
    moved = load_rig().offsets(other)[0, 48:68].square().sum(-1).max()
    assert measures.lip_vertex_error(one, other) == pytest.approx(float(moved), rel=1e-4)


def nodding(frames: int, period: int) -> torch.Tensor:
    """Speed is least every half period, between two frames."""
    pitch = torch.cos((torch.arange(frames) + 0.5) * 2 * math.pi / period)
    return torch.stack([pitch, torch.zeros(frames), torch.zeros(frames)], 1)


def test_beats_on_the_minima_of_the_speed_align_fully():
    motion = nodding(500, 50)
    beats = torch.arange(1, 20) * 1.0  # every 25 frames of 40 ms
    score = measures.beat_align(motion, 25, beats)
    assert score.sound_to_motion > 0.97
    assert score.motion_to_sound > 0.97
    assert score.motion_beats_per_second == pytest.approx(1.0, abs=0.1)


def test_a_beat_that_is_sigma_late_counts_as_much_as_the_definition_says():
    found = measures.motion_beats(nodding(500, 50), 25, 5.0)
    for preset, sigma in (("kdtalker", 0.1), ("bailando", 0.05)):
        score = measures.beat_align(nodding(500, 50), 25, found + sigma, preset)
        assert score.sound_to_motion == pytest.approx(math.exp(-0.5), abs=0.02)


def test_heads_that_stand_still_have_no_beats():
    score = measures.beat_align(torch.zeros(50, 3), 25, torch.tensor([0.5]))
    assert score.sound_to_motion == score.motion_to_sound == 0


def test_voices_beat_where_they_are_loudest():
    energy = torch.zeros(100)
    energy[[20, 60]] = 1.0
    energy = torch.nn.functional.avg_pool1d(energy[None], 5, 1, 2)[0] * 5
    found = measures.sound_beats(energy, 25)
    assert found.tolist() == pytest.approx([20.5 / 25, 60.5 / 25], abs=0.03)


def test_diversity_is_the_deviation_over_time():
    still = torch.full((100, 3), 7.0)
    assert measures.diversity(still) == 0
    turning = torch.zeros(100, 3)
    turning[50:, 1] = 6.0
    assert measures.diversity(turning) == pytest.approx(1.0)  # 3 degrees in one of three angles
    assert measures.diversity_across_seeds([still, still, still + 2.0]) == pytest.approx(4 / 3)
    assert measures.diversity_across_seeds([still]) == 0


def test_ratios_are_one_for_the_same_motion_and_scale_with_it():
    motion = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).cumsum(0)
    for ratio in (measures.velocity_ratio, measures.jerk_ratio):
        assert ratio(motion, motion) == pytest.approx(1.0)
        assert ratio(2 * motion, motion) == pytest.approx(2.0)


def test_a_steady_turn_has_its_angular_speed():
    turn = torch.arange(10)[:, None] * torch.tensor([[0.0, 2.0, 0.0]])
    assert measures.angular_speed(turn, 25).tolist() == pytest.approx([50.0] * 9)
