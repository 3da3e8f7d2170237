"""What AToM's two networks need to know of a voice and a face before they can be sampled.

Stage 3, for `atom_motion.py`. A window is `[T, 204]`: the published network predicts residuals in
tenths of the Basel face model's unit, ours standardised inter-ocular distances.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, Protocol

import torch
from torch import Tensor

from ..payloads import PayloadError, Portrait, Speech
from .atom import guided
from .atom_small import LIMIT
from .face_model import FaceReconstruction
from .kdtalker_motion import resample
from .likeness import Likeness, basel_likeness, rig_likeness

CHANNELS = 204  # 68 landmarks × xyz
FPS = Fraction(25)
Denoiser = Callable[[Tensor, int], Tensor]


class Speaker(Protocol):
    """A network, and how to talk to it."""

    window: int  # frames
    chained: bool  # whether it has to be told the landmarks of the window's first frame
    limit: float  # the largest magnitude of what it predicts
    steps: int  # of diffusion, where nobody asks for a number
    guidance: float  # likewise

    def hear(self, speech: Speech, frames: int) -> Tensor:
        """What `frames` frames at 25 fps hear, `[frames, …]`."""

    def likeness(self, portrait: Portrait | None) -> Likeness:
        """The portrait's face in the network's units."""

    def to_sample(self, landmarks: Tensor, first: Tensor) -> Tensor:
        """Landmarks `[T, 204]` as the network predicts them when it is told `first [204]`."""

    def from_sample(self, sample: Tensor, first: Tensor) -> Tensor:
        """The landmarks that its prediction means."""

    def denoiser(
        self, first: Tensor, heard: Tensor, timesteps: list[int], guidance: float
    ) -> Denoiser:
        """The clean window in a noisy one, for one window and these timesteps."""


class PublishedSpeaker:
    """The published network: HuBERT, Basel's landmarks, guidance 2."""

    chained, limit, steps, guidance = True, 1.0, 20, 2.0

    def __init__(
        self, network: Any, device: torch.device, reconstruction: FaceReconstruction | None
    ) -> None:
        self.network, self.device, self.reconstruction = network, device, reconstruction
        self.window = network.config.frames

    def hear(self, speech: Speech, frames: int) -> Tensor:
        """Two features per frame, `[frames, 2, 1024]`: the two halves of the stream "hubert"."""
        channels = self.network.config.audio_channels
        stream = speech.stream("hubert", needed_by="MoDiTalker")
        if stream.shape[1] != 2 * channels:
            raise PayloadError(
                f"The speech stream 'hubert' has {stream.shape[1]} channels; MoDiTalker needs"
                f" {2 * channels}, two features of HuBERT large per frame."
            )
        fine = stream.reshape(-1, channels)
        fine = resample(fine, 2 * speech.timeline.fps, 2 * FPS, 2 * frames)
        return fine.reshape(frames, 2, channels)

    def likeness(self, portrait: Portrait | None) -> Likeness:
        """From the Basel face model where it is there, else from the portrait's landmarks."""
        return basel_likeness(portrait, self.reconstruction)

    def to_sample(self, landmarks: Tensor, first: Tensor) -> Tensor:
        """The residual."""
        return landmarks - first

    def from_sample(self, sample: Tensor, first: Tensor) -> Tensor:
        """The residual and where it begins."""
        return sample + first

    def denoiser(
        self, first: Tensor, heard: Tensor, timesteps: list[int], guidance: float
    ) -> Denoiser:
        """With and without conditions in one batch; speech and face are encoded once."""
        landmarks = first[None, None].to(self.device)
        audio = heard.reshape(1, -1, heard.shape[-1]).to(self.device)
        alone = guidance == 1
        if alone:
            kept = torch.ones(1, dtype=torch.bool, device=self.device)
            conditioning = self.network.condition(landmarks, audio, kept)
        else:
            conditioning = self.network.guided_condition(landmarks, audio)
        moments = self.network.moments(torch.tensor(timesteps, device=self.device), conditioning)
        by_timestep = dict(zip(timesteps, moments, strict=True))

        def denoise(noisy: Tensor, timestep: int) -> Tensor:
            batch = noisy.expand(1 if alone else 2, -1, -1)
            clean = self.network.step(batch, by_timestep[timestep], conditioning)
            return clean[0] if alone else guided(clean, guidance)[0]

        return denoise


class SmallSpeaker:
    """Our network: the starter's features, the rig's landmarks."""

    chained, limit, steps, guidance = False, LIMIT, 10, 2.0

    def __init__(self, network: Any, device: torch.device) -> None:
        self.network, self.device = network, device
        self.window = network.config.frames

    def hear(self, speech: Speech, frames: int) -> Tensor:
        """The starter's stream "expression", `[frames, 64]`."""
        channels = self.network.config.speech_channels
        stream = speech.stream("expression", needed_by="The small MoDiTalker")
        if stream.shape[1] != channels:
            raise PayloadError(
                f"The speech stream 'expression' has {stream.shape[1]} channels; the small"
                f" MoDiTalker needs {channels}. Encode the sound with the speech encoder 'starter'."
            )
        return resample(stream, speech.timeline.fps, FPS, frames)

    def likeness(self, portrait: Portrait | None) -> Likeness:
        """The portrait's own landmarks."""
        return rig_likeness(portrait)

    def to_sample(self, landmarks: Tensor, first: Tensor) -> Tensor:
        """Standardised."""
        return self._on_cpu(self.network.standardise, landmarks, first)

    def from_sample(self, sample: Tensor, first: Tensor) -> Tensor:
        """In inter-ocular distances."""
        return self._on_cpu(self.network.restore, sample, first)

    def denoiser(
        self, first: Tensor, heard: Tensor, timesteps: list[int], guidance: float
    ) -> Denoiser:
        """With guidance 1 the network itself."""
        both = 1 if guidance == 1 else 2
        landmarks = first[None].repeat(both, 1).to(self.device)
        audio = heard[None].repeat(both, 1, 1).to(self.device)
        kept = torch.tensor([True, False][:both], device=self.device)

        def denoise(noisy: Tensor, timestep: int) -> Tensor:
            times = torch.full((both,), timestep, device=self.device)
            clean = self.network(noisy.expand(both, -1, -1), landmarks, audio, times, kept)
            return clean[0] if both == 1 else guided(clean, guidance)[0]

        return denoise

    def _on_cpu(self, change: Callable, landmarks: Tensor, first: Tensor) -> Tensor:
        like = self.network.deviation
        return change(landmarks[None].to(like), first[None].to(like))[0].float().cpu()
