"""Render: a portrait and its motion become frames, or a video file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..models import formats
from ..models.motion.spaces import convert
from ..models.payloads import GuidedNoise, Motion, PayloadError, Portrait, Timeline
from ..models.portrait import paste
from ..models.portrait.affine import extract_crop
from ..models.render.video import VideoWriter
from ..models.speech.audio import tensor_chunks
from . import sockets
from .host import (
    Managed,
    advanced,
    colour,
    image_output,
    io,
    licence_notes,
    load_system,
    progress,
    say,
    schema,
    sound,
    temporary_file,
    ui,
    video_output,
)

CATEGORY = "Soliloquy/render"
PASTED_AT_ONCE = 8  # frames


class LoadRenderer(io.ComfyNode):
    """Loader of the render stage."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See web/docs/SoliloquyLoadRenderer.md."""
        return schema(
            node_id="SoliloquyLoadRenderer",
            display_name="Load Renderer",
            category=CATEGORY,
            description="Loads what draws the moving portrait.",
            search_aliases=["talking head", "portrait animation"],
            inputs=[
                io.Combo.Input(
                    "renderer",
                    options=[row.name for row in formats.systems("render")],
                    tooltip="Which renderer draws. 'warp' needs no weights: it bends the picture"
                    " itself, at full resolution and in any style. Every renderer takes"
                    " the motion of every model. " + " ".join(licence_notes("render")),
                ),
            ],
            outputs=[
                sockets.Renderer.Output(
                    "loaded_renderer",
                    display_name="renderer",
                    tooltip="The renderer, for Render Portrait and Render Video.",
                ),
            ],
        )

    @classmethod
    def execute(cls, renderer: str) -> io.NodeOutput:
        """Load it; its networks wait on the host's offload device."""
        loaded = load_system("render", renderer)
        return io.NodeOutput(loaded, ui=say(*licence_notes("render", renderer)))


def _shared_inputs() -> list[io.Input]:
    """What both render nodes take first."""
    return [
        sockets.Renderer.Input("renderer", tooltip="The renderer, from Load Renderer."),
        sockets.Portrait.Input("portrait", tooltip="The face to move, from Prepare Portrait."),
        sockets.Motion.Input(
            "motion",
            tooltip="The movement, of any motion model or from a file. It is converted to what"
            " the renderer needs.",
        ),
    ]


def _batch_input() -> io.Input:
    return advanced(
        io.Int.Input(
            "batch",
            default=8,
            min=1,
            max=256,
            tooltip="Frames rendered at once. More needs more memory and may be faster; the"
            " frames stay the same.",
        )
    )


def _noise_input() -> io.Input:
    return sockets.GuidedNoise.Input(
        "guided_noise",
        optional=True,
        tooltip="Where the renderer starts from, made from the same portrait and motion by"
        " Landmark-Guided Noise. For renderers that start from it (atl_diff, atl_diff_published),"
        " which make their own without it.",
    )


