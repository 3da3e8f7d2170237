"""Measures that look at pictures through other networks, and one that looks for blur: LPIPS, FID,
CSIM, CPBD.

LPIPS (Zhang et al. 2018), FID (Heusel et al. 2017) and CSIM (cosine similarity of face embeddings)
need a library and its weights. Where one of them is absent the measure refuses and says what to
get: a number from other weights would not be that measure. Nothing is downloaded here. CPBD
(Narvekar & Karam 2011) needs neither. Pictures are `[T, 3, H, W]` in 0 … 1.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..models import checkpoints
from ..models.payloads import PayloadError

BATCH = 16  # pictures at a time
TRUNKS = {  # of LPIPS, as torchvision stores them
    "alex": "alexnet-owt-7be5be79.pth",
    "vgg": "vgg16-397923af.pth",
}
INCEPTION = "pt_inception-2015-12-05-6726825d.pth"  # the one that published FIDs are measured with
FACENET = "20180402-114759-vggface2.pt"
BLOCK = 64  # side of CPBD's blocks, pixels
EDGE_SHARE = 0.002  # of a block's pixels; blocks with fewer edges do not count
LOW_CONTRAST = 50  # of 255; wider edges look sharp there
JUST_NOTICEABLE = (5.0, 3.0)  # width of an edge that half the viewers call blurred, low and high
LONGEST = 64  # pixels that an edge is followed


def lpips(found: Tensor, wanted: Tensor, network: str = "alex") -> float:
    """The mean distance of frames, 0 for equal ones.

    Raises:
        PayloadError: the library or its weights are absent.
    """
    distance = lpips_network(network)
    parts = zip(found.split(BATCH), wanted.split(BATCH), strict=True)
    return float(torch.cat([distance(2 * a - 1, 2 * b - 1).flatten() for a, b in parts]).mean())


def lpips_network(network: str = "vgg") -> Callable[[Tensor, Tensor], Tensor]:
    """The distance `[B]` of pictures `[B, 3, H, W]` in −1 … 1, with gradients.

    Raises:
        PayloadError: the library or its weights are absent.
    """
    library = _library("lpips", "LPIPS", "lpips")
    _weights("LPIPS", _hub() / TRUNKS[network], f"torchvision's {TRUNKS[network]}")
    measure = library.LPIPS(net=network, verbose=False).eval().requires_grad_(False)
    return lambda one, other: measure(one, other).flatten()


def fid(found: Tensor, wanted: Tensor) -> float:
    """The Fréchet distance between what Inception sees in two sets of pictures.

    Raises:
        PayloadError: the library or its weights are absent, or there are fewer than 2 pictures.
    """
    library = _library("pytorch_fid.inception", "FID", "pytorch-fid")
    _weights("FID", _hub() / INCEPTION, f"pytorch-fid's {INCEPTION}")
    if min(len(found), len(wanted)) < 2:
        raise PayloadError(
            f"FID compares two sets of pictures; {len(found)} and {len(wanted)} were given."
        )
    network = library.InceptionV3().eval()
    with torch.no_grad():
        seen = [
            torch.cat([network(part)[0].flatten(1) for part in pictures.split(BATCH)])
            for pictures in (found, wanted)
        ]
    return frechet_distance(*seen)


def frechet_distance(one: Tensor, other: Tensor) -> float:
    """`|μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½)` of features `[N, D]` and `[M, D]`."""
    means = [features.double().mean(0) for features in (one, other)]
    first, second = (_root(features.double()) for features in (one, other))
    # Of Σ₁ = AᵀA and Σ₂ = BᵀB, the roots of Σ₁ Σ₂'s eigenvalues are the singular values of A Bᵀ.
    shared = torch.linalg.svdvals(first @ second.mT).sum()
    trace = first.square().sum() + second.square().sum() - 2 * shared
    return float((means[0] - means[1]).square().sum() + trace)


def _root(features: Tensor) -> Tensor:
    """`A` with `AᵀA` the covariance of features `[N, D]`, at most D rows."""
    spread = (features - features.mean(0)) / (len(features) - 1) ** 0.5
    return torch.linalg.qr(spread, mode="r").R if len(spread) > spread.shape[1] else spread


def csim(found: Tensor, wanted: Tensor) -> float:
    """The mean cosine similarity of the faces in frames, 1 for the same person.

    Args:
        found, wanted: squares around the face.

    Raises:
        PayloadError: the library or its weights are absent.
    """
    library = _library("facenet_pytorch", "CSIM", "facenet-pytorch")
    _weights("CSIM", _hub() / FACENET, f"facenet-pytorch's {FACENET}")
    network = library.InceptionResnetV1(pretrained=None).eval()
    # Not by the library, which keeps its files elsewhere and would fetch what is not there.
    stored, _ = checkpoints.read(_hub() / FACENET)
    network.load_state_dict({k: v for k, v in stored.items() if not k.startswith("logits.")})
    with torch.no_grad():
        seen = [
            torch.cat([network(_for_facenet(part)) for part in pictures.split(BATCH)])
            for pictures in (found, wanted)
        ]
    return float(F.cosine_similarity(*seen).mean())


def cpbd(frames: Tensor) -> float:
    """The share of edges at which no blur is noticed, 0 … 1, the mean over frames.

    Blocks of 64 pixels with few edges do not count; a frame without edges counts as 0.

    Args:
        frames: at least 64 pixels a side.

    Raises:
        PayloadError: smaller pictures.
    """
    height, width = frames.shape[-2:]
    if min(height, width) < BLOCK:
        raise PayloadError(
            f"CPBD looks at blocks of {BLOCK} pixels; {width}×{height} is too small."
        )
    luma = frames.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    return sum(_sharp_share((255 * frame * luma).sum(0)) for frame in frames) / len(frames)


def _sharp_share(grey: Tensor) -> float:
    """CPBD of one picture `[H, W]` in 0 … 255."""
    rising = upright_edges(grey)
    rows, columns = (size // BLOCK * BLOCK for size in grey.shape)
    blocks = grey[:rows, :columns].unfold(0, BLOCK, BLOCK).unfold(1, BLOCK, BLOCK).flatten(2)
    contrast = blocks.amax(-1) - blocks.amin(-1)
    inside = rising[:rows, :columns]
    counts = inside.ne(0).unfold(0, BLOCK, BLOCK).unfold(1, BLOCK, BLOCK).flatten(2).sum(-1)
    y, x = inside.nonzero(as_tuple=True)
    kept = counts[y // BLOCK, x // BLOCK] > EDGE_SHARE * BLOCK**2
    y, x = y[kept], x[kept]
    if not len(y):
        return 0.0
    widths = edge_widths(grey, rising, y, x)
    low = contrast[y // BLOCK, x // BLOCK] <= LOW_CONTRAST
    noticeable = torch.where(low, *(torch.tensor(value) for value in JUST_NOTICEABLE))
    # The probability to notice, 1 − exp(−(width / noticeable)^3.6), is below 63 % just there.
    return float((widths <= noticeable).float().mean())


def upright_edges(grey: Tensor) -> Tensor:
    """Where brightness `[H, W]` changes most along a row: 1 rising, −1 falling, 0 elsewhere."""
    kernel = grey.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])[None, None] / 8
    slope = F.conv2d(F.pad(grey[None, None], (1, 1, 1, 1), mode="replicate"), kernel)[0, 0]
    strength = slope.square()
    around = F.max_pool2d(strength[None, None], (1, 3), 1, (0, 1))[0, 0]
    peaks = (strength == around) & (strength > 4 * strength.mean())
    return slope.sign() * peaks


def edge_widths(grey: Tensor, rising: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """How many pixels brightness keeps on changing around edges (Marziliano et al. 2002).

    Args:
        grey: `[H, W]`.
        rising: as `upright_edges` returns.
        y, x: `[N]`, the edges to measure.
    """
    direction = rising[y, x]
    last = grey.shape[1] - 1
    ends = []
    for step in (-1, 1):
        at, moving = x.clone(), torch.ones_like(x, dtype=torch.bool)
        for _ in range(LONGEST):
            following = (at + step).clamp(0, last)
            change = (grey[y, following] - grey[y, at]) * direction * step
            moving &= change > 0
            at = torch.where(moving, following, at)
            if not moving.any():
                break
        ends.append(at)
    return (ends[1] - ends[0]).float()


def _for_facenet(pictures: Tensor) -> Tensor:
    """Squares as that network was trained on them: 160 pixels, about −1 … 1."""
    small = F.interpolate(pictures, (160, 160), mode="bilinear", antialias=True)
    return (255 * small - 127.5) / 128


def _library(module: str, measure: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise PayloadError(
            f"{measure} needs the Python package '{package}', which is not installed. Install it"
            f" with `pip install {package}`, or leave {measure} out."
        ) from None


def _weights(measure: str, path: Path, name: str) -> None:
    if not path.is_file():
        raise PayloadError(
            f"{measure} needs {name}, which is not in '{path.parent}'. Put it there, or leave"
            f" {measure} out: other weights would give another measure."
        )


def _hub() -> Path:
    """Where PyTorch keeps the weights of libraries."""
    return Path(torch.hub.get_dir()) / "checkpoints"
