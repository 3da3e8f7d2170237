"""The bundled speech encoder."""

import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.payloads import PayloadError, Timeline
from soliloquy.models.speech import starter
from soliloquy.models.speech.starter import StarterSpeech, StarterSpeechConfig, at_frames

CONFIG = StarterSpeechConfig(width=32, dilations=(1, 2, 4), features=8)


def noise(samples: int) -> torch.Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(0)) * 0.1


def small_encoder() -> starter.StarterSpeechEncoder:
    torch.manual_seed(0)
    return starter.StarterSpeechEncoder(StarterSpeech(CONFIG).eval())


@pytest.mark.parametrize("piece", [20, 33, 64])
def test_pieces_give_what_the_whole_gives(piece):
    encoder, sound = small_encoder(), noise(48123)
    whole = encoder.features(sound, piece=100000)
    torch.testing.assert_close(encoder.features(sound, piece=piece), whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("samples", [1, 159, 160, 800, 16000])
@pytest.mark.parametrize("fps", [23.976, 60])
def test_every_frame_of_the_timeline_gets_a_row(samples, fps):
    encoder = small_encoder()
    timeline = Timeline.for_sound(samples, 16000, fps)
    assert at_frames(encoder.features(noise(samples)), timeline).shape == (timeline.num_frames, 8)


def test_a_feature_belongs_to_its_moment():
    features = torch.arange(51, dtype=torch.float32)[:, None] / 50  # every feature tells its time
    timeline = Timeline.for_sound(16000, 16000, 30)
    moments = timeline.frame_centres().float()[:, None]
    torch.testing.assert_close(at_frames(features, timeline), moments)


def test_the_encoder_tells_expression_energy_and_pitch():
    waveform = noise(48000).repeat(2, 1)
    timeline = Timeline.for_sound(48000, 48000, 25)
    speech = small_encoder().encode(waveform, 48000, timeline)
    assert set(speech.streams) == {"expression", "energy", "f0"}
    assert speech.streams["expression"].shape == (25, 8)


def test_progress_is_reported_and_may_interrupt():
    class StopHereError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        assert (done, total) == (1, 1)
        raise StopHereError

    timeline = Timeline.for_sound(16000, 16000, 25)
    with pytest.raises(StopHereError):
        small_encoder().encode(noise(16000)[None], 16000, timeline, stop)


def test_broken_sound_is_refused():
    timeline = Timeline.for_sound(16000, 16000, 25)
    with pytest.raises(PayloadError, match="NaN"):
        small_encoder().encode(torch.full((1, 16000), torch.nan), 16000, timeline)


def test_weights_survive_saving(tmp_path):
    network = small_encoder().network
    path = tmp_path / "small.safetensors"
    checkpoints.save(network, path, {"dilations": CONFIG.dilations})
    loaded = checkpoints.load("starter_speech", path)
    assert loaded.config == CONFIG
    spectrum = torch.randn(1, 40, CONFIG.bins)
    torch.testing.assert_close(loaded(spectrum), network(spectrum), atol=0.02, rtol=0.02)


def test_the_bundled_weights_load():
    encoder = starter.load()
    size = starter.WEIGHTS.stat().st_size
    assert size < 16e6
    assert encoder.features(noise(16000)).isfinite().all()
