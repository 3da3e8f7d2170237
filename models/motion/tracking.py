"""The motion of a face in a video, from what a landmark detector found in each of its frames.

The weights are the detector's own; where the head is follows from the landmarks that expression
leaves alone. A frame without a face lies between its neighbours, so that the motion stays as long
as the video.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from ..payloads import Motion, PayloadError, Timeline
from ..portrait.face import Face
from ..portrait.geometry import head_placement, matrix_to_euler
from ..portrait.landmark_files import read_landmarks
from ..portrait.mapping import mean_landmarks
from .arkit import ARKIT52

REST_QUANTILE = 0.05  # of the frames show less of a weight than what counts as rest
NECK_BELOW_CHIN, NECK_BEHIND_EYES = 0.25, 0.75  # inter-ocular distances; where heads turn


@dataclass(frozen=True, eq=False)
class SeenFace:
    """One face in one frame."""

    face: Face
    weights: Tensor  # [52]


def track(
    face_landmarks: Mapping[str, Any],
    fps: float | str | Fraction,
    *,
    face_index: int = 0,
    from_rest: bool = True,
    relative: bool = True,
    position: bool = True,
) -> Motion:
    """The motion of one face, in the space "arkit52".

    Args:
        face_landmarks: the host's FACE_LANDMARKS of the video's frames.
        fps: of the video.
        face_index: which face, counted by size where a face is first seen; it is followed from
            there.
        from_rest: take away what the face shows all the time, which is its shape and not its
            expression.
        relative: the head moves away from where it first is; otherwise its angles are those to
            the viewer, and its place and size still count from the first.
        position: the head shifts and comes nearer, too; otherwise it only turns.

    Raises:
        PayloadError: no frame, no face, or faces without blendshapes.
    """
    frames = face_landmarks["frames"]
    size = face_landmarks["image_size"]
    seen = _follow([_faces(face_landmarks, frame, size) for frame in frames], face_index)
    found = torch.tensor([face is not None for face in seen])
    if not found.any():
        raise PayloadError(
            f"No face was found in any of the {len(frames)} frames. Use a video in which the face"
            " can be seen, and detect its landmarks on those frames."
        )
    faces = [face for face in seen if face is not None]
    weights = torch.stack([face.weights for face in faces])
    if from_rest:
        weights = above_rest(weights)
    landmarks = torch.stack([face.face.landmarks for face in faces])
    curves = [weights, *head_motion(landmarks, relative=relative, position=position)]
    values, rotation, translation, scale = (fill_gaps(curve, found) for curve in curves)
    return Motion(
        space="arkit52",
        values=values,
        rotation=rotation,
        translation=translation,
        scale=scale,
        timeline=Timeline.for_frames(len(frames), fps),
        notes=_notes(found),
    )


def above_rest(weights: Tensor) -> Tensor:
    """Weights `[T, 52]` counted from what the face hardly ever falls below, 1 still being 1."""
    rest = weights.quantile(REST_QUANTILE, dim=0)
    return ((weights - rest) / (1 - rest).clamp(min=0.1)).clamp(0, 1)


def head_motion(
    landmarks: Tensor, *, relative: bool = True, position: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """How a head moves, from `[T, 68, 3]`: rotation `[T, 3]`, translation `[T, 3]`, scale `[T]`.

    The translation is that of the neck, about which renderers turn the head; its depth shows in
    the scale alone.
    """
    placed, size, shift = head_placement(landmarks)
    chin = float(mean_landmarks()[8, 1])
    neck = landmarks.new_tensor([0.0, chin + NECK_BELOW_CHIN, NECK_BEHIND_EYES])
    place = size[:, None] * (placed @ neck) + shift
    turned = placed @ placed[0].mT if relative else placed
    translation = (place - place[0]) / size[0] * place.new_tensor([1.0, 1.0, 0.0])
    scale = size / size[0]
    if not position:
        translation, scale = torch.zeros_like(translation), torch.ones_like(scale)
    return matrix_to_euler(turned), translation, scale


def fill_gaps(curve: Tensor, found: Tensor) -> Tensor:
    """A curve of the frames that were found, `[n, …]`, on all frames of `found` `[T]`.

    Linear between neighbours; before the first and after the last, the nearest is held.
    """
    known = found.nonzero()[:, 0]
    frames = torch.arange(len(found))
    after = torch.searchsorted(known, frames).clamp(max=len(known) - 1)
    before = (torch.searchsorted(known, frames, right=True) - 1).clamp(min=0)
    distance = (known[after] - known[before]).clamp(min=1)
    share = ((frames - known[before]) / distance).clamp(0, 1)
    return torch.lerp(curve[before], curve[after], share.view(-1, *[1] * (curve.ndim - 1)))


def _faces(
    source: Mapping[str, Any], frame: Sequence[Mapping[str, Any]], size: tuple[int, int]
) -> list[SeenFace]:
    faces = read_landmarks({**source, "frames": [frame]}, size) if frame else []
    return [SeenFace(face, _weights(seen)) for face, seen in zip(faces, frame, strict=True)]


def _weights(seen: Mapping[str, Any]) -> Tensor:
    """ARKit's weights by their names; what the detector does not know (the tongue) is at rest."""
    named = seen.get("blendshapes")
    if not named:
        raise PayloadError(
            "The FACE_LANDMARKS have no blendshapes. Use a detector that finds them, such as"
            " MediaPipe Face Landmarker."
        )
    return torch.tensor([float(named.get(name, 0.0)) for name in ARKIT52]).clamp(0, 1)


def _follow(frames: Sequence[Sequence[SeenFace]], face_index: int) -> list[SeenFace | None]:
    """The same face in every frame: the one nearest to where it was last."""
    followed: list[SeenFace | None] = []
    last: SeenFace | None = None
    for faces in frames:
        chosen: SeenFace | None = None
        if last is not None and faces:
            centre = last.face.landmarks.mean(0)
            chosen = min(faces, key=lambda f: float((f.face.landmarks.mean(0) - centre).norm()))
        elif len(faces) > face_index:
            chosen = sorted(faces, key=lambda f: -f.face.area)[face_index]
        last = chosen or last
        followed.append(chosen)
    return followed


def _notes(found: Tensor) -> tuple[str, ...]:
    absent = int((~found).sum())
    if not absent:
        return ()
    return (
        f"{absent} of {len(found)} frames show no face; there the motion goes on evenly between"
        " the frames before and after.",
    )
