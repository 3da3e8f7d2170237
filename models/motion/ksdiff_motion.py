"""KSDiff as a motion model: one diffusion path for the face, one for the head.

Stage 3. The networks of `ksdiff.py` work on windows of four seconds at 25 frames per second. Each
window is told the last frames of the one before and goes on from there, so any length works; the
first one goes on from the portrait as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn

from .. import checkpoints
from ..keyframes.establish import keep_apart
from ..payloads import Keyframes, Motion, PayloadError, Portrait, Speech, Timeline, frames_for
from ..sampling import Denoiser, OnStep, sample_ddim, seeded_noise, trailing_timesteps
from .arkit import INDEX
from .drift import smooth_step
from .edit import PARTS, soft_limit
from .gaze import hold_gaze
from .gestures import BLINK_CLOSE, BLINK_HOLD, blinks
from .kdtalker_motion import resample
from .ksdiff import CHANNELS, PATHS, KSDiff, PathDenoiser, schedule

WEIGHTS = Path(__file__).resolve().parents[2] / "weights" / "ksdiff_motion.safetensors"
FPS = Fraction(25)
WINDOW = 100  # frames, 4 s, as in training
CONTEXT = 10  # frames of a window that exist already
NEW = WINDOW - CONTEXT
OVERLAP = {"expression": 0, "pose": 24}  # frames in which a window takes over from the one before
STEPS = 8
GUIDANCE = 1.5  # by the speech
LIP_VARIETY = 0.5  # share of the noise that lips start from: one sentence, nearly one way to say it
LIMITS = (25.0, 35.0, 20.0)  # pitch, yaw, roll, degrees, approached softly
SETTLE = {"expression": torch.tensor(8.0), "pose": torch.tensor(40.0)}  # frames
LIDS = [INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]
BLINK = 0.35  # of a lid: what closes further becomes a blink, the rest none
BLINK_APART = 0.4  # seconds between two blinks, at least


@dataclass(kw_only=True, eq=False)
class KSDiffMotionModel:
    """KSDiff: space "arkit52", from the speech streams "expression", "pose" and "text"."""

    network: KSDiff
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    whole_blinks: bool = True  # whether lids blink as in `gestures.py`, at the network's moments
    keyframe_guidance: float = 8.0  # how closely keyframes are followed, 1 is as trained

    @torch.no_grad()
    def sample(
        self,
        speech: Speech,
        portrait: Portrait | None = None,
        keyframes: Keyframes | None = None,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> Motion:
        """Motion for the whole speech.

        Args:
            speech: with the streams of KSDiff's speech encoder; "text" may be absent.
            portrait: not used, motion is relative to any portrait.
            keyframes: when to move most; a path without marks of its own is free.
            steps: of diffusion, 8 by default.
            guidance: how closely to follow the speech; 1.5 by default, 1 is as trained and faster.
            seed: the same seed gives the same motion.
            on_step: called with (denoising steps done, in all).

        Raises:
            PayloadError: a stream is absent or another encoder's, or an option is impossible.
        """
        timeline = speech.timeline
        streams = self._streams(speech)
        marks = {path: strength_at(keyframes, path, timeline) for path in PATHS}
        timesteps = trailing_timesteps(STEPS if steps is None else steps)
        samplers = {
            name: PathSampler(
                network=self.network.path(name),
                device=self.device,
                speech=torch.cat([streams[path] for path in _halves(name)], dim=1),
                text=streams.get("text"),
                strength=torch.stack([marks[path] for path in _halves(name)], dim=1),
                timesteps=timesteps,
                guidance=GUIDANCE if guidance is None else guidance,
                keyframe_guidance=self.keyframe_guidance,
                settle=torch.cat([SETTLE[path].expand(CHANNELS[path]) for path in _halves(name)]),
                overlap=max(OVERLAP[path] for path in _halves(name)),
                variety=torch.cat([variety(path) for path in _halves(name)]),
            )
            for name in self.network.configs
        }
        total = sum(sampler.windows for sampler in samplers.values()) * len(timesteps)
        clips, done = [], 0
        for name, sampler in samplers.items():
            clips.append(sampler.sample(_generator(seed, name), _counted(on_step, done, total)))
            done += sampler.windows * len(timesteps)
        return _motion(torch.cat(clips, dim=1), timeline, self.whole_blinks)

    def _streams(self, speech: Speech) -> dict[str, Tensor]:
        """The streams at 25 frames/s, checked: `[N, D]` each."""
        timeline = speech.timeline
        count = frames_for(timeline.num_samples, timeline.sample_rate, FPS)
        first = next(iter(self.network.configs.values()))
        wanted = {path: first.speech * len(self.network.configs) // len(PATHS) for path in PATHS}
        if "text" in speech.streams:
            wanted["text"] = first.text
        streams = {}
        for name, channels in wanted.items():
            stream = speech.stream(name, needed_by="KSDiff")
            if stream.shape[1] != channels:
                raise PayloadError(
                    f"The speech stream '{name}' has {stream.shape[1]} channels; KSDiff needs"
                    f" {channels}. Encode the sound with the speech encoder 'ksdiff'."
                )
            streams[name] = resample(stream, timeline.fps, FPS, count)
        return streams


@dataclass(frozen=True, kw_only=True, eq=False)
class PathSampler:
    """One path over a whole clip."""

    network: PathDenoiser
    device: torch.device
    speech: Tensor  # [N, D]
    text: Tensor | None  # [N, D]
    strength: Tensor  # [N, K], below 0 where nobody said anything
    timesteps: list[int]
    guidance: float
    keyframe_guidance: float
    settle: Tensor  # [C] frames in which what is left of a jump between windows fades
    overlap: int  # frames in which a window takes over from the one before
    variety: Tensor  # [C] share of the noise to start from

    @property
    def stride(self) -> int:
        """Frames from one window to the next."""
        return NEW - self.overlap

    @property
    def windows(self) -> int:
        """How many windows it takes."""
        return ceil(len(self.speech) / self.stride)

    def sample(self, generator: torch.Generator, on_step: OnStep | None = None) -> Tensor:
        """The coefficients in their units, `[N, C]` on the CPU."""
        count, network = len(self.speech), self.network
        rest = network.standardise(network.mean.new_zeros(network.config.channels))
        clip = rest.expand(WINDOW + (self.windows - 1) * self.stride, -1).clone()
        for index in range(self.windows):
            start = (
                index * self.stride
            )  # in `clip`, which begins with frames of the portrait at rest
            noise = seeded_noise((1, WINDOW, network.config.channels), generator) * self.variety
            old = clip[start : start + CONTEXT]
            counted = _counted(on_step, index * len(self.timesteps))
            new = self._window(start - CONTEXT, old, noise.to(self.device), counted)
            joined = _joined(new, old, self.settle.to(self.device))
            shared = clip[start + CONTEXT : start + CONTEXT + self.overlap * (index > 0)]
            joined[: len(shared)] = _taken_over(shared, joined[: len(shared)])
            clip[start + CONTEXT : start + WINDOW] = joined
        return network.restore(clip[CONTEXT : CONTEXT + count]).float().cpu()

    def _window(self, start: int, old: Tensor, noise: Tensor, on_step: OnStep | None) -> Tensor:
        """A window from frame `start` on, standardised: `[WINDOW, C]`."""

        def continue_old(noisy: Tensor, _: float) -> Tensor:
            return torch.cat([old[None], noisy[:, CONTEXT:]], dim=1)

        clean = sample_ddim(
            self._denoiser(start),
            noise,
            schedule(),
            steps=self.timesteps,
            constrain=continue_old,
            on_step=on_step,
        )
        return clean[0]

    def _denoiser(self, start: int) -> Denoiser:
        """The network with everything but the noise given, guided by speech and keyframes."""
        frames = torch.arange(start, start + WINDOW)
        held = frames.clamp(0, len(self.speech) - 1)
        # A keyframe on the first or the last frame does not go on beyond the clip.
        marks = self.strength[held]
        marks = torch.where((frames == held)[:, None], marks, marks.clamp(max=0))
        shares, heard, led = self._guesses()
        unled = torch.full_like(marks, -1.0)
        given = {
            "speech": self.speech[held].expand(len(shares), -1, -1),
            "strength": torch.stack([marks if share else unled for share in led]),
            "heard": torch.tensor(heard),
            "known": (frames < start + CONTEXT).expand(len(shares), -1),
        }
        if self.text is not None:
            given["text"] = self.text[held].expand(len(shares), -1, -1)
        given = {name: value.to(self.device) for name, value in given.items()}
        weights = torch.tensor(shares, device=self.device)[:, None, None]
        steady = not any(led)  # nobody leads the lips, so they may keep to the speech

        def denoise(noisy: Tensor, timestep: int) -> Tensor:
            steps = torch.full((len(shares),), timestep, device=self.device)
            guesses = self.network(noisy.expand(len(shares), -1, -1), steps, steady=steady, **given)
            return (weights * guesses).sum(0, keepdim=True)

        return denoise

    def _guesses(self) -> tuple[list[float], list[bool], list[bool]]:
        """What is asked of the network at once: the share of each guess, who hears, who is led.

        Classifier-free guidance for two conditions, one after the other (Brooks et al. 2023,
        eq. 3): from nothing to the speech, from there to the keyframes.
        """
        lead = self.keyframe_guidance if (self.strength >= 0).any() else 0.0
        rows = (
            (lead, True, True),
            (self.guidance - lead, True, False),
            (1.0 - self.guidance, False, False),
        )
        asked = [row for row in rows if row[0] != 0]
        return [row[0] for row in asked], [row[1] for row in asked], [row[2] for row in asked]


def _joined(new: Tensor, old: Tensor, settle: Tensor) -> Tensor:
    """The new frames of a window, moved so that they begin where the old ones end.

    The network's own idea of the last old frame says how far off it is at the border.
    """
    ahead = torch.arange(1, NEW + 1, device=new.device)[:, None]
    share = 1 - smooth_step(ahead / settle)
    return new[CONTEXT:] + share * (old[-1] - new[CONTEXT - 1])


def _taken_over(before: Tensor, after: Tensor) -> Tensor:
    """Frames `[K, C]` that two windows share, from the first one's to the second one's.

    Few steps of diffusion leave known frames in a hurry: a head would jerk at each border.
    """
    ahead = torch.arange(1, len(before) + 1, device=before.device)[:, None]
    return torch.lerp(before, after, smooth_step(ahead / (len(before) + 1)))


def blink_moments(weights: Tensor) -> Tensor:
    """Seconds at which blinks begin in ARKit weights `[N, 52]` at 25 frames/s, `[B]` sorted.

    Few steps of diffusion leave lids halfway: how far they close says how likely a blink is.
    """
    closed = weights[:, LIDS].mean(1)
    peaks = keep_apart(closed > BLINK, closed, BLINK_APART * float(FPS))
    return (peaks.nonzero()[:, 0] + 0.5) / float(FPS) - BLINK_CLOSE - BLINK_HOLD / 2


def variety(path: str) -> Tensor:
    """Share of the noise that each coefficient of a path starts from, `[C]`.

    Less noise leads to what is likely, more to what is possible.
    """
    share = torch.ones(CHANNELS[path])
    if path == "expression":
        share[list(PARTS["arkit52"]["mouth"])] = LIP_VARIETY
    return share


def strength_at(keyframes: Keyframes | None, path: str, timeline: Timeline) -> Tensor:
    """The strength of a path's keyframes at 25 frames/s, `[N]`; −1 where nobody said anything.

    Raises:
        PayloadError: the keyframes belong to another clip.
    """
    count = frames_for(timeline.num_samples, timeline.sample_rate, FPS)
    if keyframes is None or path not in keyframes.marks:
        return torch.full((count,), -1.0)
    if keyframes.timeline != timeline:
        given, wanted = keyframes.timeline, timeline
        raise PayloadError(
            f"The keyframes are for {given.num_frames} frames at {float(given.fps):g} fps, the"
            f" speech has {wanted.num_frames} at {float(wanted.fps):g} fps. Predict them from"
            " this speech."
        )
    moments = timeline.frame_centres()[keyframes.marks[path]]
    frames = (moments * float(FPS)).long().clamp(max=count - 1)
    given_strength = keyframes.strength[path][keyframes.marks[path]]
    return torch.zeros(count).scatter_reduce(0, frames, given_strength, "amax")


def _motion(coefficients: Tensor, timeline: Timeline, whole_blinks: bool) -> Motion:
    """Coefficients `[N, 59]` at 25 frames/s as a motion on the timeline."""
    curves = resample(coefficients, FPS, timeline.fps, timeline.num_frames)
    weights, pose = curves.split([CHANNELS[path] for path in PATHS], dim=1)
    if whole_blinks:
        begun = blink_moments(coefficients[:, : CHANNELS["expression"]])
        lids = torch.zeros_like(weights).index_fill(1, torch.tensor(LIDS), 1.0)
        weights = torch.lerp(weights, blinks(begun, timeline.frame_centres()), lids)
    limited = [soft_limit(pose[:, axis], limit) for axis, limit in enumerate(LIMITS)]
    rotation = torch.stack(limited, dim=1)
    return Motion(
        space="arkit52",
        # The face path is trained on eyes that know nothing of the head.
        values=hold_gaze(weights.clamp(0, 1), rotation),
        rotation=rotation,
        translation=pose[:, 3:6].contiguous(),
        scale=pose[:, 6].exp(),
        timeline=timeline,
    )


def _halves(name: str) -> tuple[str, ...]:
    """Which paths a network stands for."""
    return PATHS if name == "both" else (name,)


def _generator(seed: int, name: str) -> torch.Generator:
    """Random numbers of a path: the head's do not depend on the face's."""
    return torch.Generator().manual_seed((seed + (name == "pose") * 0x9E3779B9) % 2**63)


def _counted(on_step: OnStep | None, before: int, total: int = 0) -> OnStep | None:
    """`on_step` of a part of the work, counted from `before` steps that are done."""
    if on_step is None:
        return None
    return lambda done, _: on_step(before + done, total)


def load(
    device: str | torch.device = "cpu",
    path: str | Path | None = None,
    *,
    operations: ModuleType | Any = nn,
) -> KSDiffMotionModel:
    """The bundled KSDiff, or one with the weights at `path`.

    Raises:
        CheckpointError: the file is absent or cannot be used.
    """
    network = checkpoints.load("ksdiff_motion", path or WEIGHTS, operations).to(device)
    return KSDiffMotionModel(network=cast(KSDiff, network), device=torch.device(device))
