"""What only the motion models of MoDiTalker can be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..models.motion.atom_motion import MODES, AToMMotion
from ..models.motion.driving import DrivingVideo, find_driving_face
from ..models.motion.face_model import load_reconstruction
from ..models.payloads import PayloadError
from . import sockets
from .host import Managed, advanced, io, pictures, progress, say, schema
from .portrait import landmark_source


class MoDiTalkerOptions(io.ComfyNode):
    """Settings of AToM, the motion model of MoDiTalker."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See web/docs/SoliloquyMoDiTalkerOptions.md."""
        return schema(
            node_id="SoliloquyMoDiTalkerOptions",
            display_name="MoDiTalker Options",
            category="Soliloquy/motion",
            description="Settings that only the motion models of MoDiTalker have. Without this node"
            " they use the defaults.",
            search_aliases=["AToM", "landmarks", "Basel face model", "BFM", "3DMM"],
            inputs=[
                sockets.MotionModel.Input(
                    "motion_model",
                    tooltip="'moditalker' or 'moditalker_small', from Load Motion Model.",
                ),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default="default",
                    tooltip="'default' takes any length and has no seams; 'reference' gives what"
                    " the published program gives: 50 steps, windows of 6.24 seconds side by side,"
                    " a head that holds still.",
                ),
                io.Boolean.Input(
                    "gestures",
                    default=True,
                    tooltip="On: head, and with 'moditalker_small' eyes and brows, move with the"
                    " voice. Off: only what the model says. It says nothing about the head.",
                ),
                advanced(
                    io.String.Input(
                        "face_model",
                        default="",
                        tooltip="Folder with your own BFM_model_front.mat and epoch_20.pth, for"
                        " 'moditalker': the face is then measured as in its training. Empty = by"
                        " the portrait's landmarks.",
                    )
                ),
                io.Image.Input(
                    "driving_video",
                    optional=True,
                    tooltip="Frames whose head the landmarks follow: the same pictures as"
                    " 'pose_frames' of MToV Options, one per frame of the motion, as large as the"
                    " portrait's. With 'face_model' they are aligned as published. Without it the"
                    " head moves with the voice.",
                ),
                sockets.FaceLandmarks.Input(
                    "driving_landmarks",
                    optional=True,
                    tooltip="Landmarks that the host's own face detection has found in"
                    " 'driving_video'. Then no other detector is asked.",
                ),
            ],
            outputs=[
                sockets.MotionModel.Output(
                    "adjusted",
                    display_name="motion_model",
                    tooltip="MoDiTalker with these settings, for Sample Motion.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        motion_model: Managed,
        mode: str,
        gestures: bool,
        face_model: str,
        driving_video: Tensor | None = None,
        driving_landmarks: Mapping[str, Any] | None = None,
    ) -> io.NodeOutput:
        """A copy with other settings; the networks are shared."""
        model = motion_model.system
        if not isinstance(model, AToMMotion):
            raise PayloadError(
                "These are options of MoDiTalker, but something else is connected. Choose"
                " 'moditalker' or 'moditalker_small' in Load Motion Model, or take MoDiTalker"
                " Options out of the graph."
            )
        adjusted = replace(model, mode=mode, gestures=gestures)
        if face_model.strip():
            folder = Path(face_model.strip()).expanduser()
            adjusted.reconstruction = load_reconstruction(folder)
        lines = []
        if driving_video is not None:
            adjusted.driving = driving = driven_by(driving_video, driving_landmarks)
            lines += [_missing(driving)] if driving.num_missing else []
        return io.NodeOutput(motion_model.adjusted(adjusted), ui=say(*lines))


def driven_by(image: Tensor, face_landmarks: Mapping[str, Any] | None) -> DrivingVideo:
    """The frames of an IMAGE with the face that was found in them."""
    return find_driving_face(
        pictures(image), lambda number: landmark_source(face_landmarks, number, image), progress()
    )


def _missing(video: DrivingVideo) -> str:
    return (
        f"{video.num_missing} of {len(video.frames)} frames of the driving video show no face;"
        " there it lies between where it was before and after."
    )
