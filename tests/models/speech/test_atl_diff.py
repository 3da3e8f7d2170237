"""What the landmark generators hear reaches them unchanged."""

import pytest
import torch
from soliloquy.models.payloads import Timeline
from soliloquy.models.speech import atl_diff, starter
from soliloquy.models.speech.atl_diff import KFLMSpeechEncoder
from soliloquy.models.speech.packed import unpack


def sound(seconds=2.3):
    random = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(1, round(16000 * seconds), generator=random)


@pytest.fixture(scope="module")
def encoder():
    return atl_diff.load()


def test_hidden_features_are_those_behind_the_starters_own(encoder):
    features = encoder.features(sound()[0])
    own = starter.load().features(sound()[0])
    shown = encoder.network.out(features)[: len(own)]
    assert torch.allclose(shown, own, atol=1e-3)


def test_pieces_join_without_a_seam(encoder):
    whole, parts = (encoder.features(sound()[0], piece=piece) for piece in (1000, 40))
    assert torch.allclose(whole, parts, atol=1e-4)


@pytest.mark.parametrize("fps", [24, 60])
def test_the_stream_carries_every_feature(encoder, fps):
    timeline = Timeline.for_sound(sound().shape[1], 16000, fps)
    told = []
    speech = encoder.encode(sound(), 16000, timeline, lambda *n: told.append(n))
    assert set(speech.streams) == {"atl_diff", "energy", "f0"}
    assert told == [(1, 1)]
    found = unpack(speech.streams["atl_diff"], 192, 50, timeline, "Test")
    wanted = encoder.features(sound()[0])
    count = min(len(found), len(wanted))
    assert count >= 2.3 * 50 - 1
    assert torch.equal(found[:count], wanted[:count])


class Listener(torch.nn.Module):
    """Stands in for wav2vec 2.0: the mean loudness of every feature's samples."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.config = type("Config", (), {"num_hidden_layers": 1, "hidden_size": 1})()

    def forward(self, waveform, output_hidden_states=False):
        heard = waveform.unfold(1, 400, 320).abs().mean(-1, keepdim=True) * self.weight
        return type("Output", (), {"last_hidden_state": heard})()


def test_the_published_generator_hears_every_second_by_itself():
    waveform = sound(2.5)
    features = KFLMSpeechEncoder(Listener()).seconds(waveform[0])
    assert features.shape == (150, 1)
    second = waveform[0, 16000:32000].unfold(0, 400, 320).abs().mean(-1)
    assert torch.allclose(features[50:99, 0], second)
    assert features[99] == features[98]
    assert features[126:].abs().max() == 0  # silence after the end
