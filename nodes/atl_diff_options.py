"""What only ATL-Diff's renderers can be asked for."""

from __future__ import annotations

from typing import Any

from ..models.noise.landmark_guided import MODES
from ..models.payloads import PayloadError
from ..models.render.identity_diffusion.network import EMOTIONS
from ..models.render.identity_diffusion.process import STEPS
from ..models.render.identity_diffusion.published import PublishedRenderer, PublishedSettings
from ..models.render.identity_diffusion.renderer import IdentityDiffusionRenderer
from . import sockets
from .host import SEED_MAX, Managed, io, schema


class ATLDiffRendererOptions(io.ComfyNode):
    """Settings of ATL-Diff's renderers, our own and the published one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See web/docs/SoliloquyATLDiffRendererOptions.md."""
        return schema(
            node_id="SoliloquyATLDiffRendererOptions",
            display_name="ATL-Diff Renderer Options",
            category="Soliloquy/render",
            description="Settings that only the renderers 'atl_diff' and 'atl_diff_published' have."
            " Without this node they use the defaults.",
            search_aliases=["identity diffusion", "DDIM", "reference", "emotion"],
            inputs=[
                sockets.Renderer.Input(
                    "renderer", tooltip="'atl_diff' or 'atl_diff_published', from Load Renderer."
                ),
                io.Int.Input(
                    "steps",
                    default=STEPS,
                    min=2,
                    max=100,
                    tooltip="Sampling steps per window of about a second. More takes longer and"
                    " may be cleaner; 8 is the paper's number.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=SEED_MAX,
                    control_after_generate=True,
                    tooltip="Of the noise, where no guided_noise is connected to the render node.",
                ),
                io.Combo.Input(
                    "emotion",
                    options=["neutral", *(name for name in EMOTIONS if name != "neutral")],
                    default="neutral",
                    tooltip="What the network is told of how the face feels. Only 'atl_diff' hears"
                    " it: the published network ignores it.",
                ),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default="default",
                    tooltip="Of 'atl_diff_published': 'default' draws every frame in the square of"
                    " the portrait, in windows that overlap; 'reference' gives what the published"
                    " program gives: seconds side by side, the whole picture in 128 pixels, 24"
                    " frames of each second.",
                ),
            ],
            outputs=[
                sockets.Renderer.Output(
                    "adjusted",
                    display_name="renderer",
                    tooltip="The renderer with these settings, for Render Portrait and Render"
                    " Video.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, renderer: Managed, steps: int, seed: int, emotion: str, mode: str
    ) -> io.NodeOutput:
        """A copy with other settings; the networks are shared."""
        system = renderer.system
        if isinstance(system, IdentityDiffusionRenderer):
            adjusted: Any = system.performing(steps=steps, emotion=emotion, seed=seed)
        elif isinstance(system, PublishedRenderer):
            adjusted = system.performing(PublishedSettings(steps=steps, mode=mode, seed=seed))
        else:
            raise PayloadError(
                "These are options of ATL-Diff's renderers, but something else is connected. Choose"
                " 'atl_diff' or 'atl_diff_published' in Load Renderer, or take ATL-Diff Renderer"
                " Options out of the graph."
            )
        return io.NodeOutput(renderer.adjusted(adjusted))
