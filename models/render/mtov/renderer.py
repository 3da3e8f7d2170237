"""MToV's contract: portrait and motion → frames. Stage 5.

A window of 16 frames at a time: landmarks and pose frames are encoded, a latent is denoised from
the portrait's own, decoded, and the lower face is blended into the pose frames. The portrait is
encoded once, every window starts from it, and no step draws noise of its own, so that the identity
is carried through the clip. Windows share frames, which start from the same noise in both and fade
from the one to the other. With the mode "reference" windows stand side by side, each with fresh
noise in every step, as published; both modes fill the last window with the motion's last frame.

Our variant (`posed.py`), which is bundled, encodes the landmarks itself, beside the pose frames
with their lower half. A window is denoised from that latent, and what the networks change is laid
onto the pose frames.
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
from .painting import Painter
from .posed import PosedAutoencoder, PosedConfig
from .scene import Scene
from .unet import TriplaneUNet
from .windows import in_batches, joined, window_frames

NETWORKS = ("autoencoder", "motion_autoencoder", "unet")
BUNDLED = ("autoencoder", "unet")  # our variant needs no autoencoder of drawings
MODES = ("default", "reference")
WEIGHTS = Path(__file__).resolve().parents[3] / "weights"  # of the bundled networks
SMALL_STEPS = 40  # of full sampling, for the bundled networks: ten are taken
OVERLAP = 4  # frames that neighbouring windows share in the mode "default"

OnFrame = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class MToVSettings:
    """How a motion is drawn."""

    steps: int = diffusion.STEPS  # of full sampling
    start_ratio: float = diffusion.RATIO  # of the steps that are taken; 1 starts from pure noise
    mode: str = "default"
    seed: int = 0
    # Of the square, sizes of the face. None is the one our networks know, else the portrait's crop.
    crop_scale: float | None = None

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
        networks: those of `NETWORKS`, by name. The motion's autoencoder encodes drawn landmarks;
            our variant does without.
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
        self.networks: dict[str, Any] = {
            name: network.to(self.device) for name, network in networks.items()
        }
        if isinstance(self.autoencoder, PosedAutoencoder):
            return
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
        config, scale, shift = self.autoencoder.config, self.settings.crop_scale, 0.0
        if scale is None and isinstance(config, PosedConfig):
            scale, shift = config.crop_scale, config.crop_shift
        scene = Scene.of(
            portrait,
            motion,
            config.resolution,
            crop_scale=scale,
            crop_shift=shift,
            frames=self.pose_frames,
        )
        return in_batches(self._pasted(scene, on_frame), batch)

    def _pasted(self, scene: Scene, on_frame: OnFrame | None) -> Iterator[Tensor]:
        """The clip in parts, `[t, H, W, 3]` uint8."""
        settings, total = self.settings, len(scene.landmarks)
        cut = window_frames(total, self.autoencoder.config.frames, settings.overlap)
        lay = self._layer(scene)
        windows, done = self._windows(scene, cut, on_frame), 0
        for squares in joined(windows, total, settings.overlap):
            frames = torch.arange(done, done + len(squares))
            done += len(squares)
            yield lay(squares, frames).cpu()
            if on_frame:
                on_frame(done, total)

    def _layer(self, scene: Scene) -> Callable[[Tensor, Tensor], Tensor]:
        """(what the networks made, of which frames) → pictures `[t, H, W, 3]` uint8."""
        if isinstance(self.autoencoder, PosedAutoencoder):
            painter = Painter(scene.portrait, self.device)
            return lambda change, frames: painter(
                scene.pictures(frames), change, scene.lower_face(frames)
            )
        paste = PasteBack(scene.portrait, device=self.device)
        whole = self.settings.mode == "reference"

        def laid(squares: Tensor, frames: Tensor) -> Tensor:
            shown = None if whole else scene.lower_face(frames)
            pixels = _pixels(squares, rounded=not whole).movedim(1, -1)
            return paste(pixels, ground=scene.pictures(frames), shown=shown)

        return laid

    @torch.no_grad()
    def _windows(
        self, scene: Scene, cut: list[Tensor], on_frame: OnFrame | None
    ) -> Iterator[Tensor]:
        """What the networks make of each window, squares `[16, 3, size, size]` in −1 … 1; our
        variant's are changes `[16, 5, size, size]`."""
        times = self.settings.timesteps()
        of_time = _rows(self.unet.modulations(torch.tensor(times, device=self.device)))
        generator = torch.Generator().manual_seed(self.settings.seed)
        fresh = generator if self.settings.mode == "reference" else None
        identity = self._encoded("autoencoder", scene.reference_video(len(cut[0])))
        encode = self._encoder(scene)
        for frames in cut:
            given, start = encode(frames)
            condition = self.unet.condition(given, identity)

            def denoise(x: Tensor, t: int, condition: Any = condition) -> Tensor:
                return self.unet.step(x, condition, of_time[times.index(t)])

            def on_step(done: int, steps: int, first: int = int(frames[0])) -> None:
                if on_frame:
                    on_frame(first, len(scene.landmarks))

            start = self._start(identity if start is None else start, generator)
            latent = diffusion.sample(denoise, start, times, fresh, on_step)
            yield self._decoded(latent, scene, frames)

    def _encoder(self, scene: Scene) -> Callable[[Tensor], tuple[Tensor, Tensor | None]]:
        """Frames → the latents that the U-Net is given, and what to start from if it is not the
        portrait."""
        autoencoder = self.autoencoder
        if isinstance(autoencoder, PosedAutoencoder):

            def spoken(frames: Tensor) -> tuple[Tensor, Tensor | None]:
                pose = scene.pose_video(frames)[None].to(self.device)
                marks = scene.marks(frames)[None].to(self.device)
                latent = autoencoder.extract(pose, pose, marks)
                return latent, latent

            return spoken
        last: list[Tensor] = []  # the masked video of the window before, and its latent

        def published(frames: Tensor) -> tuple[Tensor, Tensor | None]:
            video = scene.masked_video(scene.squares(scene.pictures(frames)), frames)
            if not last or not torch.equal(video, last[0]):  # a still head is encoded once
                last[:] = video, self._encoded("autoencoder", video)
            drawn = self._encoded("motion_autoencoder", scene.landmark_video(frames))
            return torch.cat([drawn, last[1]], dim=1), None

        return published

    def _start(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        if self.settings.mode == "default":
            generator.manual_seed(self.settings.seed)
        noise = seeded_noise(clean.shape, generator).to(clean)
        if self.settings.overlap:
            noise = periodic(noise, self.autoencoder.config.plane_shapes, self.settings.overlap)
        ratio = self.settings.start_ratio
        return noise if ratio == 1 else diffusion.noised_start(clean, noise, ratio)

    def _encoded(self, network: str, video: Tensor) -> Tensor:
        return self.networks[network].extract(video[None].to(self.device))

    def _decoded(self, latent: Tensor, scene: Scene, frames: Tensor) -> Tensor:
        if isinstance(self.autoencoder, PosedAutoencoder):
            pose = scene.pose_video(frames)[None].to(self.device)
            mouth = scene.mouth(frames)[None].to(self.device)
            made = self.autoencoder.changes(latent, pose, mouth)
        else:
            made = self.autoencoder.decode_from_sample(latent)
        if not torch.isfinite(made).all():
            raise PayloadError(
                "MToV's networks returned NaN. The weights or the motion are damaged: get the"
                " weights again, or look at the motion's values."
            )
        return made.float()


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
    """The renderer with the bundled weights, or with those of three files, published or our own.

    Raises:
        CheckpointError: a file is absent or cannot be used; the message says which one.
        PayloadError: some files were named and others were not.
    """
    files = {"autoencoder": autoencoder, "motion_autoencoder": motion_autoencoder, "unet": unet}
    named = {name: Path(path) for name, path in files.items() if path is not None}
    if not named:
        named = {name: WEIGHTS / f"mtov_{name}.safetensors" for name in BUNDLED}
        settings = settings or MToVSettings(steps=SMALL_STEPS)
    networks = {}
    for name, path in named.items():
        kind = "unet" if name == "unet" else "autoencoder"
        own = "config" in checkpoints.metadata_of(path)
        row = f"mtov_{kind}" if own else f"moditalker/{kind}"
        networks[name] = checkpoints.load(row, str(path), operations)
    posed = isinstance(networks.get("autoencoder"), PosedAutoencoder)
    if unnamed := [name for name in (BUNDLED if posed else NETWORKS) if name not in named]:
        raise PayloadError(
            f"MToV's networks belong together; {', '.join(unnamed)} was not named. Name all of"
            " them, or none for the bundled ones."
        )
    return MToVRenderer(networks, device=device, settings=settings)


def _pixels(squares: Tensor, *, rounded: bool) -> Tensor:
    """−1 … 1 → uint8; the published program cuts the fraction off."""
    pixels = (squares.clamp(-1, 1) + 1) * 127.5
    return (pixels.round() if rounded else pixels).to(torch.uint8)


def _rows(modulations: list[list[Tensor]]) -> list[list[list[Tensor]]]:
    """Modulations of all timesteps at once → those of each."""
    steps = len(modulations[0][0])
    return [[[part[i : i + 1] for part in block] for block in modulations] for i in range(steps)]
