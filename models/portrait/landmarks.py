"""Where the faces of a picture are: from the user's numbers, from MediaPipe, from face-alignment.

The sources are asked in that order, and the first one that finds a face is used. Whatever a
detector says is held against the mean face before anybody relies on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..payloads import PayloadError
from . import face_alignment_detector, landmark_files, mediapipe_detector
from .face import Face, implausible

LandmarkSource = str | Path | Mapping[str, Any] | Sequence[Any]


class NoFaceError(PayloadError):
    """No face was found in a picture; the message says which picture and what to do."""


def find_faces(
    image: Tensor,
    *,
    landmarks: LandmarkSource | None = None,
    face_landmarker: str | Path | None = None,
    allow_download: bool = False,
    picture: str = "image 1 of 1",
) -> list[Face]:
    """All faces of a picture, the largest first.

    Args:
        image: `[H, W, 3]` uint8, sRGB.
        landmarks: a JSON file, what it would hold (see `landmark_files`), or the host's
            FACE_LANDMARKS. Used as given: no detector runs.
        face_landmarker: MediaPipe's `face_landmarker.task`.
        allow_download: whether face-alignment may fetch its weights where they are absent.
        picture: what to call the picture in errors.

    Raises:
        NoFaceError: the sources saw no face.
        PayloadError: no source can be used, or given landmarks are not those of a face here.
    """
    size = (image.shape[0], image.shape[1])
    if landmarks is not None:
        faces = _given_faces(landmarks, size)
        return _by_size(faces, picture, size, "among the landmarks that were given")
    asked, faces = [], []
    if face_landmarker is not None:
        asked.append("MediaPipe")
        faces = mediapipe_detector.detect(image, face_landmarker)
    if not faces and (allow_download or not face_alignment_detector.missing_files()):
        asked.append("face-alignment")
        faces = face_alignment_detector.detect(image, allow_download=allow_download)
    if not asked:
        raise PayloadError(
            "Nothing here can look for faces. Give landmarks (a JSON file, or FACE_LANDMARKS in the"
            " graph), or MediaPipe's face_landmarker.task, or put"
            f" {face_alignment_detector.where_files_belong()} for face-alignment."
        )
    faces = [face for face in faces if not implausible(face, size)]
    return _by_size(faces, picture, size, f"by {' and '.join(asked)}")


def choose_face(faces: list[Face], face_index: int) -> Face:
    """Face number `face_index`, counted by size from 0, the largest.

    Raises:
        PayloadError: there are not that many faces.
    """
    if 0 <= face_index < len(faces):
        return faces[face_index]
    there_are = "there is 1 face" if len(faces) == 1 else f"there are {len(faces)} faces"
    possible = "0" if len(faces) == 1 else f"0 (the largest) to {len(faces) - 1} (the smallest)"
    raise PayloadError(
        f"Face {face_index} was asked for, but {there_are} in the picture. Give {possible}."
    )


def _given_faces(landmarks: LandmarkSource, size: tuple[int, int]) -> list[Face]:
    faces = landmark_files.read_landmarks(landmarks, size)
    for number, face in enumerate(faces, 1):
        problem = implausible(face, size)
        if problem:
            raise PayloadError(
                f"Face {number} of {len(faces)} in the landmarks {problem}. Check that they belong"
                " to this picture and are in its pixels."
            )
    return faces


def _by_size(faces: list[Face], picture: str, size: tuple[int, int], where: str) -> list[Face]:
    if not faces:
        raise NoFaceError(
            f"No face found in {picture} ({size[1]}×{size[0]}) {where}. Use a picture in which both"
            " eyes and the mouth can be seen, or give its landmarks (a JSON file, or FACE_LANDMARKS"
            " in the graph)."
        )
    return sorted(faces, key=lambda face: -face.area)
