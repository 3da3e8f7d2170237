"""A folder of talking videos becomes training data: sound, ARKit weights, head pose, landmarks.

One npz per clip. What is there already is kept, so that a run can be stopped and taken up again;
clips that are of no use are reported and left out.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..models.motion.tracking import track
from ..models.payloads import PayloadError
from ..models.portrait.mapping import to_68
from ..models.speech.audio import read_sound

SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v")
LEAST_SECONDS = 2.0
MOST_ABSENT = 0.2  # share of the frames without a face, above which a clip is of no use
OnFrame = Callable[[int, int], None]
OnClip = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """A prepared clip."""

    sound: np.ndarray  # [S] int16, 16 kHz, mono
    fps: Fraction
    weights: np.ndarray  # [T, 52] float16, ARKit, above what the face shows all the time
    rotation: np.ndarray  # [T, 3] float32, pitch, yaw, roll to the viewer, degrees
    translation: np.ndarray  # [T, 3] float32, inter-ocular distances from the first frame
    scale: np.ndarray  # [T] float32, of the first frame
    landmarks68: np.ndarray  # [T, 68, 3] float32, pixels; NaN where no face was seen
    size: np.ndarray  # [2] width and height of the picture, pixels


@dataclass(frozen=True, kw_only=True)
class Report:
    """What became of a folder."""

    prepared: int
    kept: int
    refused: dict[str, str]  # name of the clip, why


def find_videos(folder: Path) -> list[Path]:
    """The videos in a folder and below it, by name.

    Raises:
        PayloadError: there are none.
    """
    if not folder.is_dir():
        raise PayloadError(f"There is no folder '{folder}'.")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise PayloadError(f"'{folder}' holds no videos ({', '.join(SUFFIXES)}).")
    return found


def prepare(
    videos: Path,
    output: Path,
    face_landmarker: Path,
    on_clip: OnClip | None = None,
) -> Report:
    """Prepare every video in `videos` that `output` lacks.

    Args:
        videos: searched with everything below it; names are kept, `/` becomes `-`.
        output: gets one npz per clip.
        face_landmarker: MediaPipe's `face_landmarker.task`.
        on_clip: called with the clip's name, frames done and frames in all.

    Raises:
        PayloadError: no videos, or MediaPipe or its model is absent.
    """
    paths = find_videos(videos)
    output.mkdir(parents=True, exist_ok=True)
    check_landmarker(face_landmarker)
    prepared, kept, refused = 0, 0, {}
    for path in paths:
        name = "-".join(path.relative_to(videos).with_suffix("").parts)
        target = output / f"{name}.npz"
        if target.exists():
            kept += 1
            continue
        try:
            clip = prepare_clip(path, face_landmarker, _named(on_clip, name))
        except (PayloadError, OSError, ValueError) as error:  # PyAV's errors are OSErrors
            refused[name] = " ".join(str(error).split())
            continue
        write_clip(clip, target)
        prepared += 1
    return Report(prepared=prepared, kept=kept, refused=refused)


def _named(on_clip: OnClip | None, name: str) -> OnFrame | None:
    """`on_clip` for one clip."""
    return None if on_clip is None else lambda done, total: on_clip(name, done, total)


def prepare_clip(path: Path, face_landmarker: Path, on_frame: OnFrame | None = None) -> Clip:
    """What is seen and heard in one video.

    Raises:
        PayloadError: no sound, too short, or no face most of the time.
    """
    _, sound = read_sound(path)
    if sound.shape[1] < LEAST_SECONDS * 16000:
        raise PayloadError(f"It lasts {sound.shape[1] / 16000:.1f} s; 2 are needed.")
    faces, fps, size = detect_faces(path, face_landmarker, on_frame)
    absent = sum(not frame for frame in faces) / max(len(faces), 1)
    if absent > MOST_ABSENT:
        raise PayloadError(f"No face is seen in {absent:.0%} of its frames.")
    motion = track({"frames": faces, "image_size": size[::-1]}, fps, relative=False)
    return Clip(
        sound=(sound[0].clamp(-1, 1) * 32767).round().to(torch.int16).numpy(),
        fps=fps,
        weights=motion.values.half().numpy(),
        rotation=motion.rotation.numpy(),
        translation=motion.translation.numpy(),
        scale=motion.scale.numpy(),
        landmarks68=landmarks_of(faces),
        size=np.array(size),
    )


def check_landmarker(path: Path) -> None:
    """Find out before the first video whether faces can be found at all.

    Raises:
        PayloadError: MediaPipe or its model is absent.
    """
    with _landmarker(path):
        pass


def _landmarker(path: Path) -> Any:
    """MediaPipe for the frames of one video; a context manager."""
    if not path.is_file():
        raise PayloadError(
            f"The face landmarker '{path}' does not exist. Give the path of MediaPipe's"
            " face_landmarker.task with --face-landmarker."
        )
    try:
        from mediapipe.tasks.python import BaseOptions, vision
    except ImportError:
        raise PayloadError(
            'Preparing videos needs the package mediapipe: `pip install "soliloquy[mediapipe]"`.'
        ) from None
    return vision.FaceLandmarker.create_from_options(
        vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_buffer=path.read_bytes()),
            running_mode=vision.RunningMode.VIDEO,
            output_face_blendshapes=True,
        )
    )


def detect_faces(
    path: Path, face_landmarker: Path, on_frame: OnFrame | None = None
) -> tuple[list[list[dict[str, Any]]], Fraction, tuple[int, int]]:
    """The face of each frame like the host's FACE_LANDMARKS, frames/s, and width and height."""
    import mediapipe

    faces: list[list[dict[str, Any]]] = []
    with _landmarker(face_landmarker) as landmarker:
        for pixels, fps, total in read_frames(path):
            height, width = pixels.shape[:2]
            picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
            moment = int(len(faces) * 1000 / fps)
            faces.append(_seen(landmarker.detect_for_video(picture, moment), width, height))
            if on_frame:
                on_frame(len(faces), max(total, len(faces)))
    if not faces:
        raise PayloadError("It holds no frames.")
    return faces, fps, (width, height)


