"""From videos to clips."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from soliloquy.models.payloads import PayloadError
from soliloquy.training import prepare as module
from soliloquy.training.prepare import (
    Clip,
    find_videos,
    prepare,
    prepare_clip,
    read_clip,
    read_frames,
    write_clip,
)

from ..helpers import shared


def video(path: Path, seconds: float, fps: int = 25, size: int = 90, sound: bool = True) -> Path:
    """Grey pictures, and a tone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", fps)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        tone = container.add_stream("aac", 16000, layout="mono") if sound else None
        for index in range(round(seconds * fps)):
            picture = np.full((size, size, 3), 8 * (index % 30), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
        if tone:
            wave = np.sin(np.arange(int(seconds * 16000)) * 0.1).astype(np.float32)[None] * 0.3
            frame = av.AudioFrame.from_ndarray(wave, "fltp", "mono")
            frame.sample_rate = 16000
            container.mux(tone.encode(frame))
            container.mux(tone.encode())
    return path


def face(*_):
    """What a detector would see."""
    points = np.zeros((478, 3), np.float32)
    points[:, 0], points[:, 1] = np.arange(478) % 22, np.arange(478) // 22
    return [{"landmarks_xy": points, "blendshapes": {"jawOpen": 0.5}}]


@pytest.fixture
def detector(monkeypatch):
    """No MediaPipe; grey pictures have a face unless they are small."""
    monkeypatch.setattr(module, "check_landmarker", lambda path: None)

    def detect(path, _, on_frame=None):
        frames = list(read_frames(path))
        for done in range(len(frames)):
            if on_frame:
                on_frame(done + 1, len(frames))
        size = frames[0][0].shape[1]
        return [face() if size > 64 else [] for _ in frames], frames[0][1], (size, size)

    monkeypatch.setattr(module, "detect_faces", detect)


def test_good_clips_are_prepared_and_bad_ones_reported(tmp_path, detector):
    video(tmp_path / "in" / "a.mp4", 2.5)
    video(tmp_path / "in" / "deep" / "b.mp4", 2.5, fps=30)
    video(tmp_path / "in" / "short.mp4", 0.5)
    video(tmp_path / "in" / "mute.mp4", 2.5, sound=False)
    video(tmp_path / "in" / "faceless.mp4", 2.5, size=32)
    (tmp_path / "in" / "broken.mp4").write_text("no video")
    seen = []
    report = prepare(
        tmp_path / "in", tmp_path / "out", Path("x.task"), lambda *told: seen.append(told)
    )
    assert report.prepared == 2
    assert set(report.refused) == {"short", "mute", "faceless", "broken"}
    assert "100%" in report.refused["faceless"]
    assert "2 are needed" in report.refused["short"]
    assert ("a", 62, 62) in seen or ("a", 63, 63) in seen
    clip = read_clip(tmp_path / "out" / "deep-b.npz")
    assert clip.fps == 30
    assert len(clip.weights) == len(clip.landmarks68) == 75
    assert abs(len(clip.sound) - 2.5 * 16000) < 2100


def test_a_second_run_keeps_what_is_there(tmp_path, detector):
    video(tmp_path / "in" / "a.mp4", 2.5)
    prepare(tmp_path / "in", tmp_path / "out", Path("x.task"))
    before = (tmp_path / "out" / "a.npz").stat().st_mtime_ns
    report = prepare(tmp_path / "in", tmp_path / "out", Path("x.task"))
    assert (report.prepared, report.kept) == (0, 1)
    assert (tmp_path / "out" / "a.npz").stat().st_mtime_ns == before


def test_folders_without_videos_are_refused(tmp_path):
    with pytest.raises(PayloadError, match="no folder"):
        find_videos(tmp_path / "absent")
    with pytest.raises(PayloadError, match="holds no videos"):
        find_videos(tmp_path)


def test_without_the_model_it_says_what_is_missing(tmp_path):
    video(tmp_path / "in" / "a.mp4", 2.5)
    with pytest.raises(PayloadError, match="--face-landmarker"):
        prepare(tmp_path / "in", tmp_path / "out", tmp_path / "absent.task")


def test_clips_survive_the_disk(tmp_path):
    clip = Clip(
        sound=np.arange(9, dtype=np.int16),
        fps=Fraction(30000, 1001),
        weights=np.zeros((4, 52), np.float16),
        rotation=np.ones((4, 3), np.float32),
        translation=np.zeros((4, 3), np.float32),
        scale=np.ones(4, np.float32),
        landmarks68=np.full((4, 68, 3), np.nan, np.float32),
        size=np.array([640, 480]),
    )
    write_clip(clip, tmp_path / "c.npz")
    found = read_clip(tmp_path / "c.npz")
    assert found.fps == clip.fps
    assert all(
        np.array_equal(value, getattr(found, name), equal_nan=name == "landmarks68")
        for name, value in vars(clip).items()
        if name != "fps"
    )
    assert module.is_clip(tmp_path / "c.npz")


@pytest.mark.parametrize("content", [{"fps": np.array(25.0)}, {"x": np.zeros(2)}, None])
def test_arrays_of_others_are_no_clips(tmp_path, content):
    path = tmp_path / "other.npz"
    path.write_bytes(b"no archive") if content is None else np.savez(path, **content)
    with pytest.raises(PayloadError, match=r"'.*other\.npz' is not a clip"):
        read_clip(path)


def test_real_faces_are_found_as_others_found_them(tmp_path):
    pytest.importorskip("mediapipe")
    landmarker = shared("models/face_landmarker.task")
    source = shared("data/clips/talk_b.mp4")
    known = np.load(shared("data/clips/talk_b.npz"))
    short = tmp_path / "b.mp4"
    with av.open(str(source)) as given, av.open(str(short), "w") as made:
        streams = {s.index: made.add_stream_from_template(s) for s in given.streams}
        for packet in given.demux():
            if packet.dts is not None and packet.pts * packet.time_base < 2.2:
                packet.stream = streams[packet.stream.index]
                made.mux(packet)
    clip = prepare_clip(short, landmarker)
    jaw = known["blendshapes"][:, list(known["blendshape_names"]).index("jawOpen")]
    count = min(len(clip.weights), 50)
    assert np.corrcoef(clip.weights[:count, 24].astype(float), jaw[:count])[0, 1] > 0.95
