"""Motion files: a performance is kept, taken to another program, or brought from one."""

from __future__ import annotations

from typing import Any

from ..models.motion import files
from ..models.payloads import Motion, PayloadError, Timeline
from . import sockets
from .host import (
    advanced,
    file_state,
    input_file,
    input_files,
    io,
    output_file,
    say,
    schema,
    sound,
)

CATEGORY = "Soliloquy/motion"
EXTENSIONS = (".json", ".csv")


class SaveMotion(io.ComfyNode):
    """Writes a motion into the output folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See web/docs/SoliloquySaveMotion.md."""
        return schema(
            node_id="SoliloquySaveMotion",
            display_name="Save Motion",
            category=CATEGORY,
            description="Writes a motion as ARKit weights and head pose, for Load Motion, Blender,"
            " Unreal or a spreadsheet.",
            search_aliases=["export", "blendshapes", "arkit", "csv", "json"],
            is_output_node=True,
            inputs=[
                sockets.Motion.Input("motion", tooltip="The motion to write, as ARKit weights."),
                io.String.Input(
                    "filename_prefix",
                    default="soliloquy/motion",
                    tooltip="Folder and beginning of the name inside the output folder; a number"
                    " follows. Load Motion lists what lies in 'soliloquy'.",
                ),
                io.Combo.Input(
                    "format",
                    options=["json", "csv"],
                    default="json",
                    tooltip="'json' holds everything, 'csv' is a table with one row per frame.",
                ),
                advanced(
                    io.Boolean.Input(
                        "landmarks",
                        default=False,
                        tooltip="Adds the 68 landmarks of a mean face to the JSON file, without the"
                        " head's movement. The file becomes five times as large.",
                    )
                ),
            ],
            outputs=[],
        )

    @classmethod
    def execute(
        cls, motion: Motion, filename_prefix: str, format: str, landmarks: bool
    ) -> io.NodeOutput:
        """A new numbered file; nothing is overwritten."""
        path, shown = output_file(filename_prefix, f".{format}")
        files.write_motion(motion, path, landmarks=landmarks)
        folder = f"{shown['subfolder']}/" if shown["subfolder"] else ""
        return io.NodeOutput(ui=say(f"output/{folder}{shown['filename']}"))


class LoadMotion(io.ComfyNode):
    """Reads a motion from the input folder, or one that was saved before."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See web/docs/SoliloquyLoadMotion.md."""
        return schema(
            node_id="SoliloquyLoadMotion",
            display_name="Load Motion",
            category=CATEGORY,
            description="Reads a motion that was saved, or ARKit weights of another program, and"
            " fits it to a sound.",
            search_aliases=["import", "blendshapes", "arkit", "live link", "csv", "json"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=input_files(*EXTENSIONS),
                    tooltip="A JSON or CSV file in the input folder, or one that Save Motion wrote"
                    " to 'output/soliloquy'. New files appear after a refresh (key R).",
                ),
                advanced(
                    io.Float.Input(
                        "fps",
                        default=0.0,
                        min=0.0,
                        max=120.0,
                        step=0.001,
                        round=0.001,
                        tooltip="Frames per second that come out. 0 = those of the file. Tables"
                        " without a time column need a number here.",
                    )
                ),
                io.Audio.Input(
                    "audio",
                    optional=True,
                    tooltip="The sound of the video: the motion is brought to its length. Where"
                    " the sound is longer, the last frame is held.",
                ),
            ],
            outputs=[
                sockets.Motion.Output(
                    "motion", display_name="motion", tooltip="The motion, for a render node."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str | None) -> bool | str:
        """The name may come from another machine: say so instead of listing what there is."""
        try:
            input_file(file or "")
        except PayloadError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, file: str | None, **_: object) -> str:
        """Read again once the file has changed."""
        return file_state(file or "")

    @classmethod
    def execute(cls, file: str, fps: float, audio: dict[str, Any] | None = None) -> io.NodeOutput:
        """Read, then resample where another clock is asked for."""
        motion = files.read_motion(input_file(file), fps=fps or None)
        clock = motion.timeline
        length = (clock.num_samples, clock.sample_rate)
        if audio is not None:
            waveform, sample_rate = sound(audio)
            length = (waveform.shape[-1], sample_rate)
        timeline = Timeline.for_sound(*length, fps or clock.fps)
        if timeline != clock:
            motion = files.resample(motion, timeline)
        return io.NodeOutput(motion, ui=say(*motion.notes))
