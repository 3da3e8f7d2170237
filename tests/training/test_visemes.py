"""What the lips do for phones in time."""

import numpy as np
import pytest
from soliloquy.models.motion.arkit import ARKIT52
from soliloquy.training.phones import Segment
from soliloquy.training.visemes import LIP_CHANNELS, lip_track, lip_weights, phone_classes

TIMES = np.arange(0, 1.0, 0.005)
APERTURE, WIDTH, LIPS, TEETH = range(4)


def track_of(*phones: tuple[str, float]) -> np.ndarray:
    """The lip track of phones with their lengths, after 0.2 s of silence."""
    segments, time = [Segment("", 0.0, 0.2)], 0.2
    for phone, length in phones:
        segments.append(Segment(phone, time, time + length))
        time += length
    return lip_track(segments, TIMES)


def at(track: np.ndarray, seconds: float) -> np.ndarray:
    return track[round(seconds / 0.005)]


@pytest.mark.parametrize("phone", ["p", "b", "m"])
def test_lips_close_fully_for_p_b_and_m(phone):
    track = track_of(("a", 0.15), (phone, 0.08), ("a", 0.15))
    assert at(track, 0.38)[APERTURE] < 0.02
    assert at(track, 0.38)[LIPS] > 0.98
    assert at(track, 0.27)[APERTURE] > 0.5


@pytest.mark.parametrize("phone", ["f", "v"])
def test_the_lower_lip_tucks_under_the_teeth_for_f_and_v(phone):
    track = track_of(("a", 0.15), (phone, 0.10), ("a", 0.15))
    weights = dict(zip(LIP_CHANNELS, lip_weights(at(track, 0.40)[None])[0], strict=True))
    assert weights["mouthRollLower"] > 0.3
    assert weights["jawOpen"] < 0.1


def test_rounding_starts_before_the_rounded_vowel():
    rounded = track_of(("s", 0.10), ("t", 0.08), ("u", 0.2))
    spread = track_of(("s", 0.10), ("t", 0.08), ("i", 0.2))
    assert at(rounded, 0.34)[WIDTH] < at(spread, 0.34)[WIDTH] - 0.3
    assert at(rounded, 0.48)[WIDTH] < -0.7


def test_the_mouth_rests_in_silence():
    segments = [Segment("", 0.0, 1.0), Segment("a", 1.0, 1.15), Segment("", 1.15, 3.0)]
    track = lip_track(segments, np.array([0.0, 0.5, 2.0, 3.0]))
    assert abs(track).max() < 0.02


def test_breath_is_drawn_between_parted_lips():
    parted = track_of(("a", 0.15), ("", 0.3), ("a", 0.15))
    assert 0.2 < at(parted, 0.50)[APERTURE] < 0.5


def test_open_vowels_open_wider_than_close_ones_and_short_ones_undershoot():
    def peak(phone: str, length: float) -> float:
        return track_of(("s", 0.08), (phone, length), ("s", 0.08))[:, APERTURE].max()

    assert peak("a", 0.16) > peak("ɛ", 0.16) > peak("i", 0.16)
    assert peak("a", 0.05) < peak("a", 0.16)


def test_weights_carry_arkit_names_and_stay_in_range():
    assert set(LIP_CHANNELS) <= set(ARKIT52)
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 5), np.linspace(-1, 1, 5)], [0, 1], [0, 1]), -1)
    weights = lip_weights(grid.reshape(-1, 4))
    assert weights.min() >= 0
    assert weights.max() <= 1


def test_phone_classes_follow_the_segments():
    classes = phone_classes(
        [Segment("", 0, 0.1), Segment("a", 0.1, 0.2)], np.array([0.05, 0.15, 0.25])
    )
    assert classes[0] == classes[2] == 0
    assert classes[1] != 0
