"""MediaPipe's Face Landmarker as a source of landmarks (optional package, `face_landmarker.task`).

Its detector looks at 128 × 128 pixels, so small faces in large pictures vanish. Where the whole
picture shows no large face, overlapping tiles of a half, a third and a quarter of it are searched
too, and smaller ones as long as nothing is found. As a last resort the picture is turned by
quarters. Each face is then measured again in several upright crops, half of them mirrored, and the
median counts: in paintings and side views that moves lips and lids by 2 to 3 % of the inter-ocular
distance, to where they belong.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..payloads import PayloadError
from .affine import extract_crop, square_crop
from .face import Face
from .mapping import mirror_478, to_68

MAX_FACES = 32
LARGE = 0.25  # of the picture's shorter side: a face like that is a portrait, no need for tiles
MIN_TILE = 96  # pixels
PARTS = (2, 3, 4, 6, 9)  # tiles along the longer side, counted without overlap
ALWAYS = 4  # up to here all tiles are searched, so that every face is counted
REFINING_SCALES = (1.7, 2.0, 2.4)  # sides of the crops, in sizes of the face
REFINING_SIZE = 384  # pixels; the mesh network itself sees 256


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
            turned = _search(landmarker, np.rot90(pixels, quarters), parts=PARTS[:1])
            found = [_turn_back(points, quarters, pixels.shape[:2]) for points in turned]
        found = [_refine(landmarker, image, mesh) for mesh in found]
    return [Face.from_points(torch.from_numpy(points)) for points in found]


def _open(path: Path) -> Any:
    """A landmarker for single pictures; a context manager."""
    if not path.is_file():
        raise PayloadError(
            f"The face landmarker '{path}' does not exist. Give the path of MediaPipe's"
            " face_landmarker.task."
        )
    try:
        from mediapipe.tasks.python import BaseOptions, vision
    except ImportError:
        raise PayloadError(
            "Landmarks by MediaPipe need the package mediapipe:"
            ' `pip install "soliloquy[mediapipe]"`. Or give landmarks as a JSON file.'
        ) from None
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_buffer=path.read_bytes()), num_faces=MAX_FACES
    )
    try:
        return vision.FaceLandmarker.create_from_options(options)
    except (RuntimeError, ValueError) as error:
        raise PayloadError(
            f"'{path.name}' is not a face landmarker that MediaPipe can open: {error}"
        ) from None


def _search(
    landmarker: Any, pixels: np.ndarray, parts: tuple[int, ...] = PARTS
) -> list[np.ndarray]:
    """Meshes `[478, 3]` in the whole picture and, unless it shows a large face, in its tiles."""
    height, width = pixels.shape[:2]
    found = _meshes(landmarker, pixels)
    if any(_extent(mesh) >= LARGE * min(height, width) for mesh in found):
        return found
    for count in parts:
        side = -(-max(height, width) // count)
        if side < MIN_TILE or (found and count > ALWAYS):
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


def _refine(landmarker: Any, image: Tensor, mesh: np.ndarray) -> np.ndarray:
    """The median of what is seen in upright crops around a face; `mesh` where that is nothing."""
    seen = []
    for scale in REFINING_SCALES:
        crop = square_crop(to_68(torch.from_numpy(mesh)), scale=scale, size=REFINING_SIZE)
        cut = (extract_crop(image, crop, REFINING_SIZE) * 255).round().byte()
        back = torch.linalg.inv(crop).numpy()
        for mirrored in (False, True):
            pixels = (cut.flip(1) if mirrored else cut).numpy()
            for points in _meshes(landmarker, pixels):
                if mirrored:
                    points = points[mirror_478().numpy()]
                    points[:, 0] = REFINING_SIZE - 1 - points[:, 0]
                points[:, :2] = points[:, :2] @ back[:2, :2].T + back[:2, 2]
                points[:, 2] *= np.sqrt(np.linalg.det(back[:2, :2]))
                if _same(points, mesh):
                    seen.append(points)
    return np.median(seen, axis=0) if seen else mesh


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
