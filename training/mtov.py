"""MToV's autoencoders and its U-Net, from nothing to weights, small enough for a CPU.

    python -m soliloquy train mtov_autoencoder -o FOLDER --set windows.pictures=… windows.corpus=…
    python -m soliloquy train mtov_unet -o FOLDER

The windows are drawn once into the folder. The autoencoder is our variant, which sees the frames
that hold the pose and drawn landmarks (`models/render/mtov/posed.py`). A recipe with the published
configuration trains the published one, on L1 and LPIPS as in the paper; that needs a second one for
drawings (`mtov_motion_autoencoder`), and LPIPS weights of its own: it is left out unless
`perceptual` is above 0.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..models import checkpoints
from ..models.payloads import PayloadError
from ..models.render.mtov import diffusion
from ..models.render.mtov.autoencoder import PLANES, AutoencoderConfig, TriplaneAutoencoder
from ..models.render.mtov.posed import PosedAutoencoder, PosedConfig
from ..models.render.mtov.scene import landmark_video, mouth_video
from ..models.render.mtov.unet import TriplaneUNet, TriplaneUNetConfig
from .loop import Log, LoopConfig, recorded, train
from .mtov_data import Windows, prepare, signed
from .mtov_losses import Loss, drawing_loss, picture_loss, posed_loss

KINDS = ("frames", "frames", "masked", "reference")  # that the published autoencoder encodes
POSED_KINDS = (*7 * ("frames",), "pose")
AUTOENCODER, MOTION_AUTOENCODER, UNET = "mtov_autoencoder", "mtov_motion_autoencoder", "mtov_unet"


def small_motion_autoencoder() -> AutoencoderConfig:
    """Drawings in planes of the same shape as the pictures'."""
    sizes = {"side": PosedConfig.side, "patch": PosedConfig.patch, "channels": 64, "depth": 1}
    sizes |= {"decoder_depth": 1, "heads": 4, "head_channels": 16, "hidden": 128}
    return AutoencoderConfig(**sizes, linear_fold=True)


def small_unet() -> TriplaneUNetConfig:
    """For the latents of our variant, whose encoder sees the pose beside the landmarks."""
    return TriplaneUNetConfig(
        width=24,
        multipliers=(1, 2),
        attended=(False, True),
        blocks_per_level=1,
        heads=4,
        conditions=2,
        norm_groups=8,
    )


@dataclass(frozen=True, kw_only=True)
class WindowsConfig:
    """What the networks learn from."""

    pictures: Path = Path("portraits")  # folder with faces, beside the astronaut
    corpus: Path = Path("corpus")  # what `training.starter synthesise` wrote
    face_landmarker: Path | None = None  # MediaPipe's model, to find the faces with
    held_out: tuple[str, ...] = ("held_",)
    train_windows: int = 360
    test_windows: int = 24
    crop_scale: float = PosedConfig.crop_scale  # of the squares, sizes of the face
    crop_shift: float = PosedConfig.crop_shift  # how much lower than usual, sizes of the face

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
                crop_shift=self.crop_shift,
            )
            for windows, path in zip(drawn, paths, strict=True):
                windows.save(path)
        return Windows.load(paths[0]), Windows.load(paths[1])


