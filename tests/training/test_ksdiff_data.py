"""What KSDiff trains on."""

import random
from fractions import Fraction

import numpy as np
import pytest
import torch
from soliloquy.models.motion.arkit import INDEX
from soliloquy.training import ksdiff_data
from soliloquy.training.ksdiff_data import DRAWS, FRAMES, LIPS, read_sessions, text_of
from soliloquy.training.prepare import Clip, write_clip
from soliloquy.training.speech_data import Crop, crop

from .test_speech_data import spoken


@pytest.fixture
def short(monkeypatch):
    """Sessions of 4 s instead of 20."""
    monkeypatch.setattr(ksdiff_data, "FRAMES", 100)
    monkeypatch.setattr(ksdiff_data, "SESSIONS_IN_FILE", 2)


def test_sessions_are_written_once_and_read(tmp_path, short):
    corpus = {"x": [spoken(), spoken()]}
    ksdiff_data.write_sessions(corpus, tmp_path, range(2))
    before = (tmp_path / "0001.npz").stat().st_mtime_ns
    ksdiff_data.write_sessions(corpus, tmp_path, range(2))
    assert (tmp_path / "0001.npz").stat().st_mtime_ns == before
    found = read_sessions(tmp_path)
    assert len(found) == 4
    assert found.features.shape == (4, 200, 192)
    assert found.motion.shape == (4, DRAWS, 100, 59)
    assert np.ptp(found.motion[..., LIPS], axis=1).max() < 1e-3  # they say the same
    assert np.ptp(found.motion[..., 52:55], axis=1).max() > 0.5  # and move differently
    assert np.isfinite(found.features.astype(np.float32)).all()


def test_a_folder_without_sessions_says_how_to_make_some(tmp_path):
    with pytest.raises(FileNotFoundError, match="ksdiff_data CORPUS"):
        read_sessions(tmp_path)


def test_characters_lie_evenly_over_their_sentence():
    piece = Crop(
        sound=torch.zeros(4 * 16000),
        track=torch.zeros(200, 4),
        phones=torch.zeros(200, dtype=torch.long),
        sentences=[("abcd", -1.0, 1.0), ("", 1.0, 2.0), ("ef", 3.0, 5.0)],
    )
    codes, times = text_of(piece)
    assert len(codes) == len(times)
    assert (np.diff(times) > 0).all()
    assert times.min() >= 0
    assert times.max() < 100
    assert codes[0] == 3  # a and b were said before


def test_crops_of_any_length_keep_their_text():
    said = spoken()
    piece = crop([said], random.Random(0), clean=True, frames=2 * FRAMES)
    assert len(piece.sound) == FRAMES * 640
    assert all(end > begin for _, begin, end in piece.sentences)


def test_clips_of_real_people_become_sessions(tmp_path, short):
    frames = 150  # of 30 a second: 125 of 25, a session and a quarter
    weights = np.zeros((frames, 52), np.float16)
    weights[:, INDEX["jawOpen"]] = np.linspace(0, 1, frames)
    clip = Clip(
        sound=np.random.default_rng(0).integers(-3000, 3000, 5 * 16000).astype(np.int16),
        fps=Fraction(30),
        weights=weights,
        rotation=np.full((frames, 3), 4.0, np.float32),
        translation=np.zeros((frames, 3), np.float32),
        scale=np.ones(frames, np.float32),
        landmarks68=np.zeros((frames, 68, 3), np.float32),
        size=np.array([64, 64]),
    )
    write_clip(clip, tmp_path / "clip.npz")
    ksdiff_data.main([str(tmp_path), str(tmp_path / "data")])
    found = read_sessions(tmp_path / "data" / "train")
    assert found.frames.tolist() == [100, 25]
    jaw = found.motion[:, 0, :, INDEX["jawOpen"]].astype(np.float32)
    assert abs(jaw[0, 50] - 50.5 / 125) < 0.01
    assert abs(jaw[1, 10] - 110.5 / 125) < 0.01
    assert not found.motion[..., 52:55].any()  # heads start at rest
