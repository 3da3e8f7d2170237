"""Portrait: a picture becomes a portrait, its face found and described."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from torch import Tensor

from ..models.payloads import PayloadError, Portrait
from ..models.portrait import face_alignment_detector
from ..models.portrait.crop import CROP_SCALE, prepare_portrait
from ..models.portrait.landmarks import LandmarkSource
from . import sockets
from .host import (
    CORE_LANDMARKER,
    advanced,
    detect_with_core_landmarker,
    file_state,
    find_model_file,
    input_file,
    io,
    masks,
    model_folder,
    pictures,
    progress,
    say,
    schema,
)

CATEGORY = "Soliloquy/portrait"
TASK = "face_landmarker.task"  # MediaPipe's, in models/soliloquy or models/detection


class PreparePortrait(io.ComfyNode):
    """The only node of its stage."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See web/docs/SoliloquyPreparePortrait.md."""
        return schema(
            node_id="SoliloquyPreparePortrait",
            display_name="Prepare Portrait",
            category=CATEGORY,
            description="Finds the face in a picture: its landmarks, its pose and the square"
            " around it.",
            search_aliases=["face crop", "face landmarks", "talking head"],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="The picture, at any size and in any style. It is animated at its"
                    " full resolution. A batch gives one portrait per picture.",
                ),
                io.Int.Input(
                    "face_index",
                    default=0,
                    min=0,
                    max=99,
                    tooltip="Which face, counted by size: 0 is the largest. How many were found"
                    " is shown below the node.",
                ),
                advanced(
                    io.Float.Input(
                        "crop_scale",
                        default=CROP_SCALE,
                        min=1.0,
                        max=10.0,
                        step=0.05,
                        tooltip="Side of the square around the face, in sizes of the face. Larger"
                        " takes in more hair and shoulders. It matters to renderers that"
                        " work on the square, and to Paste Back.",
                    )
                ),
                advanced(
                    io.String.Input(
                        "landmarks_file",
                        default="",
                        tooltip="A JSON file in the host's input folder with 68 or 478 points [x,"
                        " y] in pixels of the picture. It comes before every detector."
                        " Empty: the face is looked for.",
                    )
                ),
                sockets.FaceLandmarks.Input(
                    "face_landmarks",
                    optional=True,
                    tooltip="Landmarks that the host's own face detection has found in this"
                    " picture. Then no other detector is asked.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the picture may change: white moves, black stays as it is."
                    " Same size as the picture.",
                ),
            ],
            outputs=[
                sockets.Portrait.Output(
                    "portrait",
                    display_name="portrait",
                    tooltip="The face in its picture, for Sample Motion and the render nodes.",
                    is_output_list=True,
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, landmarks_file: str | None = "", **_: object) -> str:
        """Run again once the landmark file has changed."""
        return file_state(landmarks_file or "")

    @classmethod
    def execute(
        cls,
        image: Tensor,
        face_index: int,
        crop_scale: float,
        landmarks_file: str,
        face_landmarks: Mapping[str, Any] | None = None,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        """One portrait per picture of the batch."""
        report, portraits, colours = progress(), [], pictures(image)
        areas = masks(mask, len(image), tuple(image.shape[1:3]))
        for number, picture in enumerate(colours):
            report(number, len(colours))
            given = input_file(landmarks_file) if landmarks_file.strip() else face_landmarks
            source = landmark_source(given, number, image)
            portraits.append(
                prepare_portrait(
                    picture,
                    **source,
                    picture=f"image {number + 1} of {len(colours)}",
                    face_index=face_index,
                    crop_scale=crop_scale,
                    mask=areas[number],
                )
            )
        return io.NodeOutput(portraits, ui=say(*map(described, portraits)))


def landmark_source(given: LandmarkSource | None, number: int, image: Tensor) -> dict[str, Any]:
    """Where the landmarks of picture `number` come from, as arguments of `prepare_portrait`.

    Order: what the user gave, the host's own detector, MediaPipe's package, face-alignment where
    its files are there.

    Raises:
        PayloadError: there is no detector; the message says which file belongs where.
    """
    if isinstance(given, Mapping):
        return {"landmarks": frame_of(given, number, len(image))}
    if given is not None:
        return {"landmarks": given}
    core = detect_with_core_landmarker(image[number : number + 1])
    if core is not None and core["frames"][0]:
        return {"landmarks": core}
    task = find_model_file(TASK) if find_spec("mediapipe") else None
    if task is None and face_alignment_detector.missing_files():
        if core is not None:
            return {"landmarks": core}
        raise PayloadError(
            f"No face detector is here. Put {CORE_LANDMARKER} into {model_folder('detection')}"
            f" (ComfyUI 0.22 or newer), or install the package mediapipe and put {TASK} into"
            f" {model_folder('soliloquy')}, or put {face_alignment_detector.where_files_belong()}."
            " Or connect FACE_LANDMARKS, or name a landmarks_file."
        )
    return {"face_landmarker": task}


def frame_of(face_landmarks: Mapping[str, Any], number: int, total: int) -> dict[str, Any]:
    """The part of FACE_LANDMARKS that belongs to picture `number` of `total`."""
    frames = face_landmarks["frames"]
    if len(frames) != total:
        raise PayloadError(
            f"FACE_LANDMARKS of {len(frames)} pictures came with {total} pictures. Detect them on"
            " the same batch."
        )
    return {**face_landmarks, "frames": [frames[number]]}


def described(portrait: Portrait) -> str:
    """One line for the user: how many faces there were, how large this one is, where it looks."""
    faces = "1 face" if portrait.num_faces == 1 else f"{portrait.num_faces} faces"
    height, width = portrait.size
    x0, y0, x1, y1 = portrait.box
    pitch, yaw, roll = portrait.rotation
    return (
        f"{faces} in {width}×{height}; this one is {x1 - x0:.0f}×{y1 - y0:.0f} pixels,"
        f" pitch {pitch:.0f}°, yaw {yaw:.0f}°, roll {roll:.0f}°"
    )