@dataclass(frozen=True, kw_only=True)
class AutoencoderRecipe:
    """An autoencoder of pictures, or of drawn landmarks."""

    network: AutoencoderConfig = field(default_factory=PosedConfig)
    windows: WindowsConfig = field(default_factory=WindowsConfig)
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(
            steps=2600, learning_rate=1e-3, warmup=50, average=0.99, save_every=100
        )
    )
    name: str = AUTOENCODER
    seed: int = 0
    batch: int = 1  # windows
    latent_noise: float = 0.05  # in training; what sampling leaves of its own must not show
    unseen: float = 0.5  # share of the windows of which our encoder sees only the landmarks
    perceptual: float = 0.0  # weight of LPIPS against 1 for L1; the paper has 1
    # Weights to begin with, of which a half stays: the decoder, or the encoder of our variant.
    start: Path | None = None

    def run(self, folder: Path, on_log: Log | None = None) -> None:
        """Train and leave `<name>.safetensors` in `folder`."""
        torch.manual_seed(self.seed)
        perceive = perceptual_distance() if self.perceptual else None
        windows, _ = self.windows.read(folder, self.network.resolution)
        network = begun(self.network, self.start)
        batches = autoencoder_batches(windows, self)
        loss: Loss = posed_loss
        if self.name == MOTION_AUTOENCODER:
            loss = drawing_loss
        elif not isinstance(self.network, PosedConfig):
            loss = picture_loss(perceive, self.perceptual)
        average = train(network, batches, loss, self.loop, on_log, folder=folder / self.name)
        path = folder / f"{self.name}.safetensors"
        checkpoints.save(average, path, asdict(self.network), recipe=recorded(self))


def motion_autoencoder() -> AutoencoderRecipe:
    """The recipe of the autoencoder of drawings."""
    return AutoencoderRecipe(
        name=MOTION_AUTOENCODER,
        network=small_motion_autoencoder(),
        loop=LoopConfig(steps=800, learning_rate=1.5e-3, warmup=50, average=0.99, save_every=100),
        batch=2,
    )


@dataclass(frozen=True, kw_only=True)
class UNetRecipe:
    """The denoiser, on latents of the two autoencoders in the folder."""

    network: TriplaneUNetConfig = field(default_factory=small_unet)
    windows: WindowsConfig = field(default_factory=WindowsConfig)
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(
            steps=700, learning_rate=2e-3, warmup=50, average=0.99, save_every=100
        )
    )
    seed: int = 0
    batch: int = 8  # windows
    noisiest: int = 300  # timesteps below this are learnt; a noised start needs no others
    # Share of the samples that hold some of what sampling starts from: a network that never saw
    # that would leave the mouth as it is there.
    started: float = 0.7

    def run(self, folder: Path, on_log: Log | None = None) -> None:
        """Train and leave `mtov_unet.safetensors` in `folder`."""
        torch.manual_seed(self.seed)
        encoders = load_encoders(folder)
        windows, _ = self.windows.read(folder, encoders[0].config.resolution)
        latents = encoded(windows, encoders)
        network = TriplaneUNet(self.network)
        loss, batches = unet_loss(self.noisiest), unet_batches(latents, self)
        average = train(network, batches, loss, self.loop, on_log, folder=folder / UNET)
        path = folder / f"{UNET}.safetensors"
        checkpoints.save(average, path, asdict(self.network), recipe=recorded(self))


def begun(config: AutoencoderConfig, start: Path | None) -> TriplaneAutoencoder:
    """A new network, or that of a file with its decoder frozen, of our variant with its encoder.

    That is how the published autoencoder of landmarks began from that of pictures, and how the
    decoder of ours can learn more while the latents, on which a U-Net was trained, stay.
    """
    if start is None:
        posed = isinstance(config, PosedConfig)
        return PosedAutoencoder(config) if posed else TriplaneAutoencoder(config)
    network = checkpoints.load("mtov_autoencoder", start).train().requires_grad_(True)
    if network.config != config:
        raise PayloadError(f"'{start}' holds {network.config}, but {config} is to be trained.")
    if isinstance(network, PosedAutoencoder):
        parts = (network.encoder, network.patches, network.pose_in, network.marks_in)
        frozen = [*parts, *(network.pools[name].squeeze for name in PLANES)]
    else:
        frozen = [network.decoder]
    for part in frozen:
        part.requires_grad_(False)
    return network


def autoencoder_batches(
    windows: Windows, recipe: AutoencoderRecipe
) -> Callable[[int], dict[str, Tensor]]:
    """Batch number → what the loss needs of some windows, all that the network will have to encode.

    `video [B, 3, T, S, S]` in −1 … 1 and, for the pictures, `pose` like it, `shown [B, T, S, S]`,
    `landmarks` and `unspoken [B, T, 68, 2]`, `noise` for the latent.
    """

    def batch(number: int) -> dict[str, Tensor]:
        source = random.Random(f"{recipe.seed} {number}")
        rows = [_row(windows, recipe, source) for _ in range(recipe.batch)]
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}

    return batch


