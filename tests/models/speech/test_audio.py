"""Reading, mixing and resampling sound, on files that the tests write themselves."""

from fractions import Fraction
from math import ceil

import av
import numpy as np
import pytest
import torch
from scipy.io import wavfile
from soliloquy.models.payloads import PayloadError
from soliloquy.models.speech.audio import (
    MODEL_RATE,
    Resampler,
    mono16k,
    read_sound,
    resample,
    tensor_chunks,
)

from ...helpers import shared


def tone(seconds: float, rate: int, frequency: float = 440.0, channels: int = 1) -> np.ndarray:
    """A quiet sine `[C, S]` float32."""
    time = np.arange(round(seconds * rate)) / rate
    return np.tile(0.3 * np.sin(2 * np.pi * frequency * time), (channels, 1)).astype(np.float32)


def write_sound(path, samples, rate, *, codec="pcm_f32le", layout=None, video_first=0):
    """A sound file; with `video_first`, a video whose sound starts so many samples late."""
    layout = layout or {1: "mono", 2: "stereo", 6: "5.1"}[len(samples)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        picture = container.add_stream("libx264", rate=25) if video_first else None
        if picture:
            picture.width = picture.height = 32
            for index in range(10):
                frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 99, np.uint8))
                frame.pts, frame.time_base = index, Fraction(1, 25)
                container.mux(picture.encode(frame))
            container.mux(picture.encode(None))
        container.start_encoding()
        resampler = av.AudioResampler(format=stream.codec_context.format.name)
        for start in range(0, samples.shape[1], 1024):
            piece = np.ascontiguousarray(samples[:, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
            frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
            frame.pts = start + video_first
            for converted in resampler.resample(frame):
                container.mux(stream.encode(converted))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_s24le", "pcm_u8", "pcm_f32le", "pcm_f64le"])
def test_every_sample_format_gives_the_same_samples(tmp_path, codec):
    samples = tone(0.5, 22050)
    sound, copy = read_sound(write_sound(tmp_path / "a.wav", samples, 22050, codec=codec))
    assert (sound.sample_rate, sound.channels, sound.num_samples) == (22050, 1, 11025)
    read = torch.cat(list(sound.chunks()), 1).numpy()
    np.testing.assert_allclose(read, samples, atol=0.01 if codec == "pcm_u8" else 1e-4)
    assert copy.shape == (1, 8000)


def test_mp3_padding_is_not_part_of_the_sound(tmp_path):
    samples = tone(1.0, 44100)
    samples[:, -100:] = 0.9
    sound, _ = read_sound(write_sound(tmp_path / "a.mp3", samples, 44100, codec="libmp3lame"))
    read = torch.cat(list(sound.chunks()), 1)
    assert sound.num_samples == read.shape[1] == 44100
    assert read[0, -100:].mean() > 0.5


def test_sound_that_starts_after_its_picture_keeps_its_distance(tmp_path):
    samples = tone(1.0, 48000)
    path = write_sound(tmp_path / "a.mkv", samples, 48000, codec="pcm_s16le", video_first=4800)
    sound, _ = read_sound(path)
    read = torch.cat(list(sound.chunks()), 1)[0]
    assert abs(sound.num_samples - 52800) <= 48  # Matroska counts in milliseconds
    assert read[:4700].abs().max() == 0
    assert read[4900:].abs().max() > 0.2


def test_eight_channels_are_mixed_to_stereo_for_the_file_and_mono_for_the_models(tmp_path):
    wavfile.write(tmp_path / "a.wav", 16000, tone(0.2, 16000, channels=8).T)
    sound, copy = read_sound(tmp_path / "a.wav")
    chunk = next(sound.chunks())
    assert (sound.channels, chunk.shape, copy.shape) == (8, (2, 3200), (1, 3200))
    np.testing.assert_allclose(copy, tone(0.2, 16000), atol=1e-5)


def test_eight_channels_in_planes_are_read_too(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="7.1")
        for start in range(0, 8192, 1024):
            samples = np.repeat(tone(1, 16000)[:, start : start + 1024], 8)[None]
            frame = av.AudioFrame.from_ndarray(samples, format="flt", layout="7.1")
            frame.sample_rate, frame.pts, frame.time_base = 16000, start, Fraction(1, 16000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    sound, copy = read_sound(tmp_path / "a.mp4")
    assert (sound.channels, sound.num_samples) == (8, 8192)
    np.testing.assert_allclose(copy[:, 100:-100], tone(1, 16000)[:, 100:8092], atol=0.1)


def test_left_centre_and_low_frequency_channels_go_where_they_belong(tmp_path):
    samples = np.zeros((6, 1600), np.float32)
    samples[0] = 0.5  # front left
    samples[3] = 0.9  # low frequency
    sound, _ = read_sound(write_sound(tmp_path / "a.wav", samples, 16000))
    left, right = next(sound.chunks())
    assert left.mean() == pytest.approx(0.5 / 3, abs=1e-3)
    assert right.abs().max() == 0


def test_a_twentieth_of_a_second_is_enough(tmp_path):
    sound, copy = read_sound(write_sound(tmp_path / "a.wav", tone(0.05, 16000), 16000))
    assert sound.timeline(25).num_frames == 2
    assert copy.shape == (1, 800)


def test_progress_ends_where_the_sound_ends(tmp_path):
    steps = []
    read_sound(
        write_sound(tmp_path / "a.wav", tone(4, 44100), 44100),
        on_step=lambda done, total: steps.append((done, total)),
    )
    assert steps[-1] == (4, 4)
    assert len(steps) > 1


@pytest.mark.parametrize(
    ("samples", "complaint"),
    [
        (np.zeros((1, 0), np.float32), "empty"),
        (np.zeros((1, 1600), np.float32), "silent"),
        (np.where(np.arange(3200) < 1600, 0.1, np.nan)[None].astype(np.float32), "NaN.*0.10 s"),
    ],
)
def test_sound_that_says_nothing_is_refused(tmp_path, samples, complaint):
    with pytest.raises(PayloadError, match=complaint):
        read_sound(write_sound(tmp_path / "a.wav", samples, 16000))


def test_a_missing_file_a_text_and_a_mute_video_are_refused(tmp_path):
    with pytest.raises(PayloadError, match="no sound file"):
        read_sound(tmp_path / "absent.wav")
    (tmp_path / "text.wav").write_text("This is no sound.")
    with pytest.raises(PayloadError, match="cannot be read as sound"):
        read_sound(tmp_path / "text.wav")
    with av.open(str(tmp_path / "mute.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 32
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(PayloadError, match="has no sound"):
        read_sound(tmp_path / "mute.mp4")


@pytest.mark.parametrize(
    "rates", [(44100, 16000), (48000, 16000), (22254, 16000), (8000, 16000), (16000, 44100)]
)
def test_resampling_keeps_a_tone_in_place(rates):
    before, after = rates
    made = resample(torch.from_numpy(tone(0.5, before, 1000)), before, after)
    assert made.shape == (1, ceil(before // 2 * after / before))
    wanted = tone(0.5, after, 1000)
    np.testing.assert_allclose(made[:, 300:-300], wanted[:, 300:-300], atol=2e-4)


def test_resampling_removes_what_the_lower_rate_cannot_carry():
    too_high = torch.from_numpy(tone(0.5, 48000, 8800))
    assert resample(too_high, 48000, 16000)[:, 300:-300].abs().max() < 1e-4


def test_resampling_does_not_depend_on_how_the_sound_was_cut():
    sound = torch.randn(2, 30000, generator=torch.Generator().manual_seed(1))
    resampler = Resampler(44100, 16000)
    pieces = [resampler.push(piece) for piece in sound.split([1, 7, 992, 20000, 9000], 1)]
    joined = torch.cat([*pieces, resampler.flush()], 1)
    torch.testing.assert_close(joined, resample(sound, 44100, 16000), atol=1e-5, rtol=0)
    assert resampler.flush().shape[1] == 0


def test_a_tensor_and_a_file_give_the_models_the_same_sound(tmp_path):
    samples = tone(0.5, 44100, channels=2)
    samples[1] *= 0.5
    _, from_file = read_sound(write_sound(tmp_path / "a.wav", samples, 44100))
    torch.testing.assert_close(from_file, mono16k(torch.from_numpy(samples), 44100))


def test_mono16k_may_be_silent_but_not_empty_or_broken():
    assert mono16k(torch.zeros(2, 441), 44100).shape == (1, 160)
    with pytest.raises(PayloadError, match="empty"):
        mono16k(torch.zeros(1, 0), 44100)
    with pytest.raises(PayloadError, match="channels × samples"):
        mono16k(torch.zeros(100), 44100)
    with pytest.raises(PayloadError, match="NaN"):
        mono16k(torch.full((1, 100), torch.nan), 44100)
    with pytest.raises(PayloadError, match="0 Hz"):
        mono16k(torch.ones(1, 100), 0)


def test_tensor_chunks_hold_every_sample_once():
    sound = torch.randn(4, 200000)
    chunks = list(tensor_chunks(sound))
    assert len(chunks) > 1
    torch.testing.assert_close(torch.cat(chunks, 1), sound.mean(0).expand(2, -1))


def test_every_shared_recording_is_read_completely():
    for path in sorted(shared("data/speech").iterdir()):
        sound, copy = read_sound(path)
        assert copy.shape[1] == ceil(sound.num_samples * MODEL_RATE / sound.sample_rate), path.name
        assert sound.damaged == 0
