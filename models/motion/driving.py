"""A driving video: a face in every frame, whose head a motion from the front can follow.

Stage 3, for MoDiTalker (Kim et al. 2024, section 3.3). AToM speaks of a face from the front; where
the head is comes from the frames that MToV is to complete. With the user's own files of the Basel
face model this is the published way: each frame is reconstructed, and `alignment.align` brings
AToM's landmarks to the pose that was found, to the face's size and to the mean of five points.
Without them the pose is that of the frame's own landmarks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..payloads import Motion, PayloadError, Portrait
from ..portrait.face import Face
from ..portrait.geometry import RIGID68, head_placement, matrix_to_euler
from ..portrait.landmarks import NoFaceError, find_faces
from .alignment import align
from .face_model import ANGLES, TRANSLATION, FaceReconstruction
from .posed import posed_landmarks, unposed_landmarks
from .tracking import fill_gaps

OnFrame = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class DrivingVideo:
    """Frames, and where the landmarks of one face are in them."""

    frames: Tensor  # [T, H, W, 3] uint8
    landmarks: Tensor  # [T, 68, 3] float32, pixels, z scaled like x
    num_missing: int = 0  # frames without a face, which lie between their neighbours

    def checked(self, portrait: Portrait | None, frames: int) -> Portrait:
        """The portrait, if this video can drive `frames` frames of it.

        Raises:
            PayloadError: no portrait, one of another size, or too few frames.
        """
        if portrait is None:
            raise PayloadError(
                "A driving video says where the head of a portrait goes, but there is no portrait."
                " Connect one to Sample Motion."
            )
        if tuple(self.frames.shape[1:3]) != portrait.size or len(self.frames) < frames:
            count, height, width = self.frames.shape[:3]
            raise PayloadError(
                f"The driving video has {count} frames of {width}×{height}; at least {frames} of"
                f" {portrait.size[1]}×{portrait.size[0]}, like the portrait, are needed. Resize or"
                " trim it."
            )
        return portrait


def find_driving_face(
    frames: Tensor, source: Callable[[int], Mapping[str, Any]], on_frame: OnFrame | None = None
) -> DrivingVideo:
    """The largest face of the first frame that shows one, and where it goes.

    Args:
        frames: `[T, H, W, 3]` uint8.
        source: where to find the faces of a frame, as arguments of `find_faces`.
        on_frame: called with (frames done, frames in all).

    Raises:
        PayloadError: no face in any frame, or nothing that could find one.
    """
    followed = _followed(_faces(frames, source, on_frame))
    found = torch.tensor([face is not None for face in followed])
    if not found.any():
        raise PayloadError(
            f"No face was found in any of the {len(frames)} frames of the driving video. Use one in"
            " which eyes and mouth can be seen."
        )
    landmarks = torch.stack([face.landmarks for face in followed if face is not None])
    return DrivingVideo(
        frames=frames,
        landmarks=fill_gaps(landmarks, found),
        num_missing=int((~found).sum()),
    )


def follow(motion: Motion, portrait: Portrait, video: DrivingVideo) -> Motion:
    """The motion with the head of the video: the face lies on that of each frame.

    Args:
        motion: in the space "landmarks68"; its own head is not used.
        portrait: whose face it is.
        video: frames like the portrait's, one for each of the motion's or more.

    Raises:
        PayloadError: the video does not fit the portrait.
    """
    portrait = video.checked(portrait, len(motion.values))
    landmarks = video.landmarks[: len(motion.values)]
    own, own_size, _ = head_placement(portrait.landmarks)
    turned, size, _ = head_placement(landmarks)
    still = torch.zeros(len(landmarks), 3)
    led = replace(
        motion, rotation=matrix_to_euler(turned @ own.mT), translation=still, scale=size / own_size
    )
    # Where the parts that do not speak lie without a shift, and where they belong.
    rest = posed_landmarks(replace(led, values=torch.zeros_like(led.values)), portrait)
    away = (landmarks - rest)[:, list(RIGID68), :2].mean(1) / portrait.interocular
    return replace(led, translation=torch.cat([away, still[:, :1]], dim=1))


def follow_aligned(
    motion: Motion,
    portrait: Portrait,
    video: DrivingVideo,
    *,
    frontal: Tensor,
    reconstruction: FaceReconstruction,
    rounded: bool,
) -> Motion:
    """As `follow`, each landmark where the published alignment has it.

    Args:
        motion, portrait, video: as `follow` takes them.
        frontal: `[T, 68, 3]`, what AToM said, units of the Basel face model.
        reconstruction: the user's own files.
        rounded: with the crop's whole pixels, as published.
    """
    led = follow(motion, portrait, video)
    detected = video.landmarks[: len(frontal)]
    pairs = zip(video.frames, detected, strict=False)
    seen = torch.stack([reconstruction.coefficients(*pair) for pair in pairs])
    flat = align(frontal, seen[:, ANGLES], seen[:, TRANSLATION], detected[..., :2], rounded=rounded)
    depth = posed_landmarks(led, portrait)[..., 2:]
    placed = torch.cat([flat.to(depth), depth], dim=-1)
    return replace(led, values=unposed_landmarks(placed, led, portrait))


def _faces(
    frames: Tensor, source: Callable[[int], Mapping[str, Any]], on_frame: OnFrame | None
) -> Iterable[list[Face]]:
    for number, frame in enumerate(frames):
        try:
            yield find_faces(frame, picture=f"frame {number + 1}", **source(number))
        except NoFaceError:
            yield []
        if on_frame:
            on_frame(number + 1, len(frames))


def _followed(frames: Iterable[list[Face]]) -> list[Face | None]:
    """The same face in every frame: first the largest, then the one nearest to where it was."""
    followed: list[Face | None] = []
    last: Face | None = None
    for faces in frames:
        chosen = min(faces, key=lambda face: _apart(face, last)) if faces else None
        last = chosen or last
        followed.append(chosen)
    return followed


def _apart(face: Face, last: Face | None) -> float:
    """Pixels from where a face was; of the first ones, the largest comes before others."""
    if last is None:
        return -face.area
    return float((face.landmarks.mean(0) - last.landmarks.mean(0)).norm())
