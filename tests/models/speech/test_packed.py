"""What is packed comes out as it was, at any frame rate."""

from fractions import Fraction

import pytest
import torch
from soliloquy.models.payloads import PayloadError, Timeline
from soliloquy.models.speech.packed import pack, unpack


@pytest.mark.parametrize("fps", [1, 12, 24, "23.976", 25, 29.97, 30, 49, 50, 60, 120])
@pytest.mark.parametrize("samples", [100, 16000, 40123])
def test_features_survive_any_frame_rate(fps, samples):
    timeline = Timeline.for_sound(samples, 16000, fps)
    features = torch.arange(max(samples // 320, 1) * 3.0).view(-1, 3)
    stream = pack(features, 50, timeline)
    assert len(stream) == timeline.num_frames
    found = unpack(stream, 3, 50, timeline, "Test")
    assert len(found) >= len(features)
    assert torch.equal(found[: len(features)], features)
    assert (found[len(features) :] == features[-1]).all()


def test_a_row_holds_the_features_of_its_frame():
    timeline = Timeline.for_frames(4, Fraction(25))
    stream = pack(torch.arange(8.0)[:, None], 50, timeline)
    assert stream.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_a_stream_of_another_encoder_is_refused():
    timeline = Timeline.for_frames(4, 25)
    with pytest.raises(PayloadError, match="Test needs 6 channels at 25 fps.*has 64"):
        unpack(torch.zeros(4, 64), 3, 50, timeline, "Test")
