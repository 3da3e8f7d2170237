"""Speech to landmarks with MoDiTalker's AToM (Kim et al. 2024): windows at 25 frames per second.

Stage 3. Two networks and one way to sample: the published one (`atom.py`, 6.24 s, HuBERT) and ours
(`atom_small.py`, 4 s, the starter's features). In the default mode every window goes on from the
one before, whose last frames it is shown in each step, so any length and frame rate works.
`mode="reference"` is the published function: 50 steps with fresh noise, and windows side by side
that all begin with the portrait's landmarks.

Landmarks from the front do not say how a head turns. Upstream takes that from a driving video, and
so does this where it is given one (`driving.py`); else the gestures of the voice do it
(`gestures.py`), where the speech carries them. Our network's upper half, which does not listen,
hardly moves on its own: its eyes and brows come from there, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from .. import checkpoints
from ..payloads import Keyframes, Motion, PayloadError, Portrait, Speech, frames_for
from ..sampling import (
    OnStep,
    Schedule,
    add_noise,
    alphas_cumprod,
    cosine_betas,
    part_of,
    sample_ddim,
    seeded_noise,
    trailing_timesteps,
)
from .atom_small import AToMSmall
from .atom_speakers import CHANNELS, PublishedSpeaker, SmallSpeaker, Speaker
from .driving import DrivingVideo, follow, follow_aligned
from .face_model import FaceReconstruction, load_reconstruction
from .gestures import gestures
from .kdtalker_motion import resample
from .likeness import Likeness
from .rig import load_rig

WEIGHTS = Path(__file__).resolve().parents[2] / "weights" / "moditalker_motion.safetensors"
FPS = Fraction(25)
OVERLAP = 16  # frames in which a window fades into the next
MODES = ("default", "reference")
REFERENCE_STEPS = 50
# How much of the way from the portrait to a window's first landmarks is believed: what chained
# windows get wrong would add up otherwise.
BELIEF = 0.8


@dataclass(kw_only=True, eq=False)
class AToMMotion:
    """AToM as a motion model: space "landmarks68"."""

    network: nn.Module  # `AToM` or `AToMSmall`
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    mode: str = "default"
    gestures: bool = True  # let the head move with the voice, and our network's eyes and brows
    reconstruction: FaceReconstruction | None = None  # the user's own Basel face model
    driving: DrivingVideo | None = None  # says where the head goes, instead of the gestures

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
            speech: with the stream that the network was trained on; where "energy" and "f0" are
                there too, the head moves with them.
            portrait: who speaks; without one, the average face.
            keyframes: not used by this model.
            steps: of diffusion; by default 50 in the reference mode, fewer otherwise.
            guidance: how closely to follow speech and face; 1 is half the work.
            seed: the same seed gives the same motion on every device.
            on_step: called with (denoising steps done, in all).

        Raises:
            PayloadError: the stream is absent or another encoder's, or an option is impossible.
        """
        if self.mode not in MODES:
            raise PayloadError(f"MoDiTalker has the modes {', '.join(MODES)}, not '{self.mode}'.")
        timeline = speech.timeline
        if self.driving is not None:
            self.driving.checked(portrait, timeline.num_frames)
        speaker = self.speaker()
        count = frames_for(timeline.num_samples, timeline.sample_rate, FPS)
        likeness = speaker.likeness(portrait)
        sampler = ClipSampler(
            speaker=speaker,
            device=self.device,
            heard=speaker.hear(speech, count),
            likeness=likeness,
            steps=self._steps(speaker, steps),
            guidance=speaker.guidance if guidance is None else guidance,
            reference=self.mode == "reference",
        )
        landmarks = sampler.sample(seed, on_step)
        offsets = likeness.offsets(landmarks).flatten(1)
        offsets, landmarks = (
            resample(curve, FPS, timeline.fps, timeline.num_frames).unflatten(-1, (68, 3))
            for curve in (offsets, landmarks)
        )
        motion = self._motion(offsets, speech, portrait, seed)
        if self.driving is None or portrait is None:
            return motion
        return self._driven(motion, landmarks, portrait, self.driving)

    def speaker(self) -> Speaker:
        """The network with what it needs to know of a portrait and of a voice."""
        if isinstance(self.network, AToMSmall):
            return SmallSpeaker(self.network, self.device)
        return PublishedSpeaker(self.network, self.device, self.reconstruction)

    def _steps(self, speaker: Speaker, steps: int | None) -> int:
        if steps is not None:
            return steps
        return REFERENCE_STEPS if self.mode == "reference" else speaker.steps

    def _motion(
        self, offsets: Tensor, speech: Speech, portrait: Portrait | None, seed: int
    ) -> Motion:
        frames, rig = speech.timeline.num_frames, load_rig()
        neutral = rig.mean_face if portrait is None else rig.neutral_of(portrait)
        rotation, translation, scale = torch.zeros(frames, 3), torch.zeros(frames, 3), None
        if self.gestures and self.mode == "default" and {"energy", "f0"} <= set(speech.streams):
            around = gestures(speech, seed)
            rotation, translation, scale = around.rotation, around.translation, around.scale
            if isinstance(self.network, AToMSmall):
                offsets = offsets + rig.offsets(around.weights, neutral)
        if self.mode == "default":
            offsets = rig.keep_apart(offsets, neutral)
        return Motion(
            space="landmarks68",
            values=offsets.contiguous(),
            rotation=rotation,
            translation=translation,
            scale=torch.ones(frames) if scale is None else scale,
            timeline=speech.timeline,
        )

    def _driven(
        self, motion: Motion, landmarks: Tensor, portrait: Portrait, video: DrivingVideo
    ) -> Motion:
        """The motion with the head of the video; `landmarks [T, 68, 3]` as they were sampled."""
        if self.reconstruction is None or isinstance(self.network, AToMSmall):
            return follow(motion, portrait, video)
        return follow_aligned(
            motion,
            portrait,
            video,
            frontal=self.reconstruction.model.landmarks(landmarks),
            reconstruction=self.reconstruction,
            rounded=self.mode == "reference",
        )


