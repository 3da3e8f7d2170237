"""The Basel face model with the user's own files: a picture → coefficients → 68 landmarks.

Stage 3, for AToM, whose landmarks are those of Deep3DFaceRecon (Deng et al. 2019). The model may
be used for research only and cannot come with this project; whoever has the files puts them into
one folder: `BFM_model_front.mat`, and `epoch_20.pth` of the reconstruction network.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from .. import checkpoints
from ..payloads import PayloadError, Portrait
from ..resnet import WIDTH, ResNet50, folded
from .alignment import CROP, FACE, Fit, fit_projection, five_points, standard_face

MODEL_FILE, NETWORK_FILE, STANDARD_FILE = (
    "BFM_model_front.mat",
    "epoch_20.pth",
    "similarity_Lm3D_all.mat",
)
SOURCES = {
    MODEL_FILE: "made from the Basel Face Model 2009 (https://faces.dmi.unibas.ch/bfm, for research"
    " only) by Deep3DFaceRecon_pytorch's own script",
    NETWORK_FILE: "Deep3DFaceRecon_pytorch's network (https://github.com/sicxu/Deep3DFaceRecon_pytorch)",
}
UNITS = 10.0  # landmark residuals are this many times those of the model
PARTS = (80, 64, 80, 3, 27, 2, 1)  # identity, expression, texture, angles, light, shift
IDENTITY, EXPRESSION = slice(0, 80), slice(80, 144)
ANGLES, TRANSLATION = slice(224, 227), slice(254, 257)


@dataclass(frozen=True, kw_only=True, eq=False)
class FaceModel:
    """The 68 landmarks of the Basel face model; y up, z towards the viewer."""

    mean: Tensor  # [68, 3] model units
    identity: Tensor  # [68, 3, 80]
    expression: Tensor  # [68, 3, 64]

    def residual(self, coefficients: Tensor) -> Tensor:
        """Ten times the way from the mean, `[..., 257]` → `[..., 68, 3]` (`idexp_lm3d`)."""
        shape = torch.einsum("kcj,...j->...kc", self.identity, coefficients[..., IDENTITY])
        shape = shape + torch.einsum(
            "kcj,...j->...kc", self.expression, coefficients[..., EXPRESSION]
        )
        return UNITS * shape

    def landmarks(self, residual: Tensor) -> Tensor:
        """Where they are, `[..., 68, 3]` model units."""
        return residual / UNITS + self.mean


def load_face_model(folder: str | Path, file: str = MODEL_FILE) -> FaceModel:
    """The landmarks of the model file in `folder`.

    The file counts vertices from 1, and AToM's training data took these numbers as if they began
    with 0: every landmark is the vertex behind the one that was meant. It is read the same way.

    Raises:
        PayloadError: the file is absent, cannot be read, or is of another model.
    """
    stored = _matlab(_present(folder, file))
    try:
        points = torch.from_numpy(stored["keypoints"].astype("int64")).flatten()
        mean, identity, expression = (
            torch.from_numpy(stored[name].astype("float32"))
            for name in ("meanshape", "idBase", "exBase")
        )
        return FaceModel(
            mean=mean.reshape(-1, 3)[points],
            identity=identity.reshape(len(identity) // 3, 3, -1)[points],
            expression=expression.reshape(len(expression) // 3, 3, -1)[points],
        )
    except (KeyError, ValueError, IndexError, RuntimeError) as error:
        raise PayloadError(
            f"'{file}' is not the face model of Deep3DFaceRecon ({error}). It is"
            f" {SOURCES[MODEL_FILE]}."
        ) from None


def load_standard_face(folder: str | Path) -> Tensor:
    """The five points of `similarity_Lm3D_all.mat` `[5, 3]`, or ours where that file is absent."""
    path = Path(folder) / STANDARD_FILE
    if not path.is_file():
        return standard_face()
    every = torch.from_numpy(_matlab(path)["lm"].astype("float32"))
    left, right = every[[36, 39]].mean(0), every[[42, 45]].mean(0)
    return torch.stack([left, right, every[30], every[48], every[54]])


class ReconstructionNetwork(ResNet50):
    """A face `[B, 3, 224, 224]` in 0 … 1 → coefficients `[B, 257]`, by a ResNet-50."""

    def __init__(self, width: int = WIDTH, operations: ModuleType | Any = nn):
        super().__init__(width, operations)
        self.heads = nn.ModuleList(operations.Conv2d(self.channels, n, 1) for n in PARTS)

    def forward(self, faces: Tensor) -> Tensor:
        """The coefficients."""
        x = super().forward(faces)[..., None, None]
        return torch.cat([head(x).flatten(1) for head in self.heads], dim=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class FaceReconstruction:
    """Network, model and the points a face is cut out by."""

    network: nn.Module
    model: FaceModel
    standard: Tensor  # [5, 3]

    @torch.no_grad()
    def coefficients(self, image: Tensor, landmarks: Tensor) -> Tensor:
        """What the network sees in a picture `[H, W, 3]` uint8 of a face: `[257]`.

        Args:
            image: the picture.
            landmarks: `[68, 2 or 3]`, its pixels.
        """
        crop = crop_face(image, landmarks[:, :2], self.standard)
        weight = next(self.network.parameters())
        return self.network(crop[None].to(weight))[0].float().cpu()

    def residual(self, portrait: Portrait) -> Tensor:
        """The portrait's landmarks, from the front, as AToM takes them: `[68, 3]`."""
        return self.model.residual(self.coefficients(portrait.image, portrait.landmarks))


