import pytest
import torch
from soliloquy.models.payloads import PayloadError, Speech

from .loaded import host, host_double
from .loaded import speech as nodes


@pytest.fixture(autouse=True)
def state(tmp_path):
    host_double.STATE.reset(tmp_path)
    return host_double.STATE


class Encoder:
    """Hears nothing, in three steps."""

    def __init__(self):
        self.heard = None

    def encode(self, waveform, sample_rate, timeline, on_step=None):
        self.heard = (tuple(waveform.shape), sample_rate)
        for step in range(3):
            on_step(step + 1, 3)
        return Speech(streams={"energy": torch.zeros(timeline.num_frames, 1)}, timeline=timeline)


def encode(encoder, waveform, rate=16000, fps=25.0):
    audio = {"waveform": waveform, "sample_rate": rate}
    with torch.inference_mode():
        return nodes.EncodeSpeech.execute(host.Managed(encoder), audio, fps).result[0]


def test_the_timeline_is_that_of_the_sound_and_the_frame_rate(state):
    encoder, waveform = Encoder(), torch.rand(1, 2, 48000)
    before = waveform.clone()
    speech = encode(encoder, waveform, 48000, fps=29.97)
    assert speech.timeline.num_frames == 30
    assert speech.timeline.fps.denominator == 1001
    assert encoder.heard == ((2, 48000), 48000)
    assert torch.equal(waveform, before)
    assert [value for value, *_ in state.reports] == [1, 2, 3]


def test_interrupting_stops_inside_the_encoder(state):
    state.interrupt_after = 2
    with pytest.raises(host_double.InterruptProcessingException):
        encode(Encoder(), torch.rand(1, 1, 16000))
    assert len(state.reports) == 2


def test_an_empty_sound_and_an_impossible_rate_are_refused():
    with pytest.raises(PayloadError, match="empty"):
        encode(Encoder(), torch.zeros(1, 1, 0))
    with pytest.raises(PayloadError, match="1 to 120"):
        encode(Encoder(), torch.zeros(1, 1, 100), fps=500)


def test_the_bundled_encoder_loads_with_a_patcher_and_is_moved_before_use(state):
    managed = nodes.LoadSpeechEncoder.execute("starter").result[0]
    assert len(managed.get_models()) == 1
    audio = {"waveform": torch.rand(1, 1, 16000) - 0.5, "sample_rate": 16000}
    with torch.inference_mode():
        speech = nodes.EncodeSpeech.execute(managed, audio, 25.0).result[0]
    assert speech.streams["expression"].shape[0] == 25
    assert state.loaded == managed.get_models()


class Reader(Encoder):
    reads_transcripts = True

    def encode(self, waveform, sample_rate, timeline, on_step=None, *, transcript=""):
        self.read = transcript
        return super().encode(waveform, sample_rate, timeline, on_step)


def test_a_transcript_reaches_the_encoders_that_read_it_and_others_say_so(state):
    audio = {"waveform": torch.rand(1, 1, 16000) - 0.5, "sample_rate": 16000}
    reader = Reader()
    nodes.EncodeSpeech.execute(host.Managed(reader), audio, 25.0, "Good evening.")
    assert reader.read == "Good evening."
    assert not state.said
    nodes.EncodeSpeech.execute(host.Managed(Encoder()), audio, 25.0, "Good evening.")
    assert "does not read transcripts" in state.said[-1]
    nodes.EncodeSpeech.execute(host.Managed(Encoder()), audio, 25.0, " ")
    assert len(state.said) == 1
