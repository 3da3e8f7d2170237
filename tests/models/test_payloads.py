"""The clock is exact, and payloads refuse what does not fit, in the user's words."""

from dataclasses import FrozenInstanceError
from fractions import Fraction

import pytest
import torch
from soliloquy.models.payloads import (
    GuidedNoise,
    Keyframes,
    Motion,
    PayloadError,
    Portrait,
    Speech,
    Timeline,
    parse_fps,
)

FRAME_RATES = ("23.976", "24", "25", "29.97", "30", "50", "60", "59.94", "12.5")


def still(timeline: Timeline, **changes) -> Motion:
    frames = timeline.num_frames
    values = {
        "space": "arkit52",
        "values": torch.zeros(frames, 52),
        "rotation": torch.zeros(frames, 3),
        "translation": torch.zeros(frames, 3),
        "scale": torch.ones(frames),
        "timeline": timeline,
    }
    return Motion(**{**values, **changes})


@pytest.mark.parametrize(
    ("given", "exact"),
    [
        (23.976, Fraction(24000, 1001)),
        ("29.97", Fraction(30000, 1001)),
        (59.94, Fraction(60000, 1001)),
        ("30000/1001", Fraction(30000, 1001)),
        (25, Fraction(25)),
        (25.0, Fraction(25)),
        (12.5, Fraction(25, 2)),
    ],
)
def test_television_rates_become_their_exact_fractions(given, exact):
    assert parse_fps(given) == exact


@pytest.mark.parametrize("bad", [0, -1, 121, "fast", "1/0", float("nan"), float("inf"), None])
def test_impossible_frame_rates_are_refused_with_a_sentence(bad):
    with pytest.raises(PayloadError, match="frame"):
        parse_fps(bad)


@pytest.mark.parametrize("fps", FRAME_RATES)
@pytest.mark.parametrize("samples", [1, 800, 44100, 1_920_001, 79_380_000])
def test_frames_cover_the_sound_and_no_more(fps, samples):
    timeline = Timeline.for_sound(samples, 44100, fps)
    frame = 1 / timeline.fps
    sound = Fraction(samples, 44100)
    assert (timeline.num_frames - 1) * frame < sound <= timeline.num_frames * frame


@pytest.mark.parametrize("fps", FRAME_RATES)
def test_a_timeline_without_sound_has_the_frames_asked_for(fps):
    for frames in (1, 2, 77, 250, 54001):
        assert Timeline.for_frames(frames, fps).num_frames == frames


def test_frames_are_centred_half_a_frame_in():
    centres = Timeline.for_sound(48000, 48000, 25).frame_centres()
    assert centres[0] == 0.02
    assert centres[-1] == pytest.approx(0.98)


def test_a_wrong_frame_count_and_an_empty_sound_are_refused():
    with pytest.raises(PayloadError, match="25 frames"):
        Timeline(fps=Fraction(25), num_frames=24, sample_rate=48000, num_samples=48000)
    with pytest.raises(PayloadError, match="empty"):
        Timeline.for_sound(0, 48000, 25)


def test_motion_is_frozen_and_checked():
    timeline = Timeline.for_frames(5, 25)
    motion = still(timeline)
    with pytest.raises(FrozenInstanceError):
        motion.space = "landmarks68"
    with pytest.raises(PayloadError, match="5 × 52, but 4 × 52"):
        still(timeline, values=torch.zeros(4, 52))
    with pytest.raises(PayloadError, match="NaN"):
        still(timeline, scale=torch.full((5,), torch.nan))
    with pytest.raises(PayloadError, match="float64"):
        still(timeline, rotation=torch.zeros(5, 3, dtype=torch.float64))
    with pytest.raises(PayloadError, match="'bones' is not one of"):
        still(timeline, space="bones")


def test_a_missing_speech_stream_names_the_ones_there_are():
    timeline = Timeline.for_frames(3, 25)
    speech = Speech(streams={"energy": torch.zeros(3, 1)}, timeline=timeline)
    assert speech.stream("energy", "The starter").shape == (3, 1)
    with pytest.raises(
        PayloadError, match="The starter needs the speech stream 'wav2lip'.* energy"
    ):
        speech.stream("wav2lip", "The starter")


def test_keyframes_need_marks_and_strength_for_known_paths():
    timeline = Timeline.for_frames(3, 25)
    marks = {"pose": torch.zeros(3, dtype=torch.bool)}
    Keyframes(marks=marks, strength={"pose": torch.zeros(3)}, timeline=timeline)
    with pytest.raises(PayloadError, match="marks and strength"):
        Keyframes(marks=marks, strength={}, timeline=timeline)


def test_a_portrait_with_collapsed_eyes_is_refused():
    facts = {
        "image": torch.zeros(8, 8, 3, dtype=torch.uint8),
        "box": (0.0, 0.0, 8.0, 8.0),
        "crop": torch.eye(3, dtype=torch.float64),
        "crop_size": 8,
        "rotation": (0.0, 0.0, 0.0),
    }
    with pytest.raises(PayloadError, match="one point"):
        Portrait(landmarks=torch.zeros(68, 3), **facts)
    portrait = Portrait(landmarks=torch.rand(68, 3) * 8, **facts)
    assert portrait.size == (8, 8)
    with pytest.raises(PayloadError, match="guide mask"):
        GuidedNoise(frames=torch.zeros(2, 3, 8, 8), mask=torch.zeros(2, 1, 8, 9), portrait=portrait)
