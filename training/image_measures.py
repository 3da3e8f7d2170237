"""Measures of pictures and landmarks: PSNR, SSIM, LMD and M-LMD.

Conventions, which papers often leave out:

* Pictures are `[T, 3, H, W]` in 0 … 1. PSNR is that of each frame, averaged; equal frames count as
  100 dB. SSIM has a Gaussian window of 11 pixels with sigma 1.5, on RGB, averaged over frames.
* Landmarks are `[T, K, 2 or 3]`. LMD (Chen et al. 2018) is the mean Euclidean distance between
  landmarks of the same frame, over all 68; M-LMD over the 20 of the mouth. The unit is that of the
  landmarks: of two videos it is the pixel of a 128 × 128 picture, as in ATL-Diff's tables,
  everywhere else the inter-ocular distance. LMD is not aligned, nor is M-LMD; with `aligned_mouth`
  the centre of the mouth is first taken away, as works that compare moving heads do. Landmarks of
  videos are those that MediaPipe finds (the paper's detector is face-alignment), in two dimensions;
  frames in which it finds no face in one of the videos are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import torch
from torch import Tensor

from ..models.payloads import PayloadError

MOUTH = slice(48, 68)
PUBLISHED_SIDE = 128  # pixels of a picture's side in which ATL-Diff's tables count
BEST_PSNR = 100.0  # dB, of equal pictures


def psnr(found: Tensor, wanted: Tensor) -> float:
    """Peak signal-to-noise ratio in dB, the mean over frames.

    Args:
        found, wanted: `[T, 3, H, W]`, 0 … 1.

    Raises:
        ValueError: their shapes differ.
    """
    _same(found, wanted)
    error = (found.double() - wanted.double()).square().mean((1, 2, 3))
    return float((-10 * error.clamp(min=10 ** (-BEST_PSNR / 10)).log10()).mean())


def ssim(found: Tensor, wanted: Tensor) -> float:
    """Structural similarity (Wang et al. 2004), -1 … 1, the mean over frames and channels.

    Args:
        found, wanted: `[T, 3, H, W]`, 0 … 1, at least 11 pixels a side.

    Raises:
        ValueError: their shapes differ.
    """
    from kornia.metrics import ssim as kornia_ssim

    _same(found, wanted)
    maps = kornia_ssim(found.float(), wanted.float(), window_size=11, max_val=1.0, padding="valid")
    return float(maps.double().mean())


def compare_videos(found: Path, wanted: Path) -> dict[str, float]:
    """PSNR and SSIM of two video files, frame by frame, in the memory of one frame.

    Raises:
        PayloadError: their sizes or numbers of frames differ.
    """
    scores = []
    for number, pair in enumerate(zip_longest(_pictures(found), _pictures(wanted))):
        given, true = pair
        if given is None or true is None:
            shorter = found if given is None else wanted
            raise PayloadError(f"'{shorter.name}' ends after {number} frames, the other does not.")
        if given.shape != true.shape:
            sizes = " and ".join(f"{p.shape[-1]}×{p.shape[-2]}" for p in (given, true))
            raise PayloadError(f"Frames of one size can be compared, not {sizes}. Scale one.")
        scores.append((psnr(given, true), ssim(given, true)))
    if not scores:
        raise PayloadError(f"'{wanted.name}' has no frames.")
    light, structure = (sum(column) / len(scores) for column in zip(*scores, strict=True))
    return {"PSNR": light, "SSIM": structure}


def compare_faces(found: Path, wanted: Path, face_landmarker: Path) -> dict[str, float]:
    """LMD and M-LMD of the faces in two video files, in pixels of a picture of 128 × 128.

    Args:
        found, wanted: videos with the same number of frames.
        face_landmarker: MediaPipe's `face_landmarker.task`.

    Raises:
        PayloadError: their numbers of frames differ, no frame shows a face in both, or MediaPipe
            is absent.
    """
    from .prepare import detect_faces, landmarks_of

    tracks = []
    for path in (found, wanted):
        faces, _, size = detect_faces(path, face_landmarker)
        shares = torch.from_numpy(landmarks_of(faces))[..., :2] / torch.tensor(size)
        tracks.append(PUBLISHED_SIDE * shares)
    given, true = tracks
    if len(given) != len(true):
        raise PayloadError(f"The videos have {len(given)} and {len(true)} frames. Cut the longer.")
    seen = ~(given + true).isnan().flatten(1).any(1)
    if not seen.any():
        raise PayloadError("No frame shows a face in both videos, so nothing can be measured.")
    return {
        "LMD": landmark_distance(given[seen], true[seen]),
        "M-LMD": mouth_landmark_distance(given[seen], true[seen]),
        "M-LMD, aligned": mouth_landmark_distance(given[seen], true[seen], aligned_mouth=True),
        "frames with a face": float(seen.double().mean()),
    }


def _pictures(path: Path) -> Iterator[Tensor]:
    """The frames of a video, `[1, 3, H, W]` in 0 … 1."""
    from .prepare import read_frames

    for frame, *_ in read_frames(path):
        yield torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255


def landmark_distance(found: Tensor, wanted: Tensor) -> float:
    """LMD: the mean distance of landmarks `[T, K, 2 or 3]`, in their unit.

    Raises:
        ValueError: their shapes differ.
    """
    _same(found, wanted)
    return float((found.double() - wanted.double()).norm(dim=-1).mean())


def mouth_landmark_distance(found: Tensor, wanted: Tensor, *, aligned_mouth: bool = False) -> float:
    """M-LMD: the mean distance of the mouth's landmarks of `[T, 68, 2 or 3]`, in their unit.

    Args:
        found, wanted: landmarks.
        aligned_mouth: take each frame's centre of the mouth away first.

    Raises:
        ValueError: their shapes differ.
    """
    mouths = [landmarks[:, MOUTH] for landmarks in (found, wanted)]
    if aligned_mouth:
        mouths = [mouth - mouth.mean(1, keepdim=True) for mouth in mouths]
    return landmark_distance(*mouths)


def border_speeds(landmarks: Tensor, borders: Tensor) -> tuple[Tensor, Tensor]:
    """How fast the mouth moves at borders, and everywhere.

    Args:
        landmarks: `[T, 68, 2 or 3]`, the head's movement taken out.
        borders: the first frame of each segment but the first, `[n]` int64.

    Returns:
        Mean step of the mouth's landmarks into each of these frames `[n]`, and into every frame
        `[T - 1]`.
    """
    steps = landmarks[:, MOUTH].diff(dim=0).norm(dim=-1).mean(-1)
    return steps[borders - 1], steps


def _same(found: Tensor, wanted: Tensor) -> None:
    if found.shape != wanted.shape:
        raise ValueError(
            f"Two clips of one shape can be compared, not {tuple(found.shape)}"
            f" and {tuple(wanted.shape)}."
        )
    if not len(found):
        raise ValueError("There are no frames to compare.")


def share_below(values: Tensor, all_values: Tensor, quantile: float = 0.95) -> float:
    """The share of `values` within a quantile of `all_values`."""
    return float((values <= torch.quantile(all_values, quantile)).float().mean())
