"""Memory: a sound of ten minutes must need hardly more of it than a sound of one.

Every measurement runs in a process of its own, because a process remembers its peak for ever. The
published systems compute with pseudo-random weights. LivePortrait takes seconds for a frame on a
CPU, so its ten minutes are measured in two halves: all frames through everything but its two large
networks, which a stand-in replaces, and a few more and more frames with them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from torch import Tensor

from ..models.motion.spaces import convert
from ..models.payloads import Motion
from ..models.pipeline import Settings, film, perform, speak
from ..models.render.video import VideoWriter
from ..models.speech.audio import MODEL_RATE, read_sound
from .length import write_speech
from .machine import astronaut, description, peak_memory

LENGTHS = (60, 600)  # seconds
PAINTED = (2, 6, 18)  # frames through LivePortrait's large networks
BATCH = 2  # frames at a time; with so few the default of 8 would be most of a clip
SIZE = 256  # pixels, the side of the portrait


def measure(motion: str = "starter", renderer: str = "warp") -> dict[str, Any]:
    """Run both lengths, print the peaks, and return the numbers.

    Args:
        motion: "starter", "kdtalker", or any bundled motion model.
        renderer: "warp", "liveportrait", or any bundled renderer.
    """
    report: dict[str, Any] = {"benchmark": "memory", "machine": description()}
    report |= {"motion": motion, "renderer": renderer}
    with tempfile.TemporaryDirectory() as name:
        sounds = {s: write_speech(Path(name) / f"{s}.wav", s) for s in LENGTHS}
        output = str(Path(name) / "out.mp4")
        if (motion, renderer) == ("starter", "warp"):
            peaks = {s: _alone(_spoken, str(sounds[s]), output) for s in LENGTHS}
            return report | {"peak_memory_mib": peaks, "growth": _growth("speak", peaks)}
        report["sampling"], motions = {}, {}
        for s in LENGTHS:
            report["sampling"][s], motions[s] = _alone(_sampled, str(sounds[s]), motion)
        report["sampling_growth"] = _growth("sample the motion", report["sampling"])
        render = _streamed if renderer == "liveportrait" else _filmed
        report["rendering"] = {
            s: _alone(render, motions[s], str(sounds[s]), output, renderer) for s in LENGTHS
        }
        report["rendering_growth"] = _growth("render", report["rendering"])
        if renderer == "liveportrait":
            longest = motions[LENGTHS[-1]]
            report["painting"] = {n: _alone(_painted, longest, n) for n in PAINTED}
            report["painting_growth"] = _growth("paint", report["painting"], "frames")
    return report


def _growth(what: str, peaks: dict[int, float], unit: str = "s") -> float:
    """How much more the largest of `peaks` needed than the smallest; prints them."""
    for amount, peak in peaks.items():
        print(f"{what + ',':<20} {amount:4d} {unit}: peak {peak:.0f} MiB", flush=True)
    growth = peaks[max(peaks)] / peaks[min(peaks)] - 1
    print(f"{what}: {growth:+.1%} for {max(peaks) // min(peaks)} times as long", flush=True)
    return growth


def _alone(work: Callable[..., Any], *arguments: Any) -> Any:
    """The result of some work in a process of its own."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def _spoken(sound: str, output: str) -> float:
    speak(astronaut(SIZE), sound, output, Settings(device="cpu"))
    return peak_memory()


def _sampled(sound: str, system: str) -> tuple[float, Motion]:
    """The peak of sampling a whole sound, and the motion."""
    portrait = astronaut(SIZE)
    if system != "kdtalker":
        _, motion = perform(sound, Settings(motion=system, device="cpu"), portrait=portrait)
        return peak_memory(), motion
    from .kdtalker import pseudo_random_system

    encoder, model = pseudo_random_system()
    heard, waveform = read_sound(sound)
    speech = encoder.encode(waveform, MODEL_RATE, heard.timeline(25))
    del waveform, encoder
    motion = model.sample(speech, portrait)
    return peak_memory(), motion


def _filmed(motion: Motion, sound: str, output: str, renderer: str) -> float:
    heard, _ = read_sound(sound)
    settings = Settings(renderer=renderer, device="cpu")
    film(astronaut(SIZE), motion, output, settings, sound=heard)
    return peak_memory()


def _streamed(motion: Motion, sound: str, output: str, _: str) -> float:
    """The peak of a whole LivePortrait video whose crops are a stand-in's.

    Conversion, keypoints, stitching, paste-back, encoding and sound are the real ones.
    """
    from .liveportrait import make_renderer

    portrait, renderer = astronaut(SIZE), make_renderer("cpu", "float32")
    renderer._paint = _grey
    heard, _waveform = read_sound(sound)
    del _waveform
    motion = convert(motion, renderer.space, portrait)
    with VideoWriter(
        output, timeline=motion.timeline, height=SIZE, width=SIZE, sound=heard.chunks()
    ) as video:
        for frames in renderer.render(portrait, motion):
            video.write(frames)
    return peak_memory()


def _grey(_: Any, keypoints: Tensor) -> Tensor:
    """Crops as bright as the face has moved, in place of warping network and generator."""
    return keypoints.mean((1, 2)).sigmoid()[:, None, None, None].expand(-1, 3, 512, 512)


def _painted(motion: Motion, count: int) -> float:
    """The peak of the first frames of a long motion, really painted."""
    from .liveportrait import make_renderer

    portrait, renderer = astronaut(SIZE), make_renderer("cpu", "float32")
    motion = convert(motion, renderer.space, portrait)
    for _ in islice(renderer.render(portrait, motion, batch=BATCH), count // BATCH):
        pass
    return peak_memory()
