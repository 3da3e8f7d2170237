"""The renderer of ATL-Diff's kind: landmark-guided noise becomes frames in eight steps of DDIM.

Stage 5. The square around the face is drawn in windows of 30 frames that overlap and are blended.
The network draws in layers (`network.Layers`), so the portrait itself, in its full resolution, is
what moves, and only what is painted over it is as coarse as the square.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ... import checkpoints
from ...motion.posed import posed_landmarks
from ...noise.given import checked_side
from ...noise.landmark_guided import (
    NoiseOptions,
    guided_noise,
    identity_picture,
    square_affine,
)
from ...payloads import GuidedNoise, Motion, PayloadError, Portrait
from ...portrait.affine import extract_crop
from ...portrait.paste import PasteBack
from . import process
from .guidance import landmark_channels, landmark_marks
from .network import EMOTIONS, Identity, IdentityDiffusion, Layers

WEIGHTS = Path(__file__).resolve().parents[3] / "weights" / "identity_diffusion.safetensors"
WINDOW = 30  # frames that are drawn together, the paper's second
OVERLAP = 6  # frames that two windows share, and over which one fades into the other
LARGEST_SIDE = 1024  # of the square as it moves, pixels

OnFrame = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Setup:
    """What all windows of a clip share; tensors are on the renderer's device."""

    portrait: Portrait
    motion: Motion
    noise: GuidedNoise | None  # of the whole clip, where the user gave it
    size: int  # of the square, pixels
    points: Tensor  # [T, 68, 2], pixels of the square
    rest: Tensor  # [68, 2]
    identity: Identity
    source: Tensor  # [1, 3, D, D] in -1 … 1, the square in the portrait's own resolution
    paste: PasteBack


class IdentityDiffusionRenderer:
    """Renders landmark motion by diffusion in a square around the face.

    Args:
        network: trained to start from guided noise.
        device: where to compute.
        size: side of the square where no guided noise says another, 128 or 256 pixels.
        steps: of DDIM per window, 2 or more; the paper's 8.
        emotion: one of `network.EMOTIONS`.
        seed: of the noise where none is given.
    """

    space = "landmarks68"
    starts_from_noise = True  # takes `guided_noise`

    def __init__(
        self,
        network: IdentityDiffusion,
        device: torch.device | str = "cpu",
        *,
        size: int = 128,
        steps: int = process.STEPS,
        emotion: str = EMOTIONS[-1],
        seed: int = 0,
    ) -> None:
        self.network = network.to(device)
        self.device = torch.device(device)
        self.size, self.steps, self.seed = size, steps, seed
        self.emotion = _place_of(emotion)

    def performing(self, *, steps: int, emotion: str, seed: int) -> IdentityDiffusionRenderer:
        """The same network with other settings.

        Raises:
            PayloadError: there is no such emotion.
        """
        renderer = copy(self)
        renderer.steps, renderer.seed = steps, seed
        renderer.emotion = _place_of(emotion)
        return renderer

    def render(
        self,
        portrait: Portrait,
        motion: Motion,
        *,
        batch: int = 8,
        on_frame: OnFrame | None = None,
        guided_noise: GuidedNoise | None = None,
    ) -> Iterator[Tensor]:
        """The frames of a motion, `batch` at a time.

        Args:
            portrait: whose face it is.
            motion: in the space `landmarks68`.
            batch: frames per tensor; changes nothing else.
            on_frame: called with (frames done, frames in all), also while a window is drawn.
            guided_noise: where to start, one frame per frame of the motion; made here if absent.

        Yields:
            `[b, H, W, 3]` uint8 on the CPU, the portrait's full picture.

        Raises:
            PayloadError: motion in another space, noise of another portrait, length or size, or a
                batch below 1.
        """
        if motion.space != self.space:
            raise PayloadError(
                f"The identity diffusion renderer moves by {self.space}, but {motion.space} motion"
                " was given. Convert it first."
            )
        if batch < 1:
            raise PayloadError(f"A batch of {batch} frames was asked for; at least 1 is needed.")
        setup = self.prepare(portrait, motion, guided_noise)
        total, done = motion.timeline.num_frames, 0
        for drawn in self._blended(setup, on_frame):
            for part in drawn.split(batch):
                pictures = self._finished(setup, part)
                done += len(part)
                if on_frame:
                    on_frame(done, total)
                yield pictures

    @torch.inference_mode()
    def prepare(
        self, portrait: Portrait, motion: Motion, noise: GuidedNoise | None = None
    ) -> Setup:
        """What all windows of a clip share.

        Raises:
            PayloadError: see `render`.
        """
        size = self.size
        if noise is not None:
            size = checked_side(noise, portrait, motion, crop_only=True)
        affine = square_affine(portrait, size)
        landmarks = torch.cat([portrait.landmarks[None], posed_landmarks(motion, portrait)])
        points = landmarks[..., :2].double() @ affine[:2, :2].T + affine[:2, 2]
        points = points.float().to(self.device)
        picture = identity_picture(portrait, size)[None].to(self.device)
        marks = landmark_marks(points[:1], size)[:, None]
        side = source_side(portrait, size)
        source = extract_crop(portrait.image, square_affine(portrait, side), side)
        return Setup(
            portrait=portrait,
            motion=motion,
            noise=noise,
            size=size,
            points=points[1:],
            rest=points[0],
            identity=self.network.recognise(process.to_signed(picture), marks),
            source=process.to_signed(source.permute(2, 0, 1)[None].to(self.device)),
            paste=PasteBack(portrait, device=self.device),
        )

    def _blended(self, setup: Setup, on_frame: OnFrame | None) -> Iterator[Tensor]:
        """Layers of all frames, in parts `[n, 6, S, S]`."""
        total = setup.motion.timeline.num_frames
        spans = windows(total)
        tail: Tensor | None = None
        for i, (start, stop) in enumerate(spans):
            drawn = self._drawn(setup, range(start, stop), on_frame)
            if tail is not None:
                drawn = torch.cat([fade(tail, drawn[: len(tail)]), drawn[len(tail) :]])
            ready = (spans[i + 1][0] if i + 1 < len(spans) else total) - start
            tail = drawn[ready:]
            yield drawn[:ready]

    @torch.inference_mode()
    def _drawn(self, setup: Setup, frames: range, on_frame: OnFrame | None) -> Tensor:
        """One window's layers, `[n, 6, S, S]`: the network's answer in the last step."""
        noise = self._noise(setup, frames)
        points = setup.points[frames.start : frames.stop]
        channels = landmark_channels(points, setup.rest, setup.size)
        guide = torch.cat([noise.mask.to(self.device), channels], dim=1)[None]
        emotion = torch.tensor([self.emotion], device=self.device)

        answers: list[Layers] = []

        def predict(noisy: Tensor, timestep: int) -> Tensor:
            step = torch.tensor([timestep], device=self.device)
            answers[:] = [self.network(noisy, step, guide, setup.identity, emotion)]
            return answers[0].over(setup.identity.picture)

        def report(done: int, steps: int) -> None:
            if on_frame:  # so that the user can interrupt between steps
                on_frame(frames.start, setup.motion.timeline.num_frames)

        start = process.to_signed(noise.frames.to(self.device))[None]
        ground = setup.identity.picture[:, None]
        process.sample(predict, start, ground, steps=self.steps, on_step=report)
        return answers[0].stacked()[0]

    def _noise(self, setup: Setup, frames: range) -> GuidedNoise:
        if setup.noise is not None:
            part = slice(frames.start, frames.stop)
            return replace(
                setup.noise, frames=setup.noise.frames[part], mask=setup.noise.mask[part]
            )
        return guided_noise(
            setup.portrait,
            setup.motion,
            NoiseOptions(size=setup.size, seed=self.seed),
            start=frames.start,
            stop=frames.stop,
        )

    @torch.inference_mode()
    def _finished(self, setup: Setup, drawn: Tensor) -> Tensor:
        """Layers over the portrait, in the full picture: uint8 `[b, H, W, 3]`."""
        pictures = []
        for layers in drawn[None].split(1, dim=1):  # one by one: these are large
            square = Layers.unstacked(layers).over_finer(setup.source, setup.identity.picture)[0]
            square = (process.from_signed(square) * 255).round().to(torch.uint8)
            pictures.append(setup.paste(square.permute(0, 2, 3, 1)).cpu())
        return torch.cat(pictures)