def _row(windows: Windows, recipe: AutoencoderRecipe, source: random.Random) -> dict[str, Tensor]:
    """A random window, mirrored half of the time, pictures in colours of their own."""
    number, mirror = source.randrange(len(windows)), source.random() < 0.5
    posed = isinstance(recipe.network, PosedConfig)
    if recipe.name == MOTION_AUTOENCODER:
        video = video_of(windows, source.choice(("drawn", "unspoken")), number)
        return {"video": video.flip(-1) if mirror else video}
    # What is known of a window is encoded as well, or that nothing changes.
    kind = source.choice(POSED_KINDS if posed else KINDS)
    seed = source.randrange(2**31)
    row = {"video": _coloured(video_of(windows, kind, number), seed)}
    if posed:
        unspoken = windows.unspoken[number]
        row["pose"] = _coloured(video_of(windows, "pose", number), seed)
        row["shown"] = windows.shown[number].float() / 255
        row["landmarks"] = unspoken if kind == "pose" else windows.landmarks[number]
        row["unspoken"] = unspoken
        row["mouth"] = mouth_video(row["landmarks"], windows.frames.shape[-1])
        marks = marks_of(windows, number)
        row["marks"] = torch.zeros_like(marks) if kind == "pose" else marks
        # Where a clip is to be drawn there are landmarks only.
        row["seen"] = row["pose" if source.random() < recipe.unseen else "video"]
    if mirror:
        row = {name: _mirrored(value, row["video"].shape[-1]) for name, value in row.items()}
    if posed:
        latent = (recipe.network.latent_channels, recipe.network.latent_length)
        generator = torch.Generator().manual_seed(seed)
        row["noise"] = recipe.latent_noise * torch.randn(latent, generator=generator)
    return row


def _mirrored(value: Tensor, size: int) -> Tensor:
    """Left and right exchanged, in pictures or in points `[…, 2]` of a square of `size`."""
    if value.shape[-1] == size:
        return value.flip(-1)
    x, y = value.unbind(-1)
    return torch.stack([size - 1 - x, y], dim=-1)


def video_of(windows: Windows, kind: str, row: int) -> Tensor:
    """Frames, pose, masked pose, still portrait or drawn landmarks (with and without speech) of a
    window, `[3, T, S, S]` in −1 … 1."""
    if kind == "reference":
        return signed(windows.reference[row])[:, None].expand(-1, windows.frames.shape[1], -1, -1)
    if kind == "drawn":
        return signed(windows.drawn[row]).expand(3, -1, -1, -1)
    if kind == "unspoken":
        return landmark_video(windows.unspoken[row], windows.frames.shape[-1])
    pictures = windows.masked(row) if kind == "masked" else getattr(windows, kind)[row]
    return signed(pictures).movedim(1, 0)


def marks_of(windows: Windows, row: int) -> Tensor:
    """Drawn landmarks of a window minus those without speech, `[1, T, S, S]`."""
    return (video_of(windows, "drawn", row) - video_of(windows, "unspoken", row))[:1]


def _coloured(video: Tensor, seed: int) -> Tensor:
    """In other colours and brightness, the same for the same seed."""
    source = random.Random(seed)
    gain = torch.tensor([source.uniform(0.8, 1.2) for _ in range(3)]) * source.uniform(0.75, 1.1)
    return ((video + 1) * gain.view(3, 1, 1, 1) - 1).clamp(-1, 1)


def perceptual_distance() -> Callable[[Tensor, Tensor], Tensor]:
    """LPIPS between pictures in −1 … 1, with weights that are at hand.

    Raises:
        PayloadError: the library or its weights are absent.
    """
    from .perceptual_measures import lpips_network

    return lpips_network()


