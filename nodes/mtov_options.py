"""What only the renderer MToV can be asked for."""

from __future__ import annotations

from torch import Tensor

from ..models.payloads import PayloadError
from ..models.render.mtov.diffusion import RATIO, STEPS
from ..models.render.mtov.renderer import MODES, MToVRenderer, MToVSettings
from . import sockets
from .host import Managed, advanced, io, pictures, schema


class MToVOptions(io.ComfyNode):
    """Settings of the renderer MToV."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See web/docs/SoliloquyMToVOptions.md."""
        return schema(
            node_id="SoliloquyMToVOptions",
            display_name="MToV Options",
            category="Soliloquy/render",
            description="Settings that only MToV, the renderer of MoDiTalker, has. Without this"
            " node it uses the defaults.",
            search_aliases=["MoDiTalker", "video diffusion", "tri-plane", "driving video"],
            inputs=[
                sockets.Renderer.Input("renderer", tooltip="MToV, from Load Renderer."),
                io.Int.Input(
                    "steps",
                    default=STEPS,
                    min=1,
                    max=1000,
                    tooltip="Sampling steps of the whole way from noise to video, of which"
                    " 'start_ratio' says how many are taken. More is cleaner and slower.",
                ),
                io.Float.Input(
                    "start_ratio",
                    default=RATIO,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="Where sampling starts, as a share of the steps: 0.25 starts from the"
                    " portrait under some noise and takes the last quarter of the steps, 1 starts"
                    " from noise alone.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**32 - 1,
                    control_after_generate=True,
                    tooltip="Of the noise. The same seed gives the same frames.",
                ),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default="default",
                    tooltip="'default' lets windows overlap, gives them the same noise and takes"
                    " only the lower face from the networks; 'reference' gives what the published"
                    " program gives: windows side by side, the whole square.",
                ),
                advanced(
                    io.Float.Input(
                        "crop_scale",
                        default=0.0,
                        min=0.0,
                        max=5.0,
                        step=0.1,
                        tooltip="Side of the square that the networks see, in sizes of the face."
                        " 0 = the square of Prepare Portrait, or the one that mtov_small knows.",
                    )
                ),
                io.Image.Input(
                    "pose_frames",
                    optional=True,
                    tooltip="A driving video that gives pose, background and the upper half of the"
                    " face: one picture per frame of the motion, as large as the portrait's."
                    " Without it they are made from the portrait.",
                ),
            ],
            outputs=[
                sockets.Renderer.Output(
                    "adjusted",
                    display_name="renderer",
                    tooltip="MToV with these settings, for Render Portrait and Render Video.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        renderer: Managed,
        *,
        crop_scale: float,
        pose_frames: Tensor | None = None,
        **settings: str | float | int,
    ) -> io.NodeOutput:
        """The other settings are the fields of `MToVSettings`; the networks are shared."""
        system = renderer.system
        if not isinstance(system, MToVRenderer):
            raise PayloadError(
                "These are options of MToV, but something else is connected. Choose 'mtov' in Load"
                " Renderer, or take MToV Options out of the graph."
            )
        chosen = MToVSettings(crop_scale=crop_scale or None, **settings)
        frames = None if pose_frames is None else pictures(pose_frames)
        return io.NodeOutput(renderer.adjusted(system.performing(chosen, frames)))
