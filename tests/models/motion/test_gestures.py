import pytest
import torch
from soliloquy.models.motion.arkit import ARKIT52, INDEX
from soliloquy.models.motion.gestures import HEAD_LIMITS, gestures
from soliloquy.models.payloads import Speech, Timeline

BLINK = INDEX["eyeBlinkLeft"]


def talk(seconds, fps=25.0, silent=False):
    """A voice of phrases of 2.4 s and pauses of 0.8 s, with syllables and a falling pitch."""
    timeline = Timeline.for_sound(int(seconds * 16000), 16000, fps)
    times = timeline.frame_centres().float()
    phrase = (times % 3.2) < 2.4
    energy = torch.where(phrase, 0.6 + 0.25 * torch.sin(2 * torch.pi * 4.3 * times), 0.0)
    f0 = torch.where(phrase, 150 - 20 * (times % 3.2) + 40 * torch.sin(3 * times), 0.0)
    if silent:
        energy, f0 = 0 * energy, 0 * f0
    return Speech(streams={"energy": energy[:, None], "f0": f0[:, None]}, timeline=timeline)


def blink_count(weights):
    closed = weights[:, BLINK] > 0.5
    return int((closed[1:] & ~closed[:-1]).sum())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("silent", [False, True])
def test_ten_to_twenty_blinks_a_minute_each_fully_closed(seed, silent):
    weights = gestures(talk(180, silent=silent), seed).weights
    assert 30 <= blink_count(weights) <= 60
    assert weights[:, BLINK].max() > 0.98


def test_lids_close_faster_than_they_open():
    lid = gestures(talk(20, fps=120.0), 0).weights[:, BLINK]
    closed = (lid > 0.99).nonzero()[:, 0]
    start = int(closed[0])
    falling = start - int((lid[:start] < 0.01).nonzero()[-1])
    last = int(closed[closed < start + 20][-1])
    rising = int((lid[last:] < 0.01).nonzero()[0])
    assert 0.08 < falling / 120 < 0.14
    assert 0.14 < rising / 120 < 0.24


@pytest.mark.parametrize("seed", range(4))
def test_heads_stay_within_human_limits_and_speed(seed):
    rotation = gestures(talk(120, fps=50.0), seed).rotation
    assert (rotation.abs() <= torch.tensor(HEAD_LIMITS)).all()
    speed = rotation.diff(dim=0).abs() * 50
    assert speed.quantile(0.99) < 60
    assert rotation.std(0).min() > 0.5  # and they do move


@pytest.mark.parametrize("silent", [False, True])
def test_nothing_ever_freezes_or_jitters(silent):
    rotation = gestures(talk(60, fps=60.0, silent=silent), 0).rotation.double()
    per_second = rotation[60:].unfold(0, 60, 60)
    assert (per_second.amax(-1) - per_second.amin(-1)).amax(1).min() > 0.1
    jerk = rotation.diff(n=3, dim=0).abs().max()
    assert jerk < 0.05  # degrees per frame cubed, at 60 frames a second


def test_silence_is_calmer_than_speech():
    moving = gestures(talk(120), 1).rotation.diff(dim=0).abs().mean()
    resting = gestures(talk(120, silent=True), 1).rotation.diff(dim=0).abs().mean()
    assert resting < 0.7 * moving


def test_every_frame_rate_shows_the_same_movement():
    coarse, fine = gestures(talk(30, 25.0), 5), gestures(talk(30, 75.0), 5)
    torch.testing.assert_close(fine.rotation[1::3], coarse.rotation, atol=0.4, rtol=0)
    assert blink_count(fine.weights) == blink_count(coarse.weights)


def test_the_seed_decides():
    first, again, other = (gestures(talk(10), seed) for seed in (3, 3, 4))
    assert torch.equal(first.rotation, again.rotation)
    assert torch.equal(first.weights, again.weights)
    assert not torch.allclose(first.rotation, other.rotation, atol=0.5)


def test_a_longer_sound_begins_alike():
    short, long = gestures(talk(32), 2), gestures(talk(64), 2)
    torch.testing.assert_close(long.rotation[:700], short.rotation[:700], atol=0.1, rtol=0)
    torch.testing.assert_close(long.weights[:700], short.weights[:700], atol=0.02, rtol=0)


def test_brows_rise_where_the_pitch_does():
    timeline = Timeline.for_frames(2500, 25)
    f0 = torch.full((2500, 1), 120.0)
    f0[::250] = 180.0
    high = torch.zeros(2500, dtype=torch.bool)
    for start in range(0, 2500, 250):
        f0[start : start + 20], high[start : start + 20] = 180.0, True
    energy = torch.full((2500, 1), 0.6)
    brows = gestures(Speech(streams={"energy": energy, "f0": f0}, timeline=timeline), 0).weights
    brows = brows[:, INDEX["browInnerUp"]]
    assert brows[high].mean() > 3 * brows[~high].mean()


def test_eyes_stay_on_the_listener_while_the_head_turns():
    moved = gestures(talk(60), 0)
    right = moved.weights[:, INDEX["eyeLookOutLeft"]] - moved.weights[:, INDEX["eyeLookInLeft"]]
    together = torch.corrcoef(torch.stack([moved.rotation[:, 1], right]))[0, 1]
    assert together > 0.5


def test_the_mouth_is_left_alone_and_weights_stay_in_range():
    weights = gestures(talk(60), 0).weights
    mouth = [index for index, name in enumerate(ARKIT52) if name.startswith(("mouth", "jaw"))]
    assert weights[:, mouth].abs().max() == 0
    assert weights.min() >= 0
    assert weights.max() <= 1


def test_it_starts_in_the_portraits_own_pose_and_one_frame_is_enough():
    timeline = Timeline.for_sound(10, 16000, 25)
    silence = torch.zeros(1, 1)
    single = gestures(Speech(streams={"energy": silence, "f0": silence}, timeline=timeline), 0)
    assert single.rotation.abs().max() < 0.1
    assert single.weights.shape == (1, 52)
