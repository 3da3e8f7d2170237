"""Video files, read back."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from soliloquy.models.payloads import PayloadError, Timeline
from soliloquy.models.render.video import VideoWriter, check_output
from soliloquy.models.speech.audio import tensor_chunks

RATES = ["24000/1001", "24", "25", "30000/1001", "30", "50", "60"]


def write(path, timeline, waveform=None, height=32, width=48):
    """A video whose frames get brighter."""
    shades = torch.linspace(30, 220, timeline.num_frames).to(torch.uint8)
    sound = None if waveform is None else tensor_chunks(waveform)
    with VideoWriter(path, timeline=timeline, height=height, width=width, sound=sound) as video:
        for part in shades.split(7):
            video.write(part[:, None, None, None].expand(-1, height, width, 3))
    return path


def sound_of(path):
    """Decoded samples `[C, S]`, and the rate."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
        return np.concatenate(frames, 1), container.streams.audio[0].sample_rate


def click_at_both_ends(num_samples):
    """Quiet noise that starts and ends loud."""
    waveform = torch.randn(1, num_samples, generator=torch.Generator().manual_seed(0)) * 0.01
    waveform[:, :40] = waveform[:, -40:] = 0.9
    return waveform


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize(
    ("num_samples", "sample_rate"), [(44100, 44100), (800, 16000), (25333, 8000)]
)
def test_picture_and_sound_last_as_long_as_the_timeline(tmp_path, fps, num_samples, sample_rate):
    timeline = Timeline.for_sound(num_samples, sample_rate, fps)
    path = write(tmp_path / "a.mp4", timeline, click_at_both_ends(num_samples))
    with av.open(str(path)) as container:
        picture, sound = container.streams.video[0], container.streams.audio[0]
        seconds = picture.duration * picture.time_base
        assert picture.average_rate == Fraction(fps)
        assert picture.frames == timeline.num_frames
        assert seconds == pytest.approx(timeline.num_frames / Fraction(fps), abs=1e-6)
        assert abs(seconds - sound.duration * sound.time_base) <= 1 / Fraction(fps)
        times = [frame.time for frame in container.decode(video=0)]
    expected = [index / float(timeline.fps) for index in range(timeline.num_frames)]
    assert times == pytest.approx(expected, abs=1e-6)
    samples, rate = sound_of(path)
    assert samples.shape == (1, num_samples)
    assert rate == sample_rate


def test_the_first_and_the_last_sample_are_in_the_file(tmp_path):
    timeline = Timeline.for_sound(30011, 44100, 25)
    samples, _ = sound_of(write(tmp_path / "a.mp4", timeline, click_at_both_ends(30011)))
    loud = np.flatnonzero(np.abs(samples[0]) > 0.4)
    assert loud[0] <= 5
    assert loud[-1] >= 30011 - 5


def test_a_rate_that_aac_lacks_is_raised_to_one_it_has(tmp_path):
    timeline = Timeline.for_sound(37800, 37800, 25)
    samples, rate = sound_of(write(tmp_path / "a.mp4", timeline, click_at_both_ends(37800)))
    assert rate == 44100
    assert samples.shape == (1, 44100)
    assert np.flatnonzero(np.abs(samples[0]) > 0.4)[-1] >= 44100 - 8


def test_stereo_keeps_its_sides(tmp_path):
    waveform = torch.zeros(2, 16000)
    waveform[1] = 0.5 * torch.sin(torch.arange(16000) / 5)
    samples, _ = sound_of(write(tmp_path / "a.mp4", Timeline.for_sound(16000, 16000, 25), waveform))
    assert np.abs(samples[0]).max() < 0.02 < 0.4 < np.abs(samples[1]).max()


def test_frames_come_back_in_order_and_colour(tmp_path):
    timeline = Timeline.for_frames(5, 25)
    colours = torch.tensor(
        [[200, 40, 40], [40, 200, 40], [40, 40, 200], [128, 128, 128], [0, 0, 0]]
    )
    frames = colours.to(torch.uint8)[:, None, None].expand(-1, 64, 64, 3)
    with VideoWriter(tmp_path / "a.mp4", timeline=timeline, height=64, width=64) as video:
        video.write(frames)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.colorspace == 1  # BT.709
        for frame, colour in zip(container.decode(stream), colours, strict=True):
            back = frame.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray()
            assert np.abs(back[32, 32].astype(int) - colour.numpy()).max() <= 6


def test_an_odd_picture_gets_one_more_row_and_column(tmp_path):
    path = write(tmp_path / "a.mp4", Timeline.for_frames(3, 25), height=33, width=47)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert (frame.height, frame.width) == (34, 48)
        pixels = frame.to_ndarray(format="rgb24").astype(int)
    assert np.abs(pixels[-1] - pixels[-2]).max() <= 2


def test_the_index_lies_in_front_for_the_browser(tmp_path):
    data = write(tmp_path / "a.mp4", Timeline.for_frames(3, 25)).read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.mp4"
    target.write_bytes(b"old")

    def interrupted():
        yield torch.zeros(1, 1000)
        raise KeyboardInterrupt

    timeline = Timeline.for_sound(16000, 16000, 25)
    with (
        pytest.raises(KeyboardInterrupt),
        VideoWriter(target, timeline=timeline, height=32, width=32, sound=interrupted()) as video,
    ):
        video.write(torch.zeros(25, 32, 32, 3, dtype=torch.uint8))
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_broken_sound_leaves_nothing_either(tmp_path):
    def broken():
        yield torch.zeros(1, 1000)
        raise PayloadError("The disk is gone.")

    timeline = Timeline.for_sound(16000, 16000, 25)
    with (
        pytest.raises(PayloadError, match="disk is gone"),
        VideoWriter(
            tmp_path / "a.mp4", timeline=timeline, height=32, width=32, sound=broken()
        ) as video,
    ):
        video.write(torch.zeros(25, 32, 32, 3, dtype=torch.uint8))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", [3, 5])
def test_too_few_and_too_many_frames_are_refused(tmp_path, given):
    with (
        pytest.raises(PayloadError, match="4 frames"),
        VideoWriter(
            tmp_path / "a.mp4", timeline=Timeline.for_frames(4, 25), height=32, width=32
        ) as video,
    ):
        video.write(torch.zeros(given, 32, 32, 3, dtype=torch.uint8))
    assert list(tmp_path.iterdir()) == []


def test_frames_of_another_size_are_refused(tmp_path):
    with (
        pytest.raises(PayloadError, match="48×32"),
        VideoWriter(
            tmp_path / "a.mp4", timeline=Timeline.for_frames(4, 25), height=32, width=48
        ) as video,
    ):
        video.write(torch.zeros(4, 48, 32, 3, dtype=torch.uint8))


def test_an_unwritable_output_is_refused_before_any_work(tmp_path):
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").write_text("")
    for name, complaint in [
        ("folder.mp4", "is a folder"),
        ("absent/a.mp4", "does not exist"),
        ("file/a.mp4", "does not exist"),
        ("a.avi", r"\.mp4"),
        ("x" * 300 + ".mp4", "cannot be written"),
    ]:
        with pytest.raises(PayloadError, match=complaint):
            check_output(tmp_path / name)
    assert check_output(tmp_path / "fine.mp4") == tmp_path / "fine.mp4"
    assert not (tmp_path / "fine.mp4").exists()