def load_encoders(folder: Path) -> list[TriplaneAutoencoder]:
    """The autoencoders of a folder: of pictures and, beside the published one, of drawings."""
    files = [folder / f"{name}.safetensors" for name in (AUTOENCODER, MOTION_AUTOENCODER)]
    pictures = checkpoints.load("mtov_autoencoder", files[0])
    if isinstance(pictures, PosedAutoencoder):
        return [pictures]
    return [pictures, checkpoints.load("mtov_autoencoder", files[1])]


@torch.no_grad()
def encoded(windows: Windows, encoders: Sequence[TriplaneAutoencoder]) -> dict[str, Tensor]:
    """What the U-Net sees of each window, `[N, 4 or more, n]` each, and mirrored after that."""
    rows = [
        latents_of(windows, row, encoders, mirror=mirror)
        for mirror in (False, True)
        for row in range(len(windows))
    ]
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}


def latents_of(
    windows: Windows,
    row: int,
    encoders: Sequence[TriplaneAutoencoder],
    *,
    mirror: bool = False,
) -> dict[str, Tensor]:
    """The latents of a window: "frames", "reference", what sampling "start"s from `[1, 4, n]`, and
    the "given" ones of landmarks and, beside the published autoencoder, masked frames."""
    pictures = encoders[0]

    def video(kind: str) -> Tensor:
        found = video_of(windows, kind, row)[None]
        return found.flip(-1) if mirror else found

    reference = pictures.extract(video("reference"))
    if isinstance(pictures, PosedAutoencoder):
        pose, marks = video("pose"), video("drawn")[:, :1] - video("unspoken")[:, :1]
        frames = pictures.extract(video("frames"), pose, marks)
        given = start = pictures.extract(pose, pose, marks)
    else:
        frames, start = pictures.extract(video("frames")), reference
        drawn = encoders[1].extract(video("drawn"))
        given = torch.cat([drawn, pictures.extract(video("masked"))], dim=1)
    return {"frames": frames, "reference": reference, "start": start, "given": given}


def unet_batches(latents: dict[str, Tensor], recipe: UNetRecipe) -> Callable[[int], Any]:
    """Batch number → latents of some windows, timesteps, noise, and whether sampling started from
    their "start"."""
    count = len(latents["frames"])

    def batch(number: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + number)
        rows = torch.randint(count, (recipe.batch,), generator=generator)
        chosen = {kind: values[rows] for kind, values in latents.items()}
        noise = torch.randn(chosen["frames"].shape, generator=generator)
        timesteps = torch.randint(recipe.noisiest, (recipe.batch,), generator=generator)
        started = torch.rand(recipe.batch, generator=generator) < recipe.started
        return {**chosen, "noise": noise, "timesteps": timesteps, "started": started.float()}

    return batch


def unet_loss(noisiest: int) -> Callable[[Any, Any], tuple[Tensor, dict[str, float]]]:
    """The squared error of the noise: the published program's target, where the paper has x₀.

    Sampling that begins with a noised start and draws no noise after that has to take the start for
    noise: then it comes to the frames, and holds at every timestep as much of the start as is shown
    here.
    """
    if not 1 <= noisiest <= diffusion.TRAIN_STEPS:
        raise PayloadError(f"noisiest is {noisiest}; 1 to {diffusion.TRAIN_STEPS} is possible.")
    alphas = diffusion.schedule().alphas
    first = alphas[int(diffusion.TRAIN_STEPS * diffusion.RATIO)]
    share = (first / (1 - first)).sqrt()

    def loss(network: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        alpha = alphas.to(batch["noise"].device)[batch["timesteps"]].view(-1, 1, 1)
        start = batch["started"].view(-1, 1, 1) * (batch["start"] - batch["frames"])
        noise = batch["noise"] + share * start
        noisy = alpha.sqrt() * batch["frames"] + (1 - alpha).sqrt() * noise
        found = network(noisy, batch["given"], batch["reference"], batch["timesteps"])
        value = (found - noise).square().mean()
        return value, {"noise": float(value.detach())}

    return loss