class RenderPortrait(io.ComfyNode):
    """Worker of the render stage, with the frames in memory."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See web/docs/SoliloquyRenderPortrait.md."""
        return schema(
            node_id="SoliloquyRenderPortrait",
            display_name="Render Portrait",
            category=CATEGORY,
            description="Draws every frame of the moving portrait as an IMAGE, for other nodes to"
            " work on. For long sounds use Render Video, which keeps nothing in"
            " memory.",
            search_aliases=["talking head", "lip sync", "portrait animation"],
            inputs=[
                *_shared_inputs(),
                io.Combo.Input(
                    "view",
                    options=["picture", "crop"],
                    default="picture",
                    tooltip="'picture' gives the whole picture at its full resolution, 'crop'"
                    " only the square around the face (512×512), for Paste Back.",
                ),
                _batch_input(),
                _noise_input(),
            ],
            outputs=[
                io.Image.Output(
                    "frames", display_name="frames", tooltip="One picture per video frame."
                ),
                io.Float.Output(
                    "fps", display_name="fps", tooltip="Frames per second, for Create Video."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        renderer: Managed,
        portrait: Portrait,
        motion: Motion,
        view: str,
        batch: int,
        guided_noise: GuidedNoise | None = None,
    ) -> io.NodeOutput:
        """Render on the compute device, collect on the host's device for results."""
        frames, notes = rendered(renderer, portrait, motion, batch, guided_noise)
        if view == "crop":
            frames = (crop_frames(part, portrait) for part in frames)
        timeline = motion.timeline
        image = image_output(frames, timeline.num_frames)
        return io.NodeOutput(image, float(timeline.fps), ui=notes)


class RenderVideo(io.ComfyNode):
    """Worker of the render stage, into a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See web/docs/SoliloquyRenderVideo.md."""
        return schema(
            node_id="SoliloquyRenderVideo",
            display_name="Render Video",
            category=CATEGORY,
            description="Draws the moving portrait straight into a video file: a long sound needs"
            " no more memory than a short one. Connect Save Video to keep the result.",
            search_aliases=["talking head", "lip sync", "portrait animation", "mp4"],
            inputs=[
                *_shared_inputs(),
                _batch_input(),
                io.Audio.Input(
                    "audio",
                    optional=True,
                    tooltip="The sound of the video: the AUDIO that the speech was encoded from."
                    " It is kept as it is, sample for sample. Without it the video is"
                    " silent.",
                ),
                _noise_input(),
            ],
            outputs=[
                io.Video.Output(
                    "video",
                    display_name="video",
                    tooltip="H.264 and AAC in an MP4 file of the temporary folder. Save Video"
                    " copies it without loss.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        renderer: Managed,
        portrait: Portrait,
        motion: Motion,
        batch: int,
        audio: dict[str, Any] | None = None,
        guided_noise: GuidedNoise | None = None,
    ) -> io.NodeOutput:
        """Render on the compute device, encode as the frames come."""
        timeline, chunks = sound_track(audio, motion)
        frames, notes = rendered(renderer, portrait, motion, batch, guided_noise)
        path, (height, width) = temporary_file(".mp4"), portrait.size
        with VideoWriter(
            path, timeline=timeline, height=height, width=width, sound=chunks
        ) as writer:
            for part in frames:
                writer.write(part)
        return io.NodeOutput(video_output(path), ui=notes)


class PasteBack(io.ComfyNode):
    """From the square around the face back into the picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See web/docs/SoliloquyPasteBack.md."""
        return schema(
            node_id="SoliloquyPasteBack",
            display_name="Paste Back",
            category=CATEGORY,
            description="Puts frames of the square around the face back into the full picture,"
            " with soft edges.",
            search_aliases=["uncrop", "composite", "stitch"],
            inputs=[
                sockets.Portrait.Input(
                    "portrait",
                    tooltip="The portrait that the square belongs to. Its mask, if any, limits"
                    " what changes.",
                ),
                io.Image.Input(
                    "crops",
                    tooltip="Frames of the square, from Render Portrait with 'crop' or from nodes"
                    " that worked on them. Any size: they are scaled to fit.",
                ),
                io.Float.Input(
                    "feather",
                    default=paste.FEATHER,
                    min=0.0,
                    max=0.5,
                    step=0.01,
                    tooltip="Width of the soft edge, as a share of the square. 0 = a hard edge.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "frames", display_name="frames", tooltip="The full picture, one per frame."
                ),
            ],
        )

    @classmethod
    def execute(cls, portrait: Portrait, crops: Tensor, feather: float) -> io.NodeOutput:
        """Composite a few frames at a time."""
        report, total = progress(), len(crops)
        composite = paste.PasteBack(portrait, feather=feather)

        def pasted() -> Iterator[Tensor]:
            for start in range(0, total, PASTED_AT_ONCE):
                report(start, total)
                yield composite(colour(crops[start : start + PASTED_AT_ONCE]))

        return io.NodeOutput(image_output(pasted(), total))


def rendered(
    renderer: Managed,
    portrait: Portrait,
    motion: Motion,
    batch: int,
    noise: GuidedNoise | None = None,
) -> tuple[Iterator[Tensor], ui.PreviewText | None]:
    """Batches of frames to come, and what the user should know about the conversion.

    Raises:
        PayloadError: guided noise, and a renderer that does not start from any.
    """
    system = renderer.ready()
    options: dict[str, Any] = {} if noise is None else {"guided_noise": noise}
    if options and not getattr(system, "starts_from_noise", False):
        raise PayloadError(
            "This renderer draws from the motion and cannot start from guided noise. Disconnect"
            " guided_noise, or choose 'atl_diff' in Load Renderer."
        )
    converted = convert(motion, system.space, portrait)
    notes = converted.notes[len(motion.notes) :]

    def frames() -> Iterator[Tensor]:
        report, total, done = progress(), motion.timeline.num_frames, 0
        for part in system.render(portrait, converted, batch=batch, on_frame=report, **options):
            done += len(part)
            report(done, total, part[-1])
            yield part

    return frames(), say(*notes)


def crop_frames(frames: Tensor, portrait: Portrait) -> Tensor:
    """The square around the face: uint8 `[b, H, W, 3]` → `[b, size, size, 3]`."""
    cut = [extract_crop(frame, portrait.crop, portrait.crop_size) for frame in frames]
    return torch.stack(cut).mul(255).round().to(torch.uint8)


def sound_track(
    audio: dict[str, Any] | None, motion: Motion
) -> tuple[Timeline, Iterator[Tensor] | None]:
    """The clock of the video and the chunks of its sound.

    Raises:
        PayloadError: the sound does not last as long as the motion.
    """
    if audio is None:
        return motion.timeline, None
    waveform, sample_rate = sound(audio)
    timeline = Timeline.for_sound(waveform.shape[-1], sample_rate, motion.timeline.fps)
    if timeline.num_frames != motion.timeline.num_frames:
        raise PayloadError(
            f"The sound lasts {timeline.num_frames} frames and the motion"
            f" {motion.timeline.num_frames}. Connect the AUDIO that the motion was made from, or"
            " bring it to the same length with Trim Audio Duration."
        )
    return timeline, tensor_chunks(waveform)
