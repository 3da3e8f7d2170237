"""ATL-Diff's published renderer: guided noise becomes pictures by the U-Net of a diffusers folder.

Stage 5. 32 frames at a time: the noise is denoised as it is, told by a ResNet-50 who the portrait
shows. As published, the clip lies on its side: rows of the picture are the network's frames, and
time is its width. By default windows overlap, every frame of the timeline is drawn in the square of
the portrait's crop, and pasted back. With the mode "reference" seconds stand side by side, the
whole picture is squeezed into the square, and frames are kept and faded as published.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ... import checkpoints
from ...noise import landmark_guided, segments
from ...noise.given import checked_side
from ...noise.landmark_guided import MODES, NoiseOptions
from ...noise.segments import SEGMENT
from ...payloads import GuidedNoise, Motion, PayloadError, Portrait
from ...portrait.paste import PasteBack
from ...resnet import ResNet50
from ..mtov.windows import in_batches, joined, window_frames
from .folder import Published, load_folder

STEPS = 8  # of DDIM
OVERLAP = 2  # frames that two windows share in the mode "default": a window draws 30 new ones

OnFrame = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class PublishedSettings:
    """How a motion is drawn."""

    steps: int = STEPS
    mode: str = "default"
    seed: int = 0  # of the noise where none is given

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise PayloadError(f"The mode is {' or '.join(MODES)}, not '{self.mode}'.")


class PublishedRenderer:
    """Renders landmark motion with ATL-Diff's published weights.

    Args:
        published: U-Net and scheduler of the folder.
        recogniser: torchvision's ResNet-50.
        device: where to compute.
        settings: how motion is drawn.

    Raises:
        PayloadError: the networks do not fit each other.
    """

    space = "landmarks68"
    starts_from_noise = True  # takes `guided_noise`

    def __init__(
        self,
        published: Published,
        recogniser: ResNet50,
        device: torch.device | str = "cpu",
        settings: PublishedSettings | None = None,
    ) -> None:
        channels = published.unet.config.cross_attention_dim
        if recogniser.channels % channels:
            raise PayloadError(
                f"The U-Net's context has {channels} channels, into which the"
                f" {recogniser.channels} features of a portrait do not fall. ATL-Diff's has 32."
            )
        self.published, self.device = published, torch.device(device)
        self.unet = published.unet.to(self.device)  # where the host finds it
        self.recogniser = recogniser.to(self.device)
        self.settings = settings or PublishedSettings()

    def performing(self, settings: PublishedSettings) -> PublishedRenderer:
        """The same networks with other settings."""
        renderer = copy(self)
        renderer.settings = settings
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
            on_frame: called with (frames done, frames in all), also after every sampling step.
            guided_noise: where to start, one frame per frame of the motion; made here if absent.
                It says whether the square is the portrait's crop or its whole picture.

        Yields:
            `[b, H, W, 3]` uint8 on the CPU, the portrait's full picture.

        Raises:
            PayloadError: motion in another space, noise of another portrait, length or size, or a
                batch below 1.
        """
        if motion.space != self.space:
            raise PayloadError(
                f"ATL-Diff's renderer moves by {self.space}, but {motion.space} motion was given."
                " Convert it first."
            )
        if batch < 1:
            raise PayloadError(f"A batch of {batch} frames was asked for; at least 1 is needed.")
        if guided_noise is not None:
            checked_side(guided_noise, portrait, motion)
        pictures = self._pictures(portrait, motion, guided_noise, on_frame)
        return in_batches((picture[None] for picture in pictures), batch)

    def _pictures(
        self,
        portrait: Portrait,
        motion: Motion,
        noise: GuidedNoise | None,
        on_frame: OnFrame | None,
    ) -> Iterator[Tensor]:
        """The clip picture by picture, `[H, W, 3]` uint8 on the CPU."""
        reference, total = self.settings.mode == "reference", motion.timeline.num_frames
        whole = reference if noise is None else noise.whole_picture
        size = landmark_guided.PUBLISHED_SIZE if noise is None else noise.frames.shape[-1]
        starts = self._seconds if reference else self._windows
        context = self.recognised(portrait, size, whole=whole)
        done = 0

        def on_step(step: int, steps: int) -> None:
            if on_frame:  # so that the user can interrupt between steps
                on_frame(done, total)

        drawn = (self._drawn(x, context, on_step) for x in starts(portrait, motion, noise))
        if reference:
            squares = segments.assembled(drawn, motion.timeline)
        else:
            squares = joined(drawn, total, OVERLAP)
        paste = None if whole else PasteBack(portrait, device=self.device)
        for square in (square for part in squares for square in part):
            picture = _pixels(square, portrait.size if whole else (portrait.crop_size,) * 2)
            done += 1
            yield (paste(picture[None])[0] if paste else picture).cpu()
            if on_frame:
                on_frame(done, total)

    @torch.inference_mode()
    def recognised(self, portrait: Portrait, size: int, *, whole: bool = False) -> Tensor:
        """Who the portrait shows, `[1, 64, 32]`: 2048 features as tokens of the U-Net's context.

        As published, the network sees colours in 0 … 1, not what it was trained to see.

        Args:
            portrait: see above.
            size: side of the square, pixels.
            whole: show the whole picture, squeezed, instead of the square around the face.
        """
        show = landmark_guided.squeezed_picture if whole else landmark_guided.identity_picture
        features = self.recogniser(show(portrait, size)[None].to(self.device))
        return features.unflatten(1, (-1, self.unet.config.cross_attention_dim))

    @torch.inference_mode()
    def _drawn(self, start: Tensor, context: Tensor, on_step: Callable[[int, int], None]) -> Tensor:
        """Noise `[32, 3, S, S]` → pictures in 0 … 1."""
        clip = start.permute(1, 2, 3, 0)[None].to(self.device)  # [1, 3, row, column, time]
        clip = self.published.sample(clip, context, steps=self.settings.steps, on_step=on_step)
        if not torch.isfinite(clip).all():
            raise PayloadError(
                "ATL-Diff's U-Net returned NaN. The weights are damaged, or the scheduler's"
                " configuration is not theirs: copy the published folder again."
            )
        return clip[0].permute(3, 0, 1, 2).clamp(0, 1)

    def _windows(
        self, portrait: Portrait, motion: Motion, noise: GuidedNoise | None
    ) -> Iterator[Tensor]:
        """Where each window of the timeline starts, `[32, 3, S, S]`."""
        options = NoiseOptions(seed=self.settings.seed)
        for frames in window_frames(motion.timeline.num_frames, SEGMENT, OVERLAP):
            if noise is not None:
                yield noise.frames[frames]
            else:
                first, last = int(frames[0]), int(frames[-1])
                made = landmark_guided.guided_noise(
                    portrait, motion, options, start=first, stop=last + 1
                )
                yield made.frames[frames - first]

    def _seconds(
        self, portrait: Portrait, motion: Motion, noise: GuidedNoise | None
    ) -> Iterator[Tensor]:
        """Where each second starts, as published."""
        if noise is not None:
            return segments.segments_of(noise, motion.timeline)
        options = NoiseOptions(mode="reference", seed=self.settings.seed)
        return segments.segment_noise(portrait, motion, options)


def load(
    device: str | torch.device = "cpu",
    unet: str | Path | None = None,
    resnet: str | Path | None = None,
    operations: ModuleType | Any = nn,
) -> PublishedRenderer:
    """The renderer with the published weights.

    Args:
        device: where to compute.
        unet: the weights in the folder `unet` of the published folder; the rest is read from there.
        resnet: torchvision's file of ResNet-50, IMAGENET1K_V1.
        operations: namespace the layers come from.

    Raises:
        PayloadError: a file was not named, is absent or is not what is needed.
    """
    if unet is None or resnet is None:
        raise PayloadError(
            "ATL-Diff's published renderer needs the folder of its authors and torchvision's"
            " 'resnet50-0676ba61.pth': give the paths of the U-Net's weights and of that file."
        )
    published = load_folder(Path(unet).parent.parent, operations)
    recogniser = checkpoints.load("resnet50", resnet, operations)
    return PublishedRenderer(published, recogniser, device)


def _pixels(square: Tensor, size: tuple[int, int]) -> Tensor:
    """`[3, S, S]` in 0 … 1 → uint8 `[H, W, 3]`."""
    picture = F.interpolate(square[None], size, mode="bicubic", antialias=True)[0]
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)
