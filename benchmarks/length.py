"""Length, sync and memory: every length at every frame rate, read back from the file.

Two parts. The matrix runs the real sound, speech and motion stages and writes a tiny still picture:
the number of frames, the length of picture and sound, and whether the last word is in both the
sound and the motion. The memory part renders one and ten minutes with the warp renderer, each in a
process of its own.
"""

from __future__ import annotations

import tempfile
import time
import wave
from collections.abc import Iterator
from fractions import Fraction
from math import ceil
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..models.payloads import Motion, parse_fps
from ..models.pipeline import Settings, perform, speak
from ..models.render.video import VideoWriter
from ..models.speech.audio import read_sound, resample
from . import ASSETS
from .machine import astronaut, description, peak_memory

LENGTHS = (1, 10, 60, 600, 1800)  # seconds
RATES = ("23.976", "24", "25", "29.97", "30", "50", "60")
SAMPLE_RATE = 44100
ODD_SAMPLES = 13  # so that no length is a whole number of frames or packets
CLICK = 400  # samples at the very end, loud
MEMORY_LENGTHS = (60, 600)  # seconds
MEMORY_SIZE = 128  # pixels, the side of the portrait of the memory part


def measure(longest: int = LENGTHS[-1]) -> dict[str, Any]:
    """Run both parts up to `longest` seconds, print a table, and return the numbers."""
    rows, memory = [], {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seconds in [length for length in LENGTHS if length <= longest]:
            sound = write_speech(folder / "sound.wav", seconds)
            for rate in RATES:
                rows.append(_row(sound, rate, folder / "out.mp4"))
                print(_line(rows[-1]), flush=True)
        for seconds in [length for length in MEMORY_LENGTHS if length <= longest]:
            sound = write_speech(folder / "sound.wav", seconds)
            with get_context("spawn").Pool(1) as pool:
                memory[seconds] = pool.apply(_memory_of, (str(sound), str(folder / "out.mp4")))
            print(f"{seconds:5d} s rendered: peak {memory[seconds]:.0f} MiB", flush=True)
    growth = memory[600] / memory[60] - 1 if len(memory) == len(MEMORY_LENGTHS) else None
    if growth is not None:
        print(f"ten minutes need {growth:+.1%} of the memory of one")
    failed = [row for row in rows if not row["passed"]]
    print(f"{len(rows) - len(failed)} of {len(rows)} passed")
    return {
        "benchmark": "length",
        "machine": description(),
        "rows": rows,
        "peak_memory_mib": memory,
        "memory_growth": growth,
    }


def write_speech(path: Path, seconds: int) -> Path:
    """A WAV file: the demo's sentence over and over, cut off in the middle, a click at the end."""
    _, voice = read_sound(ASSETS / "demo.wav")
    voice = resample(voice, 16000, SAMPLE_RATE)[0]
    sentence = (voice.numpy() * 32767).astype(np.int16)
    left = seconds * SAMPLE_RATE + ODD_SAMPLES
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        while left > 0:
            piece = sentence[:left].copy()
            left -= len(piece)
            if left <= 0:
                piece[-CLICK:] = np.int16(30000) * np.sign(np.sin(np.arange(CLICK) / 4)).astype(
                    np.int16
                )
            file.writeframes(piece.tobytes())
    return path


def _row(sound: Path, rate: str, output: Path) -> dict[str, Any]:
    """One cell of the matrix."""
    started = time.perf_counter()
    heard, motion = perform(sound, Settings(fps=rate, device="cpu"))
    timeline = motion.timeline
    with VideoWriter(output, timeline=timeline, height=32, width=32, sound=heard.chunks()) as video:
        for count in _batches(timeline.num_frames):
            video.write(torch.zeros(count, 32, 32, 3, dtype=torch.uint8))
    row = {"seconds": timeline.seconds, "fps": rate, "num_frames": timeline.num_frames}
    row |= _read_back(output)
    frame = 1 / timeline.fps
    expected = ceil(Fraction(heard.num_samples) * parse_fps(rate) / heard.sample_rate)
    row["last_word_moves"] = _still_speaking(motion)
    row["passed"] = bool(
        timeline.num_frames == expected == row["frames_in_file"]
        and row["samples_in_file"] == heard.num_samples
        and abs(row["picture_seconds"] - row["sound_seconds"]) <= float(frame)
        and row["click_at_the_end"]
        and row["last_word_moves"]
    )
    row["took"] = time.perf_counter() - started
    return row


def _batches(total: int) -> Iterator[int]:
    yield from [64] * (total // 64)
    if total % 64:
        yield total % 64


def _still_speaking(motion: Motion) -> bool:
    """Whether the lips move in the last half second, which is cut out of the middle of speech."""
    last = motion.values[-max(2, ceil(motion.timeline.fps / 2)) :]
    return bool((last.amax(0) - last.amin(0)).amax() > 0.02)


def _read_back(path: Path) -> dict[str, Any]:
    """What a player finds in a file."""
    import av

    with av.open(str(path)) as container:
        picture, sound = container.streams.video[0], container.streams.audio[0]
        found: dict[str, Any] = {
            "frames_in_file": picture.frames,
            "picture_seconds": float(picture.duration * picture.time_base),
            "sound_seconds": float(sound.duration * sound.time_base),
        }
        samples, tail = 0, np.zeros(0, np.float32)
        for frame in container.decode(sound):
            tail = np.concatenate([tail, frame.to_ndarray()[0]])[-CLICK:]
            samples += frame.samples
    loud = np.abs(tail) > 0.4
    return found | {"samples_in_file": samples, "click_at_the_end": bool(loud[-20:].any())}


def _memory_of(sound: str, output: str) -> float:
    speak(astronaut(MEMORY_SIZE), sound, output, Settings(device="cpu"))
    return peak_memory()


def _line(row: dict[str, Any]) -> str:
    difference = 1000 * (row["picture_seconds"] - row["sound_seconds"])
    return (
        f"{row['seconds']:8.2f} s at {row['fps']:>6} fps: {row['num_frames']:6d} frames, picture"
        f" longer by {difference:5.2f} ms, {'passed' if row['passed'] else 'FAILED'}"
        f" ({row['took']:.1f} s)"
    )
