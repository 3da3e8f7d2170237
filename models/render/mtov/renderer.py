"""MToV's contract: portrait and motion → frames. Stage 5.

A window of 16 frames at a time: landmarks and pose frames are encoded, a latent is denoised from
the portrait's own, decoded, and the lower face is blended into the pose frames. The portrait is
encoded once, every window starts from it, and no step draws noise of its own, so that the identity
is carried through the clip. Windows share frames, which start from the same noise in both and fade
from the one to the other. With the mode "reference" windows stand side by side, each with fresh
noise in every step, as published.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ... import checkpoints
from ...payloads import Motion, PayloadError, Portrait
from ...portrait.paste import PasteBack
from ...sampling import seeded_noise
from . import diffusion
from .autoencoder import TriplaneAutoencoder, split_planes
from .scene import Scene
from .unet import TriplaneUNet
from .windows import in_batches, joined, window_frames

NETWORKS = ("autoencoder", "motion_autoencoder", "unet")
MODES = ("default", "reference")
OVERLAP = 4  # frames that neighbouring windows share in the mode "default"

OnFrame = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class MToVSettings:
    """How a motion is drawn."""

    steps: int = diffusion.STEPS  # of full sampling
    start_ratio: float = diffusion.RATIO  # of the steps that are taken; 1 starts from pure noise
    mode: str = "default"
    seed: int = 0
    crop_scale: float | None = None  # of the square, sizes of the face; None = the portrait's crop

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise PayloadError(f"The mode is {' or '.join(MODES)}, not '{self.mode}'.")
        self.timesteps()

    @property
    def overlap(self) -> int:
        """Frames that neighbouring windows share."""
        return OVERLAP if self.mode == "default" else 0

    def timesteps(self) -> list[int]:
        """The timesteps to visit, the noisiest first."""
        return diffusion.timesteps(self.steps, self.start_ratio)


class MToVRenderer:
    """Renders motion of the space "landmarks68" by diffusion on tri-planes.

    Args:
        networks: those of `NETWORKS`, by name. The motion's autoencoder encodes drawn landmarks.
        device: where everything runs.
        settings: how motion is drawn.
        pose_frames: `[T, H, W, 3]` uint8, a driving video in which pose, background and upper face
            are found; made from the portrait without it.

    Raises:
        PayloadError: networks that do not fit each other.
    """

    space = "landmarks68"

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        *,
        device: torch.device | str = "cpu",
        settings: MToVSettings | None = None,
        pose_frames: Tensor | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.settings = settings or MToVSettings()
        self.pose_frames = pose_frames
        self.networks: dict[str, Any] = {name: networks[name].to(self.device) for name in NETWORKS}
        pictures, drawings = self.autoencoder.config, self.networks["motion_autoencoder"].config
        if pictures.plane_shapes != drawings.plane_shapes:
            raise PayloadError(
                f"The autoencoders do not fit: pictures become planes of {pictures.plane_shapes},"
                f" landmarks of {drawings.plane_shapes}. Load a pair that was trained together."
            )

    @property
    def autoencoder(self) -> TriplaneAutoencoder:
        """That of pictures."""
        return self.networks["autoencoder"]

    @property
    def unet(self) -> TriplaneUNet:
        """The denoiser."""
        return self.networks["unet"]

    def performing(self, settings: MToVSettings, pose_frames: Tensor | None = None) -> MToVRenderer:
        """The same networks with other settings."""
        renderer = copy(self)
        renderer.settings, renderer.pose_frames = settings, pose_frames
        return renderer

    def render(
        self,
        portrait: Portrait,
        motion: Motion,
        *,
        batch: int = 8,
        on_frame: OnFrame | None = None,
    ) -> Iterator[Tensor]:
        """The frames of a motion, `batch` at a time.

        Args:
            portrait: whose face it is.
            motion: in the space `landmarks68`.
            batch: frames per tensor; changes nothing else.
            on_frame: called with (frames done, frames in all) after every sampling step.

        Yields:
            `[b, H, W, 3]` uint8 on the CPU, the portrait's full picture.

        Raises:
            PayloadError: motion in another space, a batch below 1, or pose frames that do not fit.
        """
        if motion.space != self.space:
            raise PayloadError(
                f"MToV moves by {self.space}, but {motion.space} motion was given. Convert it."
            )
        if batch < 1:
            raise PayloadError(f"A batch of {batch} frames was asked for; at least 1 is needed.")
        scene = Scene.of(
            portrait,
            motion,
            self.autoencoder.config.resolution,
            crop_scale=self.settings.crop_scale,
            frames=self.pose_frames,
        )
        return in_batches(self._pasted(scene, on_frame), batch)

    def _pasted(self, scene: Scene, on_frame: OnFrame | None) -> Iterator[Tensor]:
        """The clip in parts, `[t, H, W, 3]` uint8."""
        settings, total = self.settings, len(scene.landmarks)
        cut = window_frames(total, self.autoencoder.config.frames, settings.overlap)
        paste = PasteBack(scene.portrait, device=self.device)
        windows, done = self._windows(scene, cut, on_frame), 0
        for squares in joined(windows, total, settings.overlap):
            frames = torch.arange(done, done + len(squares))
            done += len(squares)
            shown = None if settings.mode == "reference" else scene.lower_face(frames)
            pixels = _pixels(squares, rounded=settings.mode != "reference").movedim(1, -1)
            yield paste(pixels, ground=scene.pictures(frames), shown=shown).cpu()
            if on_frame:
                on_frame(done, total)

    @torch.no_grad()
    def _windows(
        self, scene: Scene, cut: list[Tensor], on_frame: OnFrame | None
    ) -> Iterator[Tensor]:
        """What the networks make of each window, `[16, 3, size, size]` in −1 … 1."""
        times = self.settings.timesteps()
        of_time = _rows(self.unet.modulations(torch.tensor(times, device=self.device)))
        generator = torch.Generator().manual_seed(self.settings.seed)
        fresh = generator if self.settings.mode == "reference" else None
        identity = self._encoded("autoencoder", scene.reference_video(len(cut[0])))
        masked, known = identity, None  # of the window before
        for frames in cut:
            squares = scene.squares(scene.pictures(frames))
            video = scene.masked_video(squares, frames)
            if known is None or not torch.equal(video, known):  # a still head is encoded once
                masked, known = self._encoded("autoencoder", video), video
            drawn = self._encoded("motion_autoencoder", scene.landmark_video(frames))
            condition = self.unet.condition(torch.cat([drawn, masked], dim=1), identity)

            def denoise(x: Tensor, t: int, condition: Any = condition) -> Tensor:
                return self.unet.step(x, condition, of_time[times.index(t)])

            def on_step(done: int, steps: int, first: int = int(frames[0])) -> None:
                if on_frame:
                    on_frame(first, len(scene.landmarks))

            start = self._start(identity, generator)
            yield self._decoded(diffusion.sample(denoise, start, times, fresh, on_step))

    def _start(self, identity: Tensor, generator: torch.Generator) -> Tensor:
        if self.settings.mode == "default":
            generator.manual_seed(self.settings.seed)
        noise = seeded_noise(identity.shape, generator).to(identity)
        if self.settings.overlap:
            noise = periodic(noise, self.autoencoder.config.plane_shapes, self.settings.overlap)
        ratio = self.settings.start_ratio
        return noise if ratio == 1 else diffusion.noised_start(identity, noise, ratio)

    def _encoded(self, network: str, video: Tensor) -> Tensor:
        return self.networks[network].extract(video[None].to(self.device))

    def _decoded(self, latent: Tensor) -> Tensor:
        frames = self.autoencoder.decode_from_sample(latent)
        if not torch.isfinite(frames).all():
            raise PayloadError(
                "MToV's networks returned NaN. The weights or the motion are damaged: get the"
                " weights again, or look at the motion's values."
            )
        return frames.float()


def periodic(noise: Tensor, shapes: tuple[tuple[int, int], ...], overlap: int) -> Tensor:
    """Noise `[B, 4, n]` whose last frames are its first: what two windows share is the same."""
    xy, yt, xt = (part.clone() for part in split_planes(noise, shapes))
    for plane in (yt, xt):
        plane[:, :, -overlap:] = plane[:, :, :overlap]
    return torch.cat([plane.flatten(2) for plane in (xy, yt, xt)], dim=-1)


def load(
    device: torch.device | str = "cpu",
    autoencoder: str | Path | None = None,
    motion_autoencoder: str | Path | None = None,
    unet: str | Path | None = None,
    *,
    operations: ModuleType | Any = nn,
    settings: MToVSettings | None = None,
) -> MToVRenderer:
    """The renderer with the weights of three files, published ones or those of our recipes.

    Raises:
        CheckpointError: a file is absent or cannot be used; the message says which one.
        PayloadError: a file was not named.
    """
    files = {"autoencoder": autoencoder, "motion_autoencoder": motion_autoencoder, "unet": unet}
    if None in files.values():
        unnamed = ", ".join(name for name, path in files.items() if path is None)
        raise PayloadError(
            f"MToV needs three weight files; {unnamed} was not named. Its authors withdrew the"
            " file of the U-Net: train one with `python -m soliloquy train mtov_unet`."
        )
    networks = {}
    for name, path in files.items():
        kind = "unet" if name == "unet" else "autoencoder"
        own = path is not None and "config" in checkpoints.metadata_of(path)
        row = f"mtov_{kind}" if own else f"moditalker/{kind}"
        networks[name] = checkpoints.load(row, str(path), operations)
    return MToVRenderer(networks, device=device, settings=settings)


def _pixels(squares: Tensor, *, rounded: bool) -> Tensor:
    """−1 … 1 → uint8; the published program cuts the fraction off."""
    pixels = (squares.clamp(-1, 1) + 1) * 127.5
    return (pixels.round() if rounded else pixels).to(torch.uint8)


def _rows(modulations: list[list[Tensor]]) -> list[list[list[Tensor]]]:
    """Modulations of all timesteps at once → those of each."""
    steps = len(modulations[0][0])
    return [[[part[i : i + 1] for part in block] for block in modulations] for i in range(steps)]