def crop_face(image: Tensor, landmarks: Tensor, standard: Tensor) -> Tensor:
    """The face as the network was trained on it: `[3, 224, 224]`, 0 … 1.

    The published program read height and width of a picture from the wrong axes and cropped black
    where it was given pictures channels last; here they are what they are.

    Args:
        image: `[H, W, 3]` uint8.
        landmarks: `[68, 2]` pixels, y down.
        standard: `[5, 3]`, the template.
    """
    from PIL import Image

    height, width = image.shape[:2]
    points = five_points(landmarks.double())
    fit: Fit = fit_projection(
        torch.stack([points[:, 0], height - 1 - points[:, 1]], dim=1), standard
    )
    size = FACE / float(fit.scale)
    wide, high = int(width * size), int(height * size)
    x, y = (float(value) for value in fit.translation)
    left = int(wide / 2 - CROP / 2 + (x - width / 2) * size)
    top = int(high / 2 - CROP / 2 + (height / 2 - y) * size)
    picture = Image.fromarray(image.numpy()).resize((wide, high), Image.Resampling.BICUBIC)
    picture = picture.crop((left, top, left + CROP, top + CROP))
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return pixels.reshape(CROP, CROP, 3).permute(2, 0, 1).float() / 255


def load_reconstruction(
    folder: str | Path, device: str | torch.device = "cpu"
) -> FaceReconstruction:
    """The user's own files in `folder`.

    Raises:
        PayloadError: one is absent or cannot be used; the message says where it comes from.
    """
    network = checkpoints.load("deep3drecon", _present(folder, NETWORK_FILE))
    return FaceReconstruction(
        network=network.to(device),
        model=load_face_model(folder),
        standard=load_standard_face(folder),
    )


def prepare(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Upstream's tensors with every batch norm folded into the convolution before it."""
    return folded(state, "backbone.")


def build(
    state: dict[str, Tensor], metadata: dict[str, str], operations: ModuleType | Any = nn
) -> nn.Module:
    """The empty network, as wide as the weights."""
    return ReconstructionNetwork(state["stem.weight"].shape[0], operations)


def _present(folder: str | Path, file: str) -> Path:
    path = Path(folder) / file
    if not path.is_file():
        raise PayloadError(
            f"The face model needs '{file}', which is not in '{folder}'. It is"
            f" {SOURCES.get(file, 'not published')}. Put it there, or leave the folder empty to use"
            " the portrait's own landmarks."
        )
    return path


def _matlab(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat

    try:
        return loadmat(str(path))
    except Exception as error:  # of many kinds where the file is something else
        raise PayloadError(f"'{path.name}' cannot be read as a MATLAB file ({error}).") from None
