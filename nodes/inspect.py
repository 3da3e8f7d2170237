"""Looking into the values between the stages."""

from __future__ import annotations

from typing import Any

from ..models.motion.curves import draw_curves
from ..models.payloads import Motion
from . import sockets
from .host import advanced, image_output, io, schema, sound

CATEGORY = "Soliloquy/inspect"


class PreviewMotion(io.ComfyNode):
    """A motion as a picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See web/docs/SoliloquyPreviewMotion.md."""
        return schema(
            node_id="SoliloquyPreviewMotion",
            display_name="Preview Motion",
            category=CATEGORY,
            description="Draws the curves of a motion: lips, lids, brows and head over time.",
            search_aliases=["curves", "graph", "plot", "blendshapes"],
            inputs=[
                sockets.Motion.Input("motion", tooltip="The motion to look at."),
                advanced(
                    io.Int.Input(
                        "width",
                        default=1024,
                        min=320,
                        max=8192,
                        step=16,
                        tooltip="Width of the picture, pixels. More shows long motions finer.",
                    )
                ),
                advanced(
                    io.Int.Input(
                        "height",
                        default=768,
                        min=240,
                        max=8192,
                        step=16,
                        tooltip="Height of the picture, pixels.",
                    )
                ),
                io.Audio.Input(
                    "audio",
                    optional=True,
                    tooltip="The sound that the motion belongs to, drawn behind the mouth.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "curves", display_name="curves", tooltip="The picture, for Preview Image."
                ),
            ],
        )

    @classmethod
    def execute(
        cls, motion: Motion, width: int, height: int, audio: dict[str, Any] | None = None
    ) -> io.NodeOutput:
        """One picture."""
        waveform = None if audio is None else sound(audio)[0]
        picture = draw_curves(motion, width=width, height=height, waveform=waveform)
        return io.NodeOutput(image_output([picture[None]], 1))
