"""The stages called in order: the command line, tests and benchmarks share it.

    sound file → Speech → Keyframes → Motion → frames → video file

`speak` does all of it; `perform` stops at the motion, `film` starts from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from . import formats
from .motion.spaces import convert
from .payloads import Motion, PayloadError, Portrait, parse_fps
from .speech.audio import MODEL_RATE, Sound, read_sound

Progress = Callable[[str, int, int], None]  # (stage, done, total), called often

READING, ENCODING, PREDICTING, SAMPLING, RENDERING = (
    "Reading the sound",
    "Encoding the speech",
    "Predicting the keyframes",
    "Sampling the motion",
    "Rendering the frames",
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What can be chosen about a performance."""

    motion: str = "starter"  # name of a motion system (`formats.systems`)
    renderer: str = "warp"  # name of a renderer
    fps: float | int | str | Fraction = 25  # 1 … 120; 23.976 and its like mean the exact rates
    seed: int = 0  # of everything random: the same seed gives the same frames on every run
    device: str = "auto"  # an accelerator where there is one; or "cpu", or any name torch knows
    models: tuple[str | Path, ...] = ()  # directories with published weights, as in the host


DEFAULTS = Settings()


def speak(
    portrait: Portrait,
    sound: str | Path,
    output: str | Path,
    settings: Settings = DEFAULTS,
    *,
    on_progress: Progress | None = None,
) -> Motion:
    """A portrait and a sound become a video; what is returned is how the face moves in it.

    Args:
        portrait: from `prepare_portrait`.
        sound: any file with sound; it becomes the sound of the video as it is.
        output: an .mp4 file, replaced when the new one is complete.
        settings: systems, frame rate, seed, device.
        on_progress: called with (stage, done, total); what it raises stops the work.

    Raises:
        PayloadError: something given cannot be used; nothing has changed at `output` then.
    """
    from .render.video import check_output

    output = check_output(output)
    if output.exists() and Path(sound).exists() and output.samefile(sound):
        raise PayloadError(f"'{output}' would replace its own sound. Give the video another name.")
    # A wrong name, or absent files, should not cost a minute.
    formats.find_system("render", settings.renderer).find_weights(settings.models)
    heard, motion = perform(sound, settings, portrait=portrait, on_progress=on_progress)
    film(portrait, motion, output, settings, sound=heard, on_progress=on_progress)
    return motion


@torch.no_grad()
def perform(
    sound: str | Path,
    settings: Settings = DEFAULTS,
    *,
    portrait: Portrait | None = None,
    on_progress: Progress | None = None,
) -> tuple[Sound, Motion]:
    """A sound becomes motion: read, encode, predict keyframes where the model has some, sample.

    Raises:
        PayloadError: the sound, the frame rate, the system or the device cannot be used.
    """
    report = _reporter(on_progress)
    fps, device = parse_fps(settings.fps), choose_device(settings.device)
    system = formats.find_system("motion", settings.motion)
    heard, waveform = read_sound(sound, on_step=report(READING))
    timeline = heard.timeline(fps)
    weights = system.find_weights(settings.models)  # absent files should not cost a minute
    listener = formats.find_system("speech", system.speech)
    encoder = listener.load(device=device, **listener.find_weights(settings.models))
    speech = encoder.encode(waveform, MODEL_RATE, timeline, on_step=report(ENCODING))
    del waveform, encoder  # the longest and the largest thing here, of no more use
    keyframes = None
    if system.keyframes:
        leader = formats.find_system("keyframes", system.keyframes).load(device=device)
        keyframes = leader.predict(speech, settings.seed, on_step=report(PREDICTING))
    model = system.load(device=device, **weights)
    motion = model.sample(speech, portrait, keyframes, seed=settings.seed, on_step=report(SAMPLING))
    if heard.damaged:
        note = f"{heard.damaged} damaged pieces of '{heard.path.name}' were left out."
        motion = replace(motion, notes=(*motion.notes, note))
    return heard, motion


def film(
    portrait: Portrait,
    motion: Motion,
    output: str | Path,
    settings: Settings = DEFAULTS,
    *,
    sound: Sound | None = None,
    on_progress: Progress | None = None,
) -> None:
    """Portrait and motion become a video, frame by frame; with `sound`, one that is heard.

    Raises:
        PayloadError: the output, the renderer or the device cannot be used.
    """
    from .render.video import VideoWriter

    system, device = formats.find_system("render", settings.renderer), settings.device
    weights = system.find_weights(settings.models)
    renderer = system.load(device=choose_device(device), **weights)
    motion = convert(motion, renderer.space, portrait)
    height, width = portrait.size
    report = _reporter(on_progress)(RENDERING)
    chunks = sound.chunks() if sound else None
    with VideoWriter(
        output, timeline=motion.timeline, height=height, width=width, sound=chunks
    ) as video:
        for frames in renderer.render(portrait, motion, on_frame=report):
            video.write(frames)


def choose_device(name: str = "auto") -> str:
    """The device to compute on: "auto" is the accelerator that torch sees, or else the CPU.

    Raises:
        PayloadError: torch does not know the device, or cannot reach it.
    """
    if name == "auto":
        accelerator: Any = getattr(torch, "accelerator", None)  # since torch 2.6
        found = accelerator is not None and accelerator.is_available()
        return accelerator.current_accelerator().type if found else "cpu"
    try:
        torch.zeros(1, device=name).cpu()
    except (RuntimeError, AssertionError, NotImplementedError):
        raise PayloadError(
            f"The device '{name}' cannot be used here. Give 'auto' or 'cpu'."
        ) from None
    return name


def _reporter(on_progress: Progress | None) -> Callable[[str], Callable[[int, int], None]]:
    """Callbacks (done, total) of one stage each."""

    def of_stage(stage: str) -> Callable[[int, int], None]:
        def report(done: int, total: int) -> None:
            if on_progress:
                on_progress(stage, done, total)

        return report

    return of_stage