def windows(total: int) -> list[tuple[int, int]]:
    """First and last frame (excluded) of the windows over `total` frames."""
    starts = range(0, max(total - OVERLAP, 1), WINDOW - OVERLAP)
    return [(start, min(start + WINDOW, total)) for start in starts]


def fade(before: Tensor, after: Tensor) -> Tensor:
    """One `[n, …]` turning smoothly into the other over its n frames."""
    share = (torch.arange(len(before), device=before.device) + 0.5) / max(len(before), 1)
    share = (share * share * (3 - 2 * share)).view(-1, *[1] * (before.ndim - 1))
    return torch.lerp(before, after, share)


def source_side(portrait: Portrait, size: int) -> int:
    """Side of the portrait's square in its own pixels, within reason, and no less than `size`."""
    zoom = float(torch.linalg.det(portrait.crop[:2, :2]).abs().sqrt())  # crop pixels per pixel
    return min(max(round(portrait.crop_size / zoom), size), max(LARGEST_SIDE, size))


def _place_of(emotion: str) -> int:
    if emotion not in EMOTIONS:
        raise PayloadError(f"'{emotion}' is none of the emotions {', '.join(EMOTIONS)}.")
    return EMOTIONS.index(emotion)


def load(
    device: str | torch.device = "cpu",
    path: str | Path | None = None,
    operations: ModuleType | Any = nn,
    *,
    folders: Sequence[str | Path] = (),
) -> IdentityDiffusionRenderer:
    """The renderer with the weights at `path`, or with those found first.

    Args:
        device: where to compute.
        path: a weight file.
        operations: namespace the layers come from.
        folders: where to look for `identity_diffusion.safetensors` before the bundled weights.

    Raises:
        CheckpointError: there are no weights.
    """
    places = [Path(folder) / part for folder in folders for part in ("", "soliloquy")]
    found = [Path(path)] if path else [place / WEIGHTS.name for place in places] + [WEIGHTS]
    file = next((candidate for candidate in found if candidate.is_file()), None)
    if file is None and path is None:
        raise checkpoints.CheckpointError(
            f"The bundled weights '{WEIGHTS.name}' of the renderer 'atl_diff' are missing. Install"
            " Soliloquy again, or train it with `python -m soliloquy train identity_diffusion` and"
            " put that file into models/soliloquy."
        )
    network = checkpoints.load("identity_diffusion", file or found[0], operations)
    return IdentityDiffusionRenderer(network, device)
