"""Two features a frame: at 25 fps those of the published program, at other rates their moments."""

import pytest
import torch
from soliloquy.models.checkpoints import CheckpointError
from soliloquy.models.payloads import PayloadError, Timeline
from soliloquy.models.speech import hubert
from soliloquy.models.speech.hubert import HubertSpeechEncoder, at_frames
from soliloquy.models.speech.wav2vec2 import Wav2Vec2Features


class Listener(torch.nn.Module):
    """Hears how loud each 20 ms are."""

    class config:  # noqa: N801
        num_hidden_layers, hidden_size = 1, 4

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, sound, output_hidden_states=False):
        loud = sound.unfold(1, 400, 320).abs().mean(-1)
        result = type("Result", (), {})()
        result.last_hidden_state = loud[..., None].expand(-1, -1, 4) * self.scale
        return result


def encoder(mode="default"):
    return HubertSpeechEncoder(Wav2Vec2Features(Listener(), normalise=False), mode)


def test_at_25_fps_each_row_holds_the_frames_two_features():
    features = torch.arange(20.0)[:, None].repeat(1, 3)
    rows = at_frames(features, Timeline.for_frames(10, 25))
    assert torch.equal(rows[:, 0], torch.arange(0, 20, 2.0))
    assert torch.equal(rows[:, 3], torch.arange(1, 20, 2.0))


@pytest.mark.parametrize("fps", [24, 30, 60])
def test_at_other_rates_rows_are_of_the_frames_own_moments(fps):
    moments = (torch.arange(50) + 0.5)[:, None] / 50
    timeline = Timeline.for_frames(fps, fps)
    quarter, three = at_frames(moments, timeline).T
    centres = timeline.frame_centres().float()
    inside = slice(2, -2)
    assert torch.allclose(quarter[inside], centres[inside] - 0.25 / fps, atol=1e-5)
    assert torch.allclose(three[inside], centres[inside] + 0.25 / fps, atol=1e-5)


@pytest.mark.parametrize("mode", ["default", "reference"])
@pytest.mark.parametrize("seconds", [0.02, 1.0, 3.21])
def test_any_sound_gives_a_row_per_frame(mode, seconds):
    timeline = Timeline.for_sound(int(seconds * 16000), 16000, 25)
    sound = torch.rand(1, timeline.num_samples) * 0.1
    seen = []
    speech = encoder(mode).encode(sound, 16000, timeline, lambda *step: seen.append(step))
    assert speech.streams["hubert"].shape == (timeline.num_frames, 8)
    assert set(speech.streams) == {"hubert", "energy", "f0"}
    assert seen[-1][0] == seen[-1][1]


def test_loud_moments_are_heard_where_they_are():
    sound = torch.zeros(1, 32000)
    sound[:, 16000:16640] = 0.5  # frame 25
    speech = encoder().encode(sound, 16000, Timeline.for_sound(32000, 16000, 25))
    assert int(speech.streams["hubert"].sum(1).argmax()) == 25


def test_what_cannot_be_used_is_refused():
    with pytest.raises(PayloadError, match="modes default, reference"):
        encoder("fast")
    with pytest.raises(CheckpointError, match="hubert-large-ls960-ft"):
        hubert.load()


def test_the_host_may_move_the_network_and_say_where_it_is():
    moved = encoder()
    moved.network.to("meta")
    moved.device = "meta"
    assert moved.listener.device == moved.device == torch.device("meta")
