"""Speech with known phone times, where the synthesisers are installed."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from soliloquy.training.phones import Segment
from soliloquy.training.synthesis import Utterance, load, save
from soliloquy.training.voices import FLITE


def test_utterances_survive_the_cache(tmp_path):
    said = [
        Utterance(
            sound=np.arange(n, dtype=np.int16),
            segments=[Segment("ʃ", 0.0, 0.1)],
            voice="a/b",
            text="shush",
        )
        for n in (5, 9)
    ]
    save(tmp_path / "cache.npz", said)
    read = load(tmp_path / "cache.npz")
    assert [u.voice for u in read] == ["a/b", "a/b"]
    assert read[1].segments == said[1].segments
    assert np.array_equal(read[1].sound, said[1].sound)
    assert read[1].text == "shush"


def fraction_loud(utterance: Utterance, phones: str) -> float:
    """The mean loudness of some phones over that of the whole utterance."""
    sound = utterance.sound.astype(np.float64)
    parts = [
        sound[int(s.start * 16000) : int(s.end * 16000)]
        for s in utterance.segments
        if s.phone and s.phone in phones
    ]
    return float(np.abs(np.concatenate(parts)).mean() / np.abs(sound).mean())


def test_espeak_reports_phones_where_they_sound():
    espeak = pytest.importorskip("soliloquy.training.espeak")
    try:
        engine = espeak.Espeak()
    except OSError:
        pytest.skip("libespeak-ng is not installed")
    sound, phones = engine.speak("a sassy fat cat sat", "en-us")
    segments = [Segment(name, start, end) for name, start, end in phones]
    assert segments[-1].end == pytest.approx(len(sound) / engine.sample_rate)
    assert any(s.phone == "æ" for s in segments)


def test_flite_reports_phones_where_they_sound(tmp_path: Path):
    if not shutil.which("flite"):
        pytest.skip("flite is not installed")
    from soliloquy.training.synthesis import _speak_flite

    (said,) = _speak_flite(FLITE[0], ["Father saw a car far off."], [1.0], tmp_path)
    assert fraction_loud(said, "ɑɔ") > 1.3
    assert fraction_loud(said, "fs") < 0.8
    assert said.seconds == pytest.approx(said.segments[-1].end, abs=0.1)
