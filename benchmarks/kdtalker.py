"""How fast KDTalker speaks: the audio encoder, a denoising step fast and plain, and a whole clip.

Random weights of the published sizes: speed does not depend on their values.
"""

from __future__ import annotations

import statistics
from typing import Any

import torch
from torch import Tensor

from ..models import checkpoints
from ..models.motion.kdtalker import KDTalker
from ..models.motion.kdtalker_motion import CHANNELS, WINDOW, KDTalkerMotion
from ..models.payloads import Speech, Timeline
from ..models.render.liveportrait.keypoints import LivePortraitSource
from ..models.render.liveportrait.motion_extractor import MotionExtractor
from ..models.speech.wav2lip import (
    ROWS,
    STREAM,
    Wav2LipAudioConfig,
    Wav2LipAudioEncoder,
    Wav2LipSpeechEncoder,
    mel_spectrum,
)
from . import liveportrait
from .kdtalker_plain import PlainKDTalker
from .liveportrait import milliseconds
from .machine import description

RENDERING = {  # a CPU takes seconds for a frame
    "float32": {"repeats": 1, "frames": 1},
    "float16": {"repeats": 20, "frames": 500},
}
AUDIO_CHANNELS = 512
TOKENS = 2 + WINDOW
REPEATS = 15


def measure(device: str = "cpu", steps: int = 10, batch: int = 1) -> dict[str, Any]:
    """Time every stage, print a table, and return the numbers.

    Args:
        device: where to run; anything but a CPU renders in float16.
        steps: of diffusion per window.
        batch: clips denoised, frames painted at a time.
    """
    report = {"benchmark": "kdtalker", "machine": description(), **run(device, steps, batch)}
    rendering = report["renderer"]
    rows = (
        ("mel spectrum, per frame", report["mel_ms"]),
        ("audio encoder, per frame", report["audio_encoder_ms"]),
        (f"denoiser step, {batch} × 64 frames", report["denoiser_step_ms"]),
        ("  step by step, for comparison", report["denoiser_plain_ms"]),
        (f"sampling, {steps} steps, per frame", report["motion_ms"]),
        ("portrait, once", rendering["encode_ms"]),
        ("stitching, per frame", rendering["stitch_ms"]),
        ("warping, per frame", rendering["warping_ms"]),
        ("generator, per frame", rendering["generator_ms"]),
        ("  both step by step, for comparison", rendering["plain_ms"]),
        ("paste-back into 512 × 512, per frame", rendering["paste_ms"]),
    )
    print(f"KDTalker and LivePortrait on {device}, {rendering['dtype']}, pseudo-random weights")
    for name, value in rows:
        print(f"  {name:<38} {value:10.3f} ms")
    print(f"  rendering, frames per second           {rendering['end_to_end_fps']:10.2f}")
    print(f"  end to end, frames per second          {report['end_to_end_fps']:10.2f}")
    print(f"  peak memory                            {rendering['peak_memory_mb']:10.0f} MiB")
    return report


def run(
    device: str = "cpu", steps: int = 10, batch: int = 1, *, render: bool = True
) -> dict[str, Any]:
    """Milliseconds per stage, and frames per second from sound to pictures.

    Args:
        device: where to run.
        steps: of diffusion per window.
        batch: clips denoised, frames painted at a time.
        render: also time LivePortrait, which takes most of the time.

    Returns:
        `mel_ms` and `audio_encoder_ms` per frame; `denoiser_step_ms` of our step,
        `denoiser_plain_ms` of the plain one, `denoiser_ratio` of the two and `denoiser_error`, the
        largest difference relative to the largest output; `motion_ms` per frame of a clip of 200
        frames; `renderer` as in `benchmarks/liveportrait.py`; `end_to_end_fps` of all stages,
        with the pictures pasted back.
    """
    network, plain = _denoisers()
    result: dict[str, Any] = {"device": device, "steps": steps, "batch": batch}
    result["threads"] = torch.get_num_threads()
    with torch.inference_mode():
        result |= _speech(torch.device(device))
        result |= _denoiser(network.to(device), plain.to(device), batch)
    result["motion_ms"] = _motion(network, steps)
    if render:
        on_cpu = torch.device(device).type == "cpu"
        dtype = "float32" if on_cpu else "float16"
        result["renderer"] = liveportrait.run(device, batch, dtype, **RENDERING[dtype])
        names = ("mel_ms", "audio_encoder_ms", "motion_ms")
        drawn = 1000 / result["renderer"]["end_to_end_fps"]
        result["end_to_end_fps"] = round(1000 / (sum(result[n] for n in names) + drawn), 3)
    return result


