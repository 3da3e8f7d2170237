"""KSDiff's speech encoder on real timelines."""

import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.payloads import PayloadError, Timeline
from soliloquy.models.speech import ksdiff
from soliloquy.models.speech.dual_path import DualPathConfig, DualPathSpeech
from soliloquy.models.speech.prosody import prosody_streams
from soliloquy.models.speech.starter import StarterSpeech, StarterSpeechConfig

CONFIG = DualPathConfig(
    inputs=24, width=16, heads=2, groups=4, dilations=(1, 3), long=10, mid=5, long_reach=9,
    mid_reach=6, short_reach=4, text_reach=12,
)  # fmt: skip


def noise(samples: int) -> torch.Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(0))


def small_encoder() -> ksdiff.KSDiffSpeechEncoder:
    torch.manual_seed(0)
    frozen = StarterSpeech(StarterSpeechConfig(width=24, dilations=(1, 2), features=8))
    network = DualPathSpeech(CONFIG)
    for weights in network.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    return ksdiff.KSDiffSpeechEncoder(network.eval(), frozen.eval())


@pytest.mark.parametrize("transcript", ["", "The quick brown fox jumps over the lazy dog. " * 2])
@pytest.mark.parametrize("piece", [20, 77, 150])
def test_pieces_give_what_the_whole_gives(piece, transcript):
    encoder, sound = small_encoder(), noise(16000 * 9)
    voice = prosody_streams(sound[None], 16000, Timeline.for_sound(len(sound), 16000, 50))
    whole = encoder.hear(sound, voice, transcript, piece=10000)
    pieces = encoder.hear(sound, voice, transcript, piece=piece)
    for part, expected in zip(pieces, whole, strict=True):
        assert expected.shape == (225, 16)
        torch.testing.assert_close(part, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("samples", [1, 700, 16000, 33333])
@pytest.mark.parametrize("fps", [12, 25, 23.976, 60])
def test_every_frame_of_the_timeline_gets_a_row(samples, fps):
    timeline = Timeline.for_sound(samples, 22050, fps)
    speech = small_encoder().encode(noise(samples).repeat(2, 1), 22050, timeline)
    shapes = {name: tuple(stream.shape) for name, stream in speech.streams.items()}
    wide, narrow = (timeline.num_frames, 16), (timeline.num_frames, 1)
    assert shapes == {
        "pose": wide, "expression": wide, "text": wide, "energy": narrow, "f0": narrow,
    }  # fmt: skip


def test_a_row_belongs_to_its_moment():
    rows = (torch.arange(75) + 0.5)[:, None] / 25  # every row tells its time
    for fps in (25, 30, 60):
        timeline = Timeline.for_sound(3 * 16000, 16000, fps)
        moments = timeline.frame_centres().float()[:, None].clamp(0.02, 2.98)
        torch.testing.assert_close(ksdiff.at_timeline(rows, timeline), moments)


def test_words_change_the_text_stream_alone():
    encoder, sound = small_encoder(), noise(32000)[None]
    timeline = Timeline.for_sound(32000, 16000, 25)
    without, said = (
        encoder.encode(sound, 16000, timeline, transcript=words).streams
        for words in ("", "hello there")
    )
    assert torch.equal(without["pose"], said["pose"])
    assert torch.equal(without["expression"], said["expression"])
    assert not torch.allclose(without["text"], said["text"])


def test_progress_is_reported_and_may_interrupt():
    class StopHereError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        assert (done, total) == (1, 2)
        raise StopHereError

    timeline = Timeline.for_sound(16000 * 30, 16000, 25)
    with pytest.raises(StopHereError):
        small_encoder().encode(noise(16000 * 30)[None], 16000, timeline, stop)


def test_an_encoder_that_it_was_not_trained_on_is_refused():
    frozen = StarterSpeech(StarterSpeechConfig(width=32, dilations=(1,), features=8))
    with pytest.raises(PayloadError, match="has 32 channels, .* trained on 24"):
        ksdiff.KSDiffSpeechEncoder(DualPathSpeech(CONFIG), frozen)


def test_wav2vec_may_be_the_frozen_encoder():
    transformers = pytest.importorskip("transformers")
    config = transformers.Wav2Vec2Config(
        hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        conv_dim=(8,) * 7, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    frozen = transformers.Wav2Vec2Model(config).eval()
    encoder = ksdiff.KSDiffSpeechEncoder(DualPathSpeech(CONFIG).eval(), frozen)
    timeline = Timeline.for_sound(16000, 16000, 30)
    speech = encoder.encode(noise(16000)[None], 16000, timeline)
    assert speech.streams["pose"].shape == (30, 16)


def test_weights_survive_the_way_through_a_file(tmp_path):
    network = DualPathSpeech(DualPathConfig(inputs=24, width=16, heads=2))
    checkpoints.save(network, tmp_path / "w.safetensors", {"inputs": 24, "width": 16, "heads": 2})
    loaded = checkpoints.load("ksdiff_speech", tmp_path / "w.safetensors")
    assert loaded.config == network.config
