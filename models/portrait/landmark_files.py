"""Landmarks that somebody else found: JSON files and the host's FACE_LANDMARKS.

A JSON file holds one of

    {"landmarks68": [[x, y(, z)], … 68]}
    {"landmarks478": [[x, y(, z)], … 478]}
    [[x, y(, z)], … 68, 468 or 478]
    [face, face, …] or {"faces": [face, face, …]}    each face one of the above

in pixels, x right, y down, z away from the viewer and scaled like x. An `"image_size": [height,
width]` beside the points says how large the picture was in which they were measured; they are then
scaled to the picture in use.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..payloads import PayloadError
from .face import Face
from .geometry import procrustes

FORMS = (
    '{"landmarks68": [[x, y], …]}, {"landmarks478": [[x, y, z], …]}, a plain list of points, or a'
    " list of such faces"
)


def read_landmarks(source: Any, size: tuple[int, int]) -> list[Face]:
    """The faces in a JSON file, in what a JSON file would hold, or in the host's FACE_LANDMARKS.

    Args:
        source: a path, or the value itself. Of FACE_LANDMARKS the first frame is read.
        size: height and width of the picture in use.

    Raises:
        PayloadError: the file cannot be read, or holds something else.
    """
    value = _parse(Path(source)) if isinstance(source, (str, Path)) else source
    if isinstance(value, Mapping) and "frames" in value:
        return _host_faces(value, size)
    return _faces(value, None, size)


def _parse(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PayloadError(
            f"The landmark file '{path}' cannot be read: {error.strerror or error}."
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise PayloadError(
            f"The landmark file '{path}' is not JSON. It should hold {FORMS}."
        ) from None


def _faces(value: object, measured: Sequence[float] | None, size: tuple[int, int]) -> list[Face]:
    """Faces in one of the module's forms; `measured` is the image size that was given above."""
    if isinstance(value, Mapping):
        measured = value.get("image_size", measured)
        for key in ("landmarks478", "landmarks68"):
            if key in value:
                return [Face.from_points(_rescale(_points(value[key]), measured, size))]
        if "faces" in value:
            return _faces(value["faces"], measured, size)
        raise PayloadError(
            f"The landmarks have the keys {', '.join(map(str, value)) or 'none'}, but {FORMS} is"
            " needed."
        )
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value):
        if isinstance(value[0], Mapping) or _depth(value) == 3:
            return [face for item in value for face in _faces(item, measured, size)]
        return [Face.from_points(_rescale(_points(value), measured, size))]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return []
    raise PayloadError(f"The landmarks are {value!r:.60}, but {FORMS} is needed.")


def _depth(value: object) -> int:
    """How deeply lists are nested, judged by the first items."""
    depth = 0
    while isinstance(value, Sequence) and not isinstance(value, str) and len(value):
        value, depth = value[0], depth + 1
    return depth


def _points(rows: Any) -> Tensor:
    try:
        return torch.tensor(rows, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise PayloadError(
            "The landmarks are not a list of [x, y] or [x, y, z] with numbers in them."
        ) from None


def _rescale(points: Tensor, measured: Any, size: tuple[int, int]) -> Tensor:
    """From the picture of `measured` (height, width) to that of `size`."""
    if measured is None or points.ndim != 2:
        return points
    try:
        height, width = (float(side) for side in measured)
    except (TypeError, ValueError):
        height = width = 0.0
    if min(height, width) <= 0:
        raise PayloadError(f'"image_size" must be [height, width] in pixels, not {measured!r}.')
    factor = points.new_tensor([size[1] / width, size[0] / height, size[1] / width])
    return points * factor[: points.shape[1]]


def _host_faces(value: Mapping[str, Any], size: tuple[int, int]) -> list[Face]:
    """Faces of the first frame of the host's FACE_LANDMARKS.

    Its `landmarks_xy` are pixels; its `landmarks_3d` live in the detector's own crop, which may be
    rotated. The crop's scale brings its z to pixels.
    """
    frames = value["frames"]
    faces = frames[0] if frames else []
    measured = value.get("image_size")
    found = []
    for face in faces:
        points = _points(face["landmarks_xy"])
        if face.get("landmarks_3d") is not None:
            inner = _points(face["landmarks_3d"])
            flat = torch.nn.functional.pad(inner[:, :2], (0, 1))
            _, scale, _ = procrustes(flat, torch.nn.functional.pad(points, (0, 1)))
            points = torch.cat([points, inner[:, 2:] * scale], -1)
        found.append(Face.from_points(_rescale(points, measured, size)))
    return found
