"""Motion from a video: the performance of a real face, for any renderer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..models.motion import files
from ..models.motion.tracking import track
from ..models.payloads import Timeline
from . import sockets
from .host import advanced, io, say, schema, sound


class MotionFromVideo(io.ComfyNode):
    """From the landmarks of every frame to a motion."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See web/docs/SoliloquyMotionFromVideo.md."""
        return schema(
            node_id="SoliloquyMotionFromVideo",
            display_name="Motion From Video",
            category="Soliloquy/motion",
            description="Takes the performance of a face in a video: its expression, blinks and"
            " head, for any portrait and any renderer.",
            search_aliases=["motion capture", "face tracking", "blendshapes", "live portrait"],
            inputs=[
                sockets.FaceLandmarks.Input(
                    "face_landmarks",
                    tooltip="What the host's MediaPipe Face Landmarker found in the frames of the"
                    " video.",
                ),
                io.Float.Input(
                    "fps",
                    default=25.0,
                    min=1.0,
                    max=120.0,
                    step=0.001,
                    round=0.001,
                    tooltip="Frames per second of the video: connect fps of Get Video Components.",
                ),
                io.Boolean.Input(
                    "relative",
                    default=True,
                    tooltip="On: the head starts as in the portrait and moves from there. Off: it"
                    " looks where the head in the video looks.",
                ),
                io.Boolean.Input(
                    "position",
                    default=True,
                    tooltip="On: the head also shifts and comes nearer. Off: it only turns.",
                ),
                io.Boolean.Input(
                    "from_rest",
                    default=True,
                    tooltip="On: what the face shows all the time counts as rest, so that its"
                    " shape is not taken for an expression. Off: the weights as they were"
                    " found.",
                ),
                advanced(
                    io.Int.Input(
                        "face_index",
                        default=0,
                        min=0,
                        max=99,
                        tooltip="Which face, counted by size where one is first seen: 0 is the"
                        " largest. It is followed from frame to frame.",
                    )
                ),
                io.Audio.Input(
                    "audio",
                    optional=True,
                    tooltip="The sound of the new video: the motion is brought to its length."
                    " Where the sound is longer, the last frame is held.",
                ),
            ],
            outputs=[
                sockets.Motion.Output(
                    "motion",
                    display_name="motion",
                    tooltip="The performance, for Edit Motion or a render node.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        face_landmarks: Mapping[str, Any],
        fps: float,
        audio: dict[str, Any] | None = None,
        **settings: Any,
    ) -> io.NodeOutput:
        """The settings are those of `track`."""
        motion = track(face_landmarks, fps, **settings)
        if audio is not None:
            waveform, sample_rate = sound(audio)
            timeline = Timeline.for_sound(waveform.shape[-1], sample_rate, fps)
            motion = files.resample(motion, timeline)
        return io.NodeOutput(motion, ui=say(*motion.notes))
