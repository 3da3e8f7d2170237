"""MediaPipe's Face Landmarker as a source of landmarks (optional package, `face_landmarker.task`).

Its detector looks at 128 × 128 pixels, so small faces in large pictures vanish. Where the whole
picture shows no large face, overlapping tiles of a half, a third and a quarter of it are searched
too; where nothing is found at all, the picture is turned by quarters.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..payloads import PayloadError
from .face import Face

MAX_FACES = 32
LARGE = 0.25  # of the picture's shorter side: a face like that is a portrait, no need for tiles
MIN_TILE = 96  # pixels


def detect(image: Tensor, face_landmarker: str | Path) -> list[Face]:
    """All faces that MediaPipe sees in `image` `[H, W, 3]` uint8, in no order.

    Args:
        image: the picture.
        face_landmarker: path of `face_landmarker.task` (Google, Apache-2.0, 3.7 MB).

    Raises:
        PayloadError: the package or the file is absent, or the file is not a face landmarker.
    """
    pixels = image.numpy()
    with _open(Path(face_landmarker)) as landmarker:
        found = _search(landmarker, pixels)
        for quarters in (1, 3, 2):
            if found:
                break
            turned = _search(landmarker, np.rot90(pixels, quarters))
            found = [_turn_back(points, quarters, pixels.shape[:2]) for points in turned]
    return [Face.from_points(torch.from_numpy(points)) for points in found]


def _open(path: Path) -> Any:
    """A landmarker for single pictures; a context manager."""
    try:
        from mediapipe.tasks.python import BaseOptions, vision
    except ImportError:
        raise PayloadError(
            "Landmarks by MediaPipe need the package mediapipe:"
            ' `pip install "soliloquy[mediapipe]"`. Or give landmarks as a JSON file.'
        ) from None
    if not path.is_file():
        raise PayloadError(
            f"The face landmarker '{path}' does not exist. Give the path of MediaPipe's"
            " face_landmarker.task."
        )
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_buffer=path.read_bytes()), num_faces=MAX_FACES
    )
    try:
        return vision.FaceLandmarker.create_from_options(options)
    except (RuntimeError, ValueError) as error:
        raise PayloadError(
            f"'{path.name}' is not a face landmarker that MediaPipe can open: {error}"
        ) from None


def _search(landmarker: Any, pixels: np.ndarray) -> list[np.ndarray]:
    """Meshes `[478, 3]` in the whole picture and, unless it shows a large face, in its tiles."""
    height, width = pixels.shape[:2]
    found = _meshes(landmarker, pixels)
    if any(_extent(mesh) >= LARGE * min(height, width) for mesh in found):
        return found
    for parts in (2, 3, 4):
        side = -(-max(height, width) // parts)
        if side < MIN_TILE:
            break
        for top in _starts(height, side):
            for left in _starts(width, side):
                tile = pixels[top : top + side, left : left + side]
                for mesh in _meshes(landmarker, tile):
                    if _touches_seam(mesh, tile.shape[:2], (top, left), (height, width)):
                        continue
                    mesh = mesh + np.array([left, top, 0], dtype=mesh.dtype)
                    if not any(_same(mesh, other) for other in found):
                        found.append(mesh)
    return found


def _meshes(landmarker: Any, pixels: np.ndarray) -> list[np.ndarray]:
    import mediapipe

    height, width = pixels.shape[:2]
    picture = mediapipe.Image(
        image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(pixels)
    )
    faces = landmarker.detect(picture).face_landmarks
    to_pixels = np.array([width, height, width], dtype=np.float32)  # its z is in picture widths
    corner = np.array([0.5, 0.5, 0.0], dtype=np.float32)  # it counts from the corner of the picture
    return [
        np.array([[p.x, p.y, p.z] for p in face], dtype=np.float32) * to_pixels - corner
        for face in faces
    ]


def _starts(length: int, side: int) -> list[int]:
    """Where tiles of `side` that overlap by half begin, the last one flush with the end."""
    last = max(0, length - side)
    return [*range(0, last, max(1, side // 2)), last]


def _extent(mesh: np.ndarray) -> float:
    return float(np.ptp(mesh[:, :2], axis=0).max())


def _touches_seam(
    mesh: np.ndarray, tile: tuple[int, ...], start: tuple[int, int], size: tuple[int, int]
) -> bool:
    """Whether the face runs over an edge of its tile that is not an edge of the picture."""
    low, high = mesh[:, 1::-1].min(0), mesh[:, 1::-1].max(0)  # y, x
    return any(
        (low[axis] < 1 and start[axis] > 0)
        or (high[axis] > tile[axis] - 2 and start[axis] + tile[axis] < size[axis])
        for axis in (0, 1)
    )


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two meshes are the same face: their centres are closer than half a face."""
    distance = np.linalg.norm(one[:, :2].mean(0) - other[:, :2].mean(0))
    return bool(distance < 0.5 * min(_extent(one), _extent(other)))


def _turn_back(mesh: np.ndarray, quarters: int, size: tuple[int, ...]) -> np.ndarray:
    """Points of `np.rot90(picture, quarters)` in the picture of `size` (height, width) itself."""
    height, width = size
    x, y, z = mesh.T
    if quarters == 1:
        x, y = width - 1 - y, x
    elif quarters == 2:
        x, y = width - 1 - x, height - 1 - y
    else:
        x, y = y, height - 1 - x
    return np.stack([x, y, z], -1)