def pseudo_random_system() -> tuple[Wav2LipSpeechEncoder, KDTalkerMotion]:
    """The speech encoder and the motion model of the published sizes, on the CPU."""
    network, _ = _denoisers()
    encoder = Wav2LipAudioEncoder(Wav2LipAudioConfig())
    parts = [part.eval().requires_grad_(False) for part in (encoder, MotionExtractor())]
    return Wav2LipSpeechEncoder(parts[0]), KDTalkerMotion(network=network, extractor=parts[1])


def _denoisers() -> tuple[KDTalker, PlainKDTalker]:
    """The fast network and the plain one, with the same weights."""
    torch.manual_seed(0)
    plain = PlainKDTalker().eval().requires_grad_(False)
    for weight in plain.parameters():
        if weight.ndim == 2:  # outputs as large as inputs, so that errors cannot hide
            torch.nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
    network = checkpoints.load("kdtalker", plain.state_dict())
    assert isinstance(network, KDTalker)
    return network, plain


def _speech(device: torch.device) -> dict[str, float]:
    encoder = Wav2LipAudioEncoder(Wav2LipAudioConfig()).eval().to(device)
    sound, windows = torch.randn(200 * 640) * 0.1, torch.randn(WINDOW, 1, 80, ROWS, device=device)
    mel = milliseconds(lambda: mel_spectrum(sound), torch.device("cpu"), REPEATS)
    encoded = milliseconds(lambda: encoder(windows), device, REPEATS)
    return {"mel_ms": round(mel / 200, 4), "audio_encoder_ms": round(encoded / WINDOW, 4)}


def _denoiser(network: KDTalker, plain: PlainKDTalker, batch: int) -> dict[str, float]:
    device = network.rotary_frequencies.device
    x = torch.randn(batch, TOKENS, CHANNELS, device=device)
    context = torch.randn(batch, TOKENS, AUDIO_CHANNELS, device=device).relu()
    timestep = torch.full((batch,), 500, device=device)
    # Once per window and once per clip; what a step takes is without them.
    conditioning, time = network.condition(context), network.time_table(timestep[:1])

    def ours() -> Tensor:
        return network.step(x, time, conditioning)

    def theirs() -> Tensor:
        return plain(x, timestep, context)

    expected = theirs()
    error = float((ours() - expected).abs().max() / expected.abs().max())
    # In turns, so that whatever else the machine does troubles both alike.
    pairs = [
        (milliseconds(ours, device, 1), milliseconds(theirs, device, 1)) for _ in range(REPEATS)
    ]
    step, reference = (statistics.median(times) for times in zip(*pairs, strict=True))
    prepared = milliseconds(lambda: network.condition(context), device, 3)
    return {
        "denoiser_window_ms": round(prepared, 3),
        "denoiser_step_ms": round(step, 3),
        "denoiser_plain_ms": round(reference, 3),
        "denoiser_ratio": round(step / reference, 3),
        "denoiser_error": error,
    }


def _motion(network: KDTalker, steps: int, frames: int = 200) -> float:
    timeline = Timeline.for_frames(frames, 25)
    stream = torch.rand(frames, AUDIO_CHANNELS, generator=torch.Generator().manual_seed(0))
    speech = Speech(streams={STREAM: stream}, timeline=timeline)
    source = LivePortraitSource(
        kp=torch.zeros(21, 3),
        exp=torch.zeros(21, 3),
        pitch=0.0,
        yaw=0.0,
        roll=0.0,
        t=torch.zeros(3),
        scale=1.5,
    )
    device = network.rotary_frequencies.device
    motion = KDTalkerMotion(network=network, device=device)
    elapsed = milliseconds(lambda: motion.sample(speech, source, steps=steps), device, 1)
    return round(elapsed / frames, 4)
