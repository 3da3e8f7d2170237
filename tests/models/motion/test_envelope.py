import pytest
import torch
from soliloquy.models.motion.envelope import Envelope, at, blur
from soliloquy.models.payloads import PayloadError, Speech, Timeline


def speech(energy, f0=None, fps=25):
    """Streams given per second at `fps`."""
    timeline = Timeline.for_frames(len(energy), fps)
    f0 = torch.where(energy > 0.3, 120.0, 0.0) if f0 is None else f0
    return Speech(streams={"energy": energy[:, None], "f0": f0[:, None]}, timeline=timeline)


def two_phrases():
    """Speech from 1 to 3 s and from 4 to 5 s, with a pause of 0.12 s at 2 s."""
    energy = torch.zeros(6 * 25)
    energy[25:75], energy[100:125], energy[50:53] = 0.7, 0.7, 0.0
    return speech(energy)


def test_phrases_start_and_end_where_the_voice_does():
    envelope = Envelope.of(two_phrases(), "The test")
    torch.testing.assert_close(envelope.starts, torch.tensor([1.0, 4.0]), atol=0.1, rtol=0)
    torch.testing.assert_close(envelope.ends, torch.tensor([3.0, 5.0]), atol=0.1, rtol=0)


def test_activity_is_high_in_speech_and_low_in_silence():
    envelope = Envelope.of(two_phrases(), "The test")
    speaking, silent = at(envelope.activity, torch.tensor([2.0, 5.9], dtype=torch.float64))
    assert speaking > 0.9
    assert silent < 0.1


def test_accents_are_where_the_pitch_is_raised():
    f0 = torch.full((100,), 120.0)
    f0[40:55] = 190.0
    accents = Envelope.of(speech(torch.full((100,), 0.7), f0), "The test").accents
    raised, usual = at(accents, torch.tensor([1.9, 3.5], dtype=torch.float64))
    assert raised > 0.6
    assert usual == 0


def test_a_missing_stream_is_named():
    timeline = Timeline.for_frames(5, 25)
    with pytest.raises(PayloadError, match=r"Gestures needs the speech stream 'energy'.* has none"):
        Envelope.of(Speech(streams={}, timeline=timeline), "Gestures")


def test_blur_keeps_a_constant_and_the_length():
    torch.testing.assert_close(blur(torch.full((7,), 2.0), 0.3), torch.full((7,), 2.0))
