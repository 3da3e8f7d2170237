"""Memory: a sound of ten minutes must need hardly more of it than a sound of one.

Each length is rendered with the warp renderer in a process of its own.
"""

from __future__ import annotations

import tempfile
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ..models.pipeline import Settings, speak
from .length import write_speech
from .machine import astronaut, description, peak_memory

LENGTHS = (60, 600)  # seconds
SIZE = 256  # pixels, the side of the portrait


def measure() -> dict[str, Any]:
    """Render both lengths, print the peaks, and return the numbers."""
    peaks = {}
    with tempfile.TemporaryDirectory() as name:
        for seconds in LENGTHS:
            sound = write_speech(Path(name) / "sound.wav", seconds)
            with get_context("spawn").Pool(1) as pool:
                peaks[seconds] = pool.apply(_peak, (str(sound), str(Path(name) / "out.mp4")))
            print(f"{seconds:5d} s rendered: peak {peaks[seconds]:.0f} MiB", flush=True)
    growth = peaks[LENGTHS[1]] / peaks[LENGTHS[0]] - 1
    print(f"ten minutes need {growth:+.1%} of the memory of one")
    return {
        "benchmark": "memory",
        "machine": description(),
        "peak_memory_mib": peaks,
        "growth": growth,
    }


def _peak(sound: str, output: str) -> float:
    speak(astronaut(SIZE), sound, output, Settings(device="cpu"))
    return peak_memory()
