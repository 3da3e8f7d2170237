"""Frames per second of the whole chain with the warp renderer: a sound file in, a video file out.

The demo's portrait, 512×512 unless told otherwise, and the demo's sentence at 25 frames a second.
One run warms up; then the stages are timed one after the other in the order of the pipeline, and
the whole chain as `python -m soliloquy animate` runs it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from ..models.formats import find_system
from ..models.payloads import Motion, Portrait
from ..models.pipeline import MODEL_RATE, Settings, speak
from ..models.render.video import VideoWriter
from ..models.speech.audio import read_sound
from . import ASSETS
from .machine import astronaut, description, peak_memory

SOUND = ASSETS / "demo.wav"
RUNS = 3
CPU = Settings(device="cpu")


def measure() -> dict[str, Any]:
    """Time it, print a table, and return the numbers."""
    portrait = astronaut()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.mp4"
        motion = speak(portrait, SOUND, output, CPU)
        frames = motion.timeline.num_frames
        runs = [_timed(lambda: speak(portrait, SOUND, output, CPU)) for _ in range(RUNS)]
        stages = _stages(portrait, motion, output)
    height, width = portrait.size
    wall = median(run["seconds"] for run in runs)
    report = {
        "benchmark": "warp",
        "machine": description(),
        "picture": [width, height],
        "frames": frames,
        "frames_per_second": frames / wall,
        "processor_ms_per_frame": 1000 * median(run["processor"] for run in runs) / frames,
        "stages_ms": stages,
        "peak_memory_mib": peak_memory(),
    }
    _show(report)
    return report


def _stages(portrait: Portrait, motion: Motion, output: Path) -> dict[str, float]:
    """Milliseconds of every stage; rendering and writing per frame, the others for the clip."""
    took: dict[str, float] = {}

    def stage(name: str, work: Callable[[], Any], share: int = 1) -> Any:
        started = time.perf_counter()
        result = work()
        took[name] = 1000 * (time.perf_counter() - started) / share
        return result

    sound, waveform = stage("read", lambda: read_sound(SOUND))
    encoder = stage("load speech", lambda: find_system("speech", "starter").load(device="cpu"))
    timeline = motion.timeline
    speech = stage("encode", lambda: encoder.encode(waveform, MODEL_RATE, timeline))
    model = stage("load motion", lambda: find_system("motion", "starter").load(device="cpu"))
    stage("sample", lambda: model.sample(speech, portrait))
    renderer = find_system("render", "warp").load(device="cpu")
    iterator = renderer.render(portrait, motion, batch=1)
    first = stage("prepare and first frame", lambda: next(iterator))
    rest = motion.timeline.num_frames - 1
    frames = stage("render, per frame", lambda: list(iterator), rest)
    height, width = portrait.size
    with VideoWriter(
        output, timeline=timeline, height=height, width=width, sound=sound.chunks()
    ) as video:
        video.write(first)
        stage("write, per frame", lambda: [video.write(frame) for frame in frames], rest)
    return took


def _timed(work: Callable[[], Any]) -> dict[str, float]:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return {
        "seconds": time.perf_counter() - wall,
        "processor": time.process_time() - processor,
    }


def _show(report: dict[str, Any]) -> None:
    print(f"{'decode to file':<26}{report['frames_per_second']:8.1f} frames/s")
    print(f"{'processor, per frame':<26}{report['processor_ms_per_frame']:8.1f} ms")
    for name, milliseconds in report["stages_ms"].items():
        print(f"{name:<26}{milliseconds:8.1f} ms")
    print(f"{'peak memory':<26}{report['peak_memory_mib']:8.0f} MiB")