@dataclass(frozen=True, kw_only=True)
class Window:
    """Where a window lies in the clip, and how many of its first frames exist already."""

    start: int
    known: int


def plan_windows(frames: int, size: int, *, side_by_side: bool = False) -> list[Window]:
    """The windows of `size` frames that cover a clip, in order.

    Neighbours share at least 16 frames, or half a short window, and the last one ends with the
    clip, unless they lie side by side, as published.
    """
    if side_by_side:
        return [Window(start=start, known=0) for start in range(0, frames, size)]
    windows, end = [Window(start=0, known=0)], size
    while end < frames:
        start = min(end - min(OVERLAP, size // 2), frames - size)
        windows.append(Window(start=start, known=end - start))
        end = start + size
    return windows


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipSampler:
    """One clip: what it hears, whose face it is, and how it is sampled."""

    speaker: Speaker
    device: torch.device
    heard: Tensor  # [N, …] at 25 fps
    likeness: Likeness
    steps: int
    guidance: float
    reference: bool

    def sample(self, seed: int, on_step: OnStep | None = None) -> Tensor:
        """Landmarks in the network's units, `[N, 204]` on the CPU."""
        size, count = self.speaker.window, len(self.heard)
        windows = plan_windows(count, size, side_by_side=self.reference)
        generator = torch.Generator().manual_seed(seed)
        blocks = ceil(max(count, size) / size)
        noise = [seeded_noise((size, CHANNELS), generator) for _ in range(blocks)]
        clip = torch.zeros(blocks * size, CHANNELS)
        drawn = torch.cat(noise)
        for index, window in enumerate(windows):
            frames = torch.arange(window.start, window.start + size)
            part = part_of(on_step, index, len(windows))
            clip[frames] = self._window(window, drawn[frames], clip[frames], generator, part)
        return clip[:count]

    def _window(
        self,
        window: Window,
        noise: Tensor,
        old: Tensor,
        generator: torch.Generator,
        on_step: OnStep | None,
    ) -> Tensor:
        """The window's landmarks `[size, 204]`, of which the first ones go on from `old`."""
        speaker, first = self.speaker, self._first(window, old)
        timesteps = trailing_timesteps(self.steps)
        denoise = speaker.denoiser(first, self._heard(window), timesteps, self.guidance)
        fade = ((window.known - torch.arange(len(old))) / (OVERLAP + 1)).clamp(0, 1)[:, None]
        # What is shown adds up over the steps; the last frame that is shown at all would else be
        # half the old window's, and the next one jump.
        per_step = 1 - (1 - fade) ** (1 / len(timesteps))
        shown, start, share = (
            x.to(self.device) for x in (speaker.to_sample(old, first), noise, per_step)
        )

        def continue_old(sample: Tensor, alpha: float) -> Tensor:
            # The frames that exist are shown as they look in this step, from the same noise.
            return torch.lerp(sample, add_noise(shown, start, alpha), share)

        sample = sample_ddim(
            denoise,
            start,
            Schedule(alphas=alphas_cumprod(cosine_betas()), predicts="sample", clip=speaker.limit),
            steps=timesteps,
            eta=1.0 if self.reference else 0.0,
            generator=generator,
            constrain=continue_old if window.known else None,
            on_step=on_step,
        )
        return torch.lerp(speaker.from_sample(sample.float().cpu(), first), old, fade)

    def _first(self, window: Window, old: Tensor) -> Tensor:
        """The landmarks that the window is told, `[204]`."""
        given = self.likeness.first
        if not self.speaker.chained or not window.known:
            return given
        return given + BELIEF * (old[0] - given)

    def _heard(self, window: Window) -> Tensor:
        """What the window hears; after the end of the clip silence, or as published zeros."""
        size = self.speaker.window
        heard = self.heard[window.start : window.start + size]
        missing = size - len(heard)
        rest = heard[-1:].expand(missing, *heard.shape[1:])
        return torch.cat([heard, torch.zeros_like(rest) if self.reference else rest])


def load(
    device: str | torch.device = "cpu",
    path: str | Path | None = None,
    *,
    operations: ModuleType | Any = nn,
    face_model: str | Path | None = None,
) -> AToMMotion:
    """AToM with the published weights.

    Args:
        device: where it computes.
        path: 'atom.pt'.
        operations: namespace the layers come from.
        face_model: folder with the user's own files of the Basel face model.

    Raises:
        CheckpointError: the file is absent or cannot be used.
    """
    if path is None:
        raise checkpoints.CheckpointError(
            "MoDiTalker needs its weights: give the path of 'atom.pt'."
        )
    network = checkpoints.load("moditalker/atom", path, operations).to(device)
    motion = AToMMotion(network=network, device=torch.device(device))
    if face_model is not None:
        motion.reconstruction = load_reconstruction(face_model)
    return motion


def load_small(
    device: str | torch.device = "cpu",
    path: str | Path | None = None,
    *,
    operations: ModuleType | Any = nn,
) -> AToMMotion:
    """Our small AToM with the bundled weights, or with those at `path`."""
    network = checkpoints.load("moditalker_motion", path or WEIGHTS, operations).to(device)
    return AToMMotion(network=network, device=torch.device(device))