def read_frames(path: Path) -> Iterator[tuple[np.ndarray, Fraction, int]]:
    """The frames `[H, W, 3]` uint8 of a video, with frames/s and how many are to be expected.

    Raises:
        PayloadError: there is no picture in the file.
    """
    import av

    with av.open(str(path)) as container:
        if not container.streams.video:
            raise PayloadError("It has no picture.")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        fps = Fraction(stream.average_rate or 25)
        for frame in container.decode(stream):
            # Rows of odd pictures come padded, which MediaPipe does not see.
            yield np.ascontiguousarray(frame.to_ndarray(format="rgb24")), fps, stream.frames


def _seen(result: Any, width: int, height: int) -> list[dict[str, Any]]:
    """One frame's face in pixels; the detector counts from the corner of the picture."""
    return [
        {
            "landmarks_xy": np.array(
                [[p.x * width - 0.5, p.y * height - 0.5, p.z * width] for p in points], np.float32
            ),
            "blendshapes": {shape.category_name: shape.score for shape in shapes},
        }
        for points, shapes in zip(result.face_landmarks, result.face_blendshapes, strict=True)
    ]


def landmarks_of(faces: list[list[dict[str, Any]]]) -> np.ndarray:
    """The 68 landmarks of what `detect_faces` saw: `[T, 68, 3]` pixels, NaN where no face is."""
    nothing = np.full((68, 3), np.nan, np.float32)
    return np.stack(
        [
            to_68(torch.from_numpy(frame[0]["landmarks_xy"])).numpy() if frame else nothing
            for frame in faces
        ]
    )


def write_clip(clip: Clip, path: Path) -> None:
    """Write a clip; a file that is there is whole."""
    unfinished = path.with_suffix(".part.npz")
    arrays = {name: value for name, value in vars(clip).items() if name != "fps"}
    fps = np.array([clip.fps.numerator, clip.fps.denominator])
    np.savez_compressed(unfinished, fps=fps, **arrays)
    unfinished.rename(path)


def read_clip(path: Path) -> Clip:
    """What `write_clip` wrote.

    Raises:
        PayloadError: the file is something else.
    """
    try:
        arrays = dict(np.load(path))
        return Clip(fps=Fraction(*map(int, arrays.pop("fps"))), **arrays)
    except (TypeError, ValueError, KeyError, zipfile.BadZipFile):
        raise PayloadError(
            f"'{path}' is not a clip that `prepare` has made. Prepare its video:"
            " python -m soliloquy prepare VIDEOS OUT."
        ) from None


def is_clip(path: Path) -> bool:
    """Whether an npz is what `write_clip` writes."""
    with np.load(path) as file:
        return "landmarks68" in file.files
