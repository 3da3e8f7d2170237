"""Noise: where a guided renderer starts from, identity frames noised where the face will move."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..models.noise import landmark_guided
from ..models.payloads import GuidedNoise, Motion, Portrait
from . import sockets
from .host import SEED_MAX, advanced, image_output, io, progress, schema

CATEGORY = "Soliloquy/noise"
SHOWN_AT_ONCE = 64  # frames


class LandmarkGuidedNoise(io.ComfyNode):
    """The whole noise stage; it has no weights and needs no loader."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See web/docs/SoliloquyLandmarkGuidedNoise.md."""
        return schema(
            node_id="SoliloquyLandmarkGuidedNoise",
            display_name="Landmark-Guided Noise",
            category=CATEGORY,
            description="Adds noise to the portrait where the landmarks of a motion lie, frame by"
            " frame: the start of a renderer that denoises, and a mask of what moves.",
            search_aliases=["atl-diff", "landmark mask", "noise mask", "guided noise", "latent"],
            inputs=[
                sockets.Portrait.Input("portrait", tooltip="The face, from Prepare Portrait."),
                sockets.Motion.Input(
                    "motion",
                    tooltip="The movement, of any motion model or from a file. Its 68 landmarks"
                    " say where the noise goes.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=SEED_MAX,
                    control_after_generate=True,
                    tooltip="Of the noise. The same seed gives the same noise on every machine.",
                ),
                io.Combo.Input(
                    "size",
                    options=["128", "256"],
                    default="128",
                    tooltip="Side of the square around the face, pixels: what the renderer was"
                    " trained for.",
                ),
                io.Int.Input(
                    "kernel_size",
                    default=25,
                    min=1,
                    max=127,
                    step=2,
                    tooltip="How far a landmark is felt: width of the blur in pixels of a square of"
                    " 128, the same share of larger ones. ATL-Diff uses 25 for CREMA-D and"
                    " 11 for MEAD. Smaller noises less of the face.",
                ),
                io.Float.Input(
                    "r_min",
                    default=landmark_guided.R_MIN,
                    min=0.0,
                    max=2.0,
                    step=0.01,
                    tooltip="Noise where no landmark is near, as a factor. 0 leaves the background"
                    " untouched.",
                ),
                *_rare_inputs(),
            ],
            outputs=[
                sockets.GuidedNoise.Output(
                    "guided_noise",
                    display_name="guided_noise",
                    tooltip="Noised frames, mask and portrait, for a renderer that starts from"
                    " them.",
                ),
                io.Mask.Output(
                    "mask",
                    display_name="mask",
                    tooltip="White where the face is free to move, one mask per frame, before r_min"
                    " is added.",
                ),
                io.Image.Output(
                    "preview",
                    display_name="preview",
                    tooltip="The noised frames as pictures, cut off at black and white.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        portrait: Portrait,
        motion: Motion,
        size: str,
        kernel_size: int,
        **settings: Any,
    ) -> io.NodeOutput:
        """The settings are the fields of `landmark_guided.NoiseOptions`."""
        options = landmark_guided.NoiseOptions(size=int(size), kernel=kernel_size, **settings)
        noise = landmark_guided.guided_noise(portrait, motion, options, on_frame=progress())
        return io.NodeOutput(noise, noise.mask[:, 0], preview(noise))


def _rare_inputs() -> list[io.Input]:
    """What is folded away."""
    return [
        advanced(
            io.Float.Input(
                "sigma",
                default=0.0,
                min=0.0,
                max=32.0,
                step=0.1,
                tooltip="Standard deviation of the blur, in pixels of a square of 128. 0 = as usual"
                " for the kernel: 4.1 for 25.",
            )
        ),
        advanced(
            io.Combo.Input(
                "distribution",
                options=list(landmark_guided.DISTRIBUTIONS),
                tooltip="'normal' is what ATL-Diff's program uses; 'uniform', 0 to 1, is what its"
                " paper says, and only brightens.",
            )
        ),
        advanced(
            io.Combo.Input(
                "normalisation",
                options=list(landmark_guided.NORMALISATIONS),
                tooltip="What counts as white in the mask: 'rest' the brightest spot of the"
                " portrait at rest, 'frame' that of each frame, 'clip' that of all frames.",
            )
        ),
        advanced(
            io.Combo.Input(
                "mode",
                options=list(landmark_guided.MODES),
                tooltip="'default' takes the square of the portrait, keeps its proportions and"
                " follows the head out of it; 'reference' gives what the published program"
                " gives: the whole picture squeezed into 128 pixels. Only the renderer"
                " 'atl_diff_published' can start from that.",
            )
        ),
    ]


def preview(noise: GuidedNoise) -> Tensor:
    """The noised frames as an IMAGE."""
    parts = noise.frames.split(SHOWN_AT_ONCE)
    pictures = (part.clamp(0, 1).permute(0, 2, 3, 1) for part in parts)
    return image_output(pictures, len(noise.frames))
