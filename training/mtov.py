"""MToV's autoencoders and its U-Net, from nothing to weights, small enough for a CPU.

    python -m soliloquy train mtov_autoencoder -o FOLDER --set pictures=… --set corpus=…
    python -m soliloquy train mtov_motion_autoencoder -o FOLDER
    python -m soliloquy train mtov_unet -o FOLDER

The windows are drawn once into the folder. Losses are the paper's: L1 and LPIPS for the
autoencoders, the squared error of the noise for the U-Net. LPIPS needs weights of its own and is
left out unless `perceptual` is above 0.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..models import checkpoints
from ..models.payloads import PayloadError
from ..models.render.mtov import diffusion
from ..models.render.mtov.autoencoder import AutoencoderConfig, TriplaneAutoencoder
from ..models.render.mtov.unet import TriplaneUNet, TriplaneUNetConfig
from .loop import Log, LoopConfig, train
from .mtov_data import Windows, prepare, signed

AUTOENCODER, MOTION_AUTOENCODER, UNET = "mtov_autoencoder", "mtov_motion_autoencoder", "mtov_unet"


def small_autoencoder(**changes: int) -> AutoencoderConfig:
    """For squares of 64 pixels."""
    sizes = {"side": 8, "channels": 64, "depth": 2, "decoder_depth": 3, "heads": 4}
    sizes |= {"head_channels": 32, "hidden": 128, "pool_depth": 1, "pool_heads": 4}
    return AutoencoderConfig(**sizes, pool_head_channels=16, pool_hidden=128, **changes)


def small_unet() -> TriplaneUNetConfig:
    """For the latents of the small autoencoders."""
    return TriplaneUNetConfig(
        width=32, multipliers=(1, 2), attended=(False, True), heads=4, norm_groups=8
    )


@dataclass(frozen=True, kw_only=True)
class WindowsConfig:
    """What the networks learn from."""

    pictures: Path = Path("portraits")  # folder with faces, beside the astronaut
    corpus: Path = Path("corpus")  # what `training.starter synthesise` wrote
    face_landmarker: Path | None = None  # MediaPipe's model, to find the faces with
    held_out: tuple[str, ...] = ("photo_outdoor", "painting_full")
    train_windows: int = 220
    test_windows: int = 20
    crop_scale: float = 1.5  # of the squares, sizes of the face

    def read(self, folder: Path, size: int) -> tuple[Windows, Windows]:
        """To train on and to test with; drawn into `folder` if they are not there."""
        paths = [folder / f"{part}_windows.safetensors" for part in ("train", "test")]
        if not all(path.exists() for path in paths):
            folder.mkdir(parents=True, exist_ok=True)
            drawn = prepare(
                self.pictures,
                self.corpus,
                self.held_out,
                (self.train_windows, self.test_windows),
                self.face_landmarker,
                size=size,
                crop_scale=self.crop_scale,
            )
            for windows, path in zip(drawn, paths, strict=True):
                windows.save(path)
        return Windows.load(paths[0]), Windows.load(paths[1])


@dataclass(frozen=True, kw_only=True)
class AutoencoderRecipe:
    """An autoencoder of pictures, or of drawn landmarks."""

    network: AutoencoderConfig = field(default_factory=small_autoencoder)
    windows: WindowsConfig = field(default_factory=WindowsConfig)
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(steps=2500, learning_rate=2e-3, save_every=250)
    )
    name: str = AUTOENCODER
    seed: int = 0
    batch: int = 2  # windows
    perceptual: float = 0.0  # weight of LPIPS against 1 for L1; the paper has 1
    start: Path | None = None  # weights to begin with, whose decoder stays as it is

    def run(self, folder: Path, on_log: Log | None = None) -> None:
        """Train and leave `<name>.safetensors` in `folder`."""
        torch.manual_seed(self.seed)
        perceive = perceptual_distance() if self.perceptual else None
        windows, _ = self.windows.read(folder, self.network.resolution)
        network = begun(self.network, self.start)
        loss = autoencoder_loss(perceive, self.perceptual)
        batches = autoencoder_batches(windows, self)
        average = train(network, batches, loss, self.loop, on_log, folder=folder / self.name)
        path = folder / f"{self.name}.safetensors"
        checkpoints.save(average, path, asdict(self.network), recipe=repr(self))


@dataclass(frozen=True, kw_only=True)
class UNetRecipe:
    """The denoiser, on latents of the two autoencoders in the folder."""

    network: TriplaneUNetConfig = field(default_factory=small_unet)
    windows: WindowsConfig = field(default_factory=WindowsConfig)
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(steps=4000, learning_rate=2e-3, save_every=500)
    )
    seed: int = 0
    batch: int = 8  # windows
    noisiest: int = 1000  # timesteps below this are learnt; a noised start needs no others

    def run(self, folder: Path, on_log: Log | None = None) -> None:
        """Train and leave `mtov_unet.safetensors` in `folder`."""
        torch.manual_seed(self.seed)
        encoders = [
            checkpoints.load("mtov_autoencoder", folder / f"{name}.safetensors")
            for name in (AUTOENCODER, MOTION_AUTOENCODER)
        ]
        windows, _ = self.windows.read(folder, encoders[0].config.resolution)
        latents = encoded(windows, *encoders)
        network = TriplaneUNet(self.network)
        loss, batches = unet_loss(self.noisiest), unet_batches(latents, self)
        average = train(network, batches, loss, self.loop, on_log, folder=folder / UNET)
        path = folder / f"{UNET}.safetensors"
        checkpoints.save(average, path, asdict(self.network), recipe=repr(self))


def begun(config: AutoencoderConfig, start: Path | None) -> TriplaneAutoencoder:
    """A new network, or that of a file with its decoder frozen.

    That is how the published autoencoder of landmarks began from that of pictures.
    """
    if start is None:
        return TriplaneAutoencoder(config)
    network = checkpoints.load("mtov_autoencoder", start).train().requires_grad_(True)
    if network.config != config:
        raise PayloadError(f"'{start}' holds {network.config}, but {config} is to be trained.")
    network.decoder.requires_grad_(False)
    return network


def autoencoder_batches(windows: Windows, recipe: AutoencoderRecipe) -> Callable[[int], Tensor]:
    """Batch number → video `[B, 3, T, S, S]` in −1 … 1, all that the network will have to encode.

    Half of the pictures' windows are frames, a quarter lacks the lower half, a quarter stands
    still; some are mirrored, all have colours and brightness of their own.
    """

    def batch(number: int) -> Tensor:
        source = random.Random(f"{recipe.seed} {number}")
        return torch.stack([one(source) for _ in range(recipe.batch)])

    def one(source: random.Random) -> Tensor:
        row = source.randrange(len(windows))
        if recipe.name == MOTION_AUTOENCODER:
            return _mirrored(signed(windows.drawn[row]).expand(3, -1, -1, -1), source)
        kind = source.choice(("frames", "frames", "masked", "reference"))
        pictures = getattr(windows, kind)[row]
        if kind == "reference":
            pictures = pictures.expand(windows.frames.shape[1], -1, -1, -1)
        gain = torch.tensor([source.uniform(0.8, 1.2) for _ in range(3)]) * source.uniform(0.8, 1.1)
        video = (signed(pictures).movedim(1, 0) + 1) * gain.view(3, 1, 1, 1) - 1
        return _mirrored(video.clamp(-1, 1), source)

    return batch


def autoencoder_loss(
    perceive: Callable[[Tensor, Tensor], Tensor] | None, weight: float
) -> Callable[[Any, Any], tuple[Tensor, dict[str, float]]]:
    """`L1 + weight · LPIPS`; LPIPS of one random frame of each window."""

    def loss(network: Any, video: Tensor) -> tuple[Tensor, dict[str, float]]:
        rebuilt = network(video)
        value = (rebuilt - video).abs().mean()
        parts = {"l1": float(value.detach())}
        if perceive is not None:
            frame = int(torch.randint(video.shape[2], ()))
            distance = perceive(rebuilt[:, :, frame], video[:, :, frame]).mean()
            value = value + weight * distance
            parts["lpips"] = float(distance.detach())
        return value, parts

    return loss


def perceptual_distance() -> Callable[[Tensor, Tensor], Tensor]:
    """LPIPS between pictures in −1 … 1, with weights that are at hand.

    Raises:
        PayloadError: the library or its weights are absent.
    """
    from .perceptual_measures import lpips_network

    return lpips_network()


@torch.no_grad()
def encoded(
    windows: Windows, autoencoder: TriplaneAutoencoder, motion_autoencoder: TriplaneAutoencoder
) -> dict[str, Tensor]:
    """What the U-Net sees of each window, `[N, 4, n]` each, and mirrored after that."""
    kinds = ("frames", "masked", "drawn", "reference")
    latents: dict[str, list[Tensor]] = {kind: [] for kind in kinds}
    for flip in (False, True):
        for row in range(len(windows)):
            for kind in kinds:
                pictures = signed(getattr(windows, kind)[row])
                if kind == "drawn":
                    video = pictures.expand(3, -1, -1, -1)
                elif kind == "reference":
                    video = pictures[:, None].expand(-1, windows.frames.shape[1], -1, -1)
                else:
                    video = pictures.movedim(1, 0)
                network = motion_autoencoder if kind == "drawn" else autoencoder
                latents[kind].append(network.extract((video.flip(-1) if flip else video)[None]))
    return {kind: torch.cat(rows) for kind, rows in latents.items()}


def unet_batches(latents: dict[str, Tensor], recipe: UNetRecipe) -> Callable[[int], Any]:
    """Batch number → latents of some windows, timesteps and noise."""
    count = len(latents["frames"])

    def batch(number: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + number)
        rows = torch.randint(count, (recipe.batch,), generator=generator)
        chosen = {kind: values[rows] for kind, values in latents.items()}
        noise = torch.randn(chosen["frames"].shape, generator=generator)
        timesteps = torch.randint(recipe.noisiest, (recipe.batch,), generator=generator)
        return {**chosen, "noise": noise, "timesteps": timesteps}

    return batch


def unet_loss(noisiest: int) -> Callable[[Any, Any], tuple[Tensor, dict[str, float]]]:
    """The squared error of the noise: the published program's target, where the paper has x₀."""
    if not 1 <= noisiest <= diffusion.TRAIN_STEPS:
        raise PayloadError(f"noisiest is {noisiest}; 1 to {diffusion.TRAIN_STEPS} is possible.")
    alphas = diffusion.schedule().alphas

    def loss(network: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        alpha = alphas.to(batch["noise"].device)[batch["timesteps"]].view(-1, 1, 1)
        noisy = alpha.sqrt() * batch["frames"] + (1 - alpha).sqrt() * batch["noise"]
        condition = torch.cat([batch["drawn"], batch["masked"]], dim=1)
        found = network(noisy, condition, batch["reference"], batch["timesteps"])
        value = (found - batch["noise"]).square().mean()
        return value, {"noise": float(value.detach())}

    return loss


def _mirrored(video: Tensor, source: random.Random) -> Tensor:
    return video.flip(-1) if source.random() < 0.5 else video
