"""Landmarks for any sound: no seams, any frame rate, the portrait's own face, a feeling."""

from dataclasses import replace

import pytest
import torch
from soliloquy.models.motion.atl_diff import ATLDiffMotion, emotion_mixture, load
from soliloquy.models.motion.rig import load_rig
from soliloquy.models.payloads import PayloadError, Speech, Timeline
from soliloquy.models.speech import atl_diff
from soliloquy.models.speech.audio import read_sound
from soliloquy.models.speech.packed import pack
from soliloquy.training.image_measures import border_speeds, share_below

from ...helpers import shared
from ..render.drawn_face import drawn_face
from .dual_domain_examples import network


def speech(seconds=2.0, fps=25):
    timeline = Timeline.for_sound(round(16000 * seconds), 16000, fps)
    random = torch.Generator().manual_seed(0)
    features = torch.randn(round(50 * seconds) + 1, 12, generator=random)
    streams = {
        "atl_diff": pack(features, 50, timeline),
        "energy": torch.rand(timeline.num_frames, 1, generator=random),
        "f0": torch.full((timeline.num_frames, 1), 120.0),
    }
    return Speech(streams=streams, timeline=timeline)


@pytest.mark.parametrize("fps", [12, 25, "29.97", 60])
def test_any_frame_rate_gives_the_same_movement(fps):
    model = ATLDiffMotion(network=network())
    motion = model.sample(speech(fps=fps), drawn_face())
    assert motion.space == "landmarks68"
    assert len(motion.values) == motion.timeline.num_frames
    offsets = model.offsets(speech_features(), load_rig().neutral_of(drawn_face()))
    assert offsets.shape == (101, 68, 3)
    middle = motion.timeline.num_frames // 2
    moment = float(motion.timeline.frame_centres()[middle]) * 50
    lower, upper = offsets[int(moment), 57], offsets[int(moment) + 1, 57]
    expected = torch.lerp(lower, upper, moment - int(moment))
    assert torch.allclose(motion.values[middle, 57], expected, atol=1e-3)


def speech_features():
    random = torch.Generator().manual_seed(0)
    return torch.randn(101, 12, generator=random)


def test_pieces_join_without_a_seam():
    model = ATLDiffMotion(network=network(global_domain=True))
    features = torch.randn(400, 12, generator=torch.Generator().manual_seed(2))
    rest, told = load_rig().mean_face, []
    whole = model.offsets(features, rest, piece=1000)
    parts = model.offsets(features, rest, lambda *n: told.append(n), piece=90)
    assert torch.allclose(whole, parts, atol=1e-4)
    assert told == [(i, 5) for i in range(1, 6)]


def test_an_emotion_changes_the_face_and_its_intensity_how_much():
    neutral, half, full = (
        ATLDiffMotion(network=network(), emotion="happy", intensity=i).sample(speech()).values
        for i in (0.0, 0.5, 1.0)
    )
    assert torch.equal(neutral, ATLDiffMotion(network=network()).sample(speech()).values)
    change = (half - neutral).abs().mean(), (full - neutral).abs().mean()
    assert 0 < change[0] < change[1]


def test_lips_and_lids_stop_where_they_meet():
    motion = ATLDiffMotion(network=network(seed=4)).sample(speech(), drawn_face())
    rig = load_rig()
    face = rig.neutral_of(drawn_face()) + motion.values
    rest = rig.neutral_of(drawn_face())
    for upper, lower in ((61, 67), (62, 66), (37, 41), (44, 46)):
        gap = face[:, lower, 1] - face[:, upper, 1]
        assert gap.min() >= min(float(rest[lower, 1] - rest[upper, 1]), 0) - 1e-4


def test_a_seed_chooses_the_head_and_the_blinks():
    model = ATLDiffMotion(network=network())
    first, again, other = (model.sample(speech(), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.values, again.values)
    assert torch.equal(first.rotation, again.rotation)
    assert not torch.equal(first.rotation, other.rotation)


def test_what_is_missing_or_impossible_is_said():
    model = ATLDiffMotion(network=network())
    streams = speech().streams
    without = replace(speech(), streams={"energy": streams["energy"], "f0": streams["f0"]})
    with pytest.raises(PayloadError, match="ATL-Diff needs the speech stream 'atl_diff'"):
        model.sample(without)
    with pytest.raises(PayloadError, match="'bored' is not an emotion of ATL-Diff: angry, fear"):
        emotion_mixture("bored", 1.0)
    with pytest.raises(PayloadError, match=r"0 to 1\.5, not 3"):
        emotion_mixture("sad", 3.0)


@pytest.mark.parametrize("name", ["english_16k_stereo_8s.wav", "russian_48k_stereo_6s.wav"])
def test_the_lips_are_no_faster_where_the_published_program_has_its_borders(name):
    features = atl_diff.load().features(read_sound(shared(f"data/speech/{name}"))[1][0])
    offsets = load().offsets(features, load_rig().mean_face)[1::2]
    borders = torch.arange(25, len(offsets), 25)  # every second, and the piece's after ten
    speeds, everywhere = border_speeds(offsets, borders)
    assert speeds.mean() < torch.quantile(everywhere, 0.95)
    assert speeds.mean() < 1.3 * everywhere.mean()


def test_over_half_a_minute_borders_are_within_the_95th_percentile_and_a_small_jump_is_not():
    features = atl_diff.load().features(read_sound(shared("data/clips/talk_e.mp4"))[1][0])
    offsets = load().offsets(features, load_rig().mean_face)[1::2]
    borders = torch.arange(25, len(offsets), 25)  # every second; pieces have theirs every tenth
    assert len(borders) > 30
    assert share_below(*border_speeds(offsets, borders)) > 0.9
    jumps = (torch.arange(len(offsets)) // 25 % 2)[:, None, None] * 0.04  # of an eye distance
    assert share_below(*border_speeds(offsets + jumps, borders)) < 0.2


def test_the_bundled_generator_opens_and_closes_the_lips():
    features = atl_diff.load().features(
        read_sound(shared("data/speech/english_16k_stereo_8s.wav"))[1][0]
    )
    face = load_rig().mean_face + load().offsets(features, load_rig().mean_face)
    gap = face[:, 66, 1] - face[:, 62, 1]
    assert gap.min() < 0.03
    assert gap.max() > 0.15
