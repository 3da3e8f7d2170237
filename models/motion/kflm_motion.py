"""Speech to landmarks with ATL-Diff's published generator, second by second at 30 fps.

Stage 3. The published program hears and moves every second by itself, from the face at rest.
`mode="reference"` gives just that; the default joins the seconds and takes the head's shift, tilt
and size out of the landmarks, so that renderers can turn the head themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from .. import checkpoints
from ..payloads import Keyframes, Motion, PayloadError, Portrait, Speech, Timeline
from ..portrait.geometry import RIGID68, euler_to_matrix
from ..render.head import Head
from ..sampling import OnStep
from ..speech.atl_diff import FEATURE_RATE
from ..speech.packed import unpack
from .kdtalker_motion import resample
from .kflm import KFLM

MODES = ("default", "reference")
FADE = 5  # frames to either side of a border that close its gap
BATCH = 8  # seconds at a time


@dataclass(kw_only=True, eq=False)
class KFLMMotion:
    """Speech → Motion in "landmarks68", from the speech stream "wav2vec2_seconds"."""

    network: KFLM
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))  # of the network
    mode: str = "default"

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
        """Speak.

        Args:
            speech: with the stream "wav2vec2_seconds".
            portrait: who speaks.
            keyframes, steps, guidance, seed: not used, this model neither diffuses nor draws.
            on_step: called with (seconds done, seconds in total).

        Raises:
            PayloadError: the stream or the portrait is absent, in the reference mode also a sound
            shorter than a second, or there is no such mode.
        """
        if self.mode not in MODES:
            raise PayloadError(f"KFLM has the modes {', '.join(MODES)}, not '{self.mode}'.")
        if portrait is None:
            raise PayloadError("KFLM moves a particular face and needs a portrait. Give it one.")
        timeline = speech.timeline
        stream = speech.stream("wav2vec2_seconds", needed_by="KFLM")
        width = self.network.config.audio_channels
        features = unpack(stream, width, FEATURE_RATE, timeline, "KFLM")
        moved = self.landmarks(self.seconds(features, timeline.seconds), portrait, on_step)
        if self.mode == "default":
            moved = joined(moved)
        rate = Fraction(self.network.config.frames)
        pixels = portrait.size[0] * moved.flatten(0, 1)
        curves = resample(pixels.flatten(1), rate, timeline.fps, timeline.num_frames)
        moved = curves.unflatten(1, (2, -1)).mT
        still = self.mode == "reference"
        return _motion(moved, portrait, timeline, rigid=not still)

    def seconds(self, features: Tensor, length: float) -> Tensor:
        """The features of each second, `[n, 49, D]`; the reference mode drops the last part of one.

        Raises:
            PayloadError: in the reference mode, less than a second.
        """
        padded = -len(features) % FEATURE_RATE
        features = torch.cat([features, features[-1:].expand(padded, -1)])
        seconds = features.unflatten(0, (-1, FEATURE_RATE))[:, : self.network.config.audio_frames]
        if self.mode == "reference":
            seconds = seconds[: int(length)]
        if not len(seconds):
            raise PayloadError(
                f"The reference mode hears whole seconds; the sound has {length:.2f}."
                " Use the default mode."
            )
        return seconds

    @torch.no_grad()
    def landmarks(
        self, seconds: Tensor, portrait: Portrait, on_step: OnStep | None = None
    ) -> Tensor:
        """The published landmarks, `[n, 30, 2, 68]`, x and y as shares of the picture's height.

        Args:
            seconds: features, `[n, 49, D]`.
            portrait: whose landmarks the network starts from.
            on_step: called with (seconds done, seconds in total).
        """
        rest = (portrait.landmarks[:, :2].T / portrait.size[0])[None].to(self.device)
        found: list[Tensor] = []
        for part in seconds.split(BATCH):
            moved = self.network(part.to(self.device), rest.expand(len(part), -1, -1))
            found += moved.float().cpu()
            if on_step:
                on_step(len(found), len(seconds))
        return torch.stack(found)


def joined(seconds: Tensor) -> Tensor:
    """Landmarks of seconds `[n, 30, …]` whose borders meet half-way, within a sixth of a second."""
    seconds = seconds.clone()
    gap = seconds[1:, :1] - seconds[:-1, -1:]
    share = 0.5 - (torch.arange(FADE) + 0.5) / (2 * FADE)
    share = share.view(-1, *[1] * (seconds.ndim - 2))
    seconds[:-1, -FADE:] += gap * share.flip(0)
    seconds[1:, :FADE] -= gap * share
    return seconds


def _motion(moved: Tensor, portrait: Portrait, timeline: Timeline, *, rigid: bool) -> Motion:
    """Motion that takes the portrait's landmarks to `moved [T, 68, 2]`, source pixels.

    Args:
        moved: where they are.
        portrait: whose they are.
        timeline: of the motion.
        rigid: whether shift, tilt and size of the whole face become the head's motion.
    """
    count, rest, unit = len(moved), portrait.landmarks, portrait.interocular
    roll, scale, translation = torch.zeros(count), torch.ones(count), torch.zeros(count, 2)
    if rigid:
        pivot = Head.of(portrait).pivot[:2]
        centred, goal = rest[:, :2] - pivot, moved - pivot
        roll, scale, shift = in_plane(centred[list(RIGID68)], goal[:, list(RIGID68)])
        moved = (goal - shift[:, None]) @ _turns(roll) / scale[:, None, None] + pivot
        translation = shift / unit
    offsets = nn.functional.pad(moved - rest[:, :2], (0, 1))
    return Motion(
        space="landmarks68",
        values=offsets @ euler_to_matrix(torch.tensor(portrait.rotation)) / unit,
        rotation=nn.functional.pad(roll.rad2deg()[:, None], (2, 0)),
        translation=nn.functional.pad(translation, (0, 1)),
        scale=scale,
        timeline=timeline,
    )


def in_plane(points: Tensor, goal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The turn, size and shift that carry `points [K, 2]` onto `goal [T, K, 2]` best.

    Returns:
        Radians `[T]`, clockwise in the picture, factors `[T]`, and shifts `[T, 2]`.
    """
    centre, goal_centre = points.mean(0), goal.mean(1)
    source, target = points - centre, goal - goal_centre[:, None]
    along = (source * target).sum((1, 2))
    across = (source[:, 0] * target[..., 1] - source[:, 1] * target[..., 0]).sum(1)
    angle = torch.atan2(across, along)
    scale = (along.square() + across.square()).sqrt() / source.square().sum()
    return angle, scale, goal_centre - scale[:, None] * (_turns(angle) @ centre)


def _turns(angle: Tensor) -> Tensor:
    """Matrices `[T, 2, 2]` that turn column vectors."""
    sine, cosine = angle.sin(), angle.cos()
    return torch.stack([cosine, -sine, sine, cosine], -1).unflatten(-1, (2, 2))


def load(
    device: str | torch.device = "cpu",
    path: str | Path | None = None,
    *,
    operations: ModuleType | Any = nn,
) -> KFLMMotion:
    """The published generator.

    Args:
        device: where it computes.
        path: ATL-Diff's file, with or without the speech network inside.
        operations: namespace the layers come from.

    Raises:
        CheckpointError: the file is absent or cannot be used.
    """
    if path is None:
        raise checkpoints.CheckpointError(
            "ATL-Diff's published generator needs its weights: give the path of 'weight.ckpt'."
        )
    network = checkpoints.load("atl_diff/kflm", path, operations).to(device)
    return KFLMMotion(network=network, device=torch.device(device))
