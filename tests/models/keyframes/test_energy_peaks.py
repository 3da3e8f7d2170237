"""Keyframes where the voice gets louder."""

import pytest
import torch
from soliloquy.models.keyframes.energy_peaks import LEAD, load
from soliloquy.models.payloads import PayloadError, Speech, Timeline


def voice(fps: float = 25, seconds: int = 8) -> Speech:
    timeline = Timeline.for_sound(seconds * 16000, 16000, fps)
    times = timeline.frame_centres().float()
    energy = 0.6 + 0.3 * torch.cos(2 * torch.pi * 2 * (times - 0.25))  # loud at 0.25, 0.75, …
    energy[times > seconds / 2] = 0.0
    return Speech(streams={"energy": energy[:, None]}, timeline=timeline)


@pytest.mark.parametrize("fps", [24, 60])
def test_keyframes_are_just_before_it_is_loud(fps):
    speech = voice(fps)
    found = load().predict(speech)
    times = speech.timeline.frame_centres()[found.marks["expression"]] + LEAD["expression"]
    assert len(times) >= 7
    assert ((times - 0.25) % 0.5 - 0.25).abs().min() >= 0.25 - 0.05
    assert times.max() < 4.2


def test_the_rate_is_that_of_the_time_in_which_somebody_speaks():
    counts = [int(load().predict(voice(), rate=r).marks["expression"].sum()) for r in (0.5, 1, 2)]
    assert counts == [2, 4, 8]


def test_silence_has_no_keyframes():
    timeline = Timeline.for_sound(16000, 16000, 25)
    silence = Speech(streams={"energy": torch.zeros(25, 1)}, timeline=timeline)
    assert not load().predict(silence).marks["pose"].any()


def test_impossible_rates_are_refused():
    with pytest.raises(PayloadError, match=r"50 keyframes per second .* 0.05 to 8"):
        load().predict(voice(), rate=50)


def test_progress_is_reported():
    steps = []
    load().predict(voice(), on_step=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 1)]
