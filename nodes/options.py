"""What only one system can be asked for: put behind its loader, or left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..models.motion.atl_diff import ATLDiffMotion
from ..models.motion.dual_domain import EMOTIONS
from ..models.motion.kdtalker_motion import STEPS, KDTalkerMotion
from ..models.motion.kflm_motion import MODES as KFLM_MODES
from ..models.motion.kflm_motion import KFLMMotion
from ..models.payloads import PayloadError
from ..models.render.liveportrait.performance import MODES, REGIONS, Performance
from ..models.render.liveportrait.renderer import LivePortraitRenderer
from ..models.render.liveportrait.source import CROPS
from . import sockets
from .host import Managed, advanced, io, schema

_CROP_TOOLTIP = (
    "How the square around the face is found: 'face' as LivePortrait does, 'kdtalker' as KDTalker"
    " does, 'portrait' takes the one of Prepare Portrait."
)


class KDTalkerOptions(io.ComfyNode):
    """Settings of the motion model KDTalker."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See web/docs/SoliloquyKDTalkerOptions.md."""
        return schema(
            node_id="SoliloquyKDTalkerOptions",
            display_name="KDTalker Options",
            category="Soliloquy/motion",
            description="Settings that only KDTalker has. Without this node it uses the defaults.",
            search_aliases=["reference", "talking head", "lip sync"],
            inputs=[
                sockets.MotionModel.Input(
                    "motion_model", tooltip="KDTalker, from Load Motion Model."
                ),
                io.Combo.Input(
                    "mode",
                    options=list(STEPS),
                    default="default",
                    tooltip="'default' has no seams and takes any length; 'reference' gives what"
                    " the published program gives: 50 steps, windows side by side.",
                ),
                io.Boolean.Input(
                    "predicted_translation",
                    default=False,
                    tooltip="On: the head shifts as the model says. Off: it keeps its place.",
                ),
                io.Boolean.Input(
                    "predicted_scale",
                    default=False,
                    tooltip="On: the head comes nearer and goes away as the model says. Off: it"
                    " keeps its size.",
                ),
                io.Boolean.Input(
                    "smoothing",
                    default=True,
                    tooltip="Calms the motion with a Kalman filter, as the published program"
                    " does. Off: livelier lips, and some trembling.",
                ),
                advanced(
                    io.Combo.Input(
                        "crop", options=list(CROPS), default="face", tooltip=_CROP_TOOLTIP
                    )
                ),
            ],
            outputs=[
                sockets.MotionModel.Output(
                    "adjusted",
                    display_name="motion_model",
                    tooltip="KDTalker with these settings, for Sample Motion.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        motion_model: Managed,
        mode: str,
        predicted_translation: bool,
        predicted_scale: bool,
        smoothing: bool,
        crop: str,
    ) -> io.NodeOutput:
        """A copy with other settings; the networks are shared."""
        model = motion_model.system
        if not isinstance(model, KDTalkerMotion):
            raise PayloadError(_wrong("KDTalker", "Load Motion Model", "kdtalker"))
        adjusted = replace(
            model,
            mode=mode,
            use_translation=predicted_translation,
            use_scale=predicted_scale,
            smoothing=smoothing,
            crop=crop,
        )
        return io.NodeOutput(motion_model.adjusted(adjusted))


class LivePortraitOptions(io.ComfyNode):
    """Settings of the renderer LivePortrait."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See web/docs/SoliloquyLivePortraitOptions.md."""
        return schema(
            node_id="SoliloquyLivePortraitOptions",
            display_name="LivePortrait Options",
            category="Soliloquy/render",
            description="Settings that only LivePortrait has. Without this node it uses the"
            " defaults.",
            search_aliases=["stitching", "retargeting", "relative motion", "portrait animation"],
            inputs=[
                sockets.Renderer.Input("renderer", tooltip="LivePortrait, from Load Renderer."),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default="absolute",
                    tooltip="'absolute' shows the motion as it is, 'relative' only how it moves"
                    " away from its own first frame, 'expression' the same, in proportion"
                    " to the size of the face.",
                ),
                io.Combo.Input(
                    "region",
                    options=list(REGIONS),
                    default="all",
                    tooltip="What of the motion is used; everything else stays as in the portrait.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=3.0,
                    step=0.05,
                    tooltip="Multiplies the way of every point of the face from the portrait: 1 ="
                    " as given, less is calmer.",
                ),
                io.Boolean.Input(
                    "stitching",
                    default=True,
                    tooltip="Keeps shoulders and hair where the picture has them, so that no edge"
                    " of the square shows.",
                ),
                io.Boolean.Input(
                    "close_lips",
                    default=False,
                    tooltip="Starts from closed lips where the portrait's are open. For motion"
                    " that counts from closed lips.",
                ),
                advanced(_opening("eye_opening", "eyes")),
                advanced(_opening("lip_opening", "lips")),
                advanced(
                    io.Combo.Input(
                        "crop", options=list(CROPS), default="face", tooltip=_CROP_TOOLTIP
                    )
                ),
                advanced(
                    io.Boolean.Input(
                        "compiled",
                        default=False,
                        tooltip="Compiles the two large networks with torch.compile. The first"
                        " frames wait for a minute or more, all others come sooner. Needs a"
                        " compiler: Triton on a GPU.",
                    )
                ),
            ],
            outputs=[
                sockets.Renderer.Output(
                    "adjusted",
                    display_name="renderer",
                    tooltip="LivePortrait with these settings, for Render Portrait and Render"
                    " Video.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        renderer: Managed,
        *,
        eye_opening: float,
        lip_opening: float,
        compiled: bool = False,
        **settings: str | float | bool,
    ) -> io.NodeOutput:
        """The other settings are the fields of `Performance`; the networks are shared."""
        system = renderer.system
        if not isinstance(system, LivePortraitRenderer):
            raise PayloadError(_wrong("LivePortrait", "Load Renderer", "liveportrait"))
        performance = Performance(
            eye_opening=eye_opening or None, lip_opening=lip_opening or None, **settings
        )
        adjusted = system.performing(performance)
        return io.NodeOutput(renderer.adjusted(adjusted.compiling() if compiled else adjusted))


class ATLDiffOptions(io.ComfyNode):
    """Settings of ATL-Diff's landmark generators, the bundled and the published one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See web/docs/SoliloquyATLDiffOptions.md."""
        return schema(
            node_id="SoliloquyATLDiffOptions",
            display_name="ATL-Diff Options",
            category="Soliloquy/motion",
            description="Settings that only the motion models 'atl_diff' and 'kflm' have.",
            search_aliases=["emotion", "feeling", "mood", "landmarks", "reference"],
            inputs=[
                sockets.MotionModel.Input(
                    "motion_model", tooltip="'atl_diff' or 'kflm', from Load Motion Model."
                ),
                io.Combo.Input(
                    "emotion",
                    options=["neutral", *(name for name in EMOTIONS if name != "neutral")],
                    default="neutral",
                    tooltip="How the face feels while it speaks. Only 'atl_diff' shows it: the"
                    " published 'kflm' ignores it.",
                ),
                io.Float.Input(
                    "intensity",
                    default=1.0,
                    min=0.0,
                    max=1.5,
                    step=0.05,
                    tooltip="Of the emotion: 0 = neutral, 1 = plain to see.",
                ),
                advanced(
                    io.Combo.Input(
                        "mode",
                        options=list(KFLM_MODES),
                        default="default",
                        tooltip="Of 'kflm': 'default' joins its seconds, 'reference' leaves the"
                        " jumps of the published program. 'atl_diff' has no seconds.",
                    )
                ),
            ],
            outputs=[
                sockets.MotionModel.Output(
                    "adjusted",
                    display_name="motion_model",
                    tooltip="The model with these settings, for Sample Motion.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, motion_model: Managed, emotion: str, intensity: float, mode: str
    ) -> io.NodeOutput:
        """A copy with other settings; the networks are shared."""
        model = motion_model.system
        if isinstance(model, ATLDiffMotion):
            adjusted: Any = replace(model, emotion=emotion, intensity=intensity)
        elif isinstance(model, KFLMMotion):
            adjusted = replace(model, mode=mode)
        else:
            raise PayloadError(_wrong("ATL-Diff", "Load Motion Model", "atl_diff"))
        return io.NodeOutput(motion_model.adjusted(adjusted))


def _opening(name: str, part: str) -> io.Input:
    return io.Float.Input(
        name,
        default=0.0,
        min=0.0,
        max=0.8,
        step=0.01,
        tooltip=f"How far the {part} are open, height over width, before the motion is added. 0 ="
        " as the portrait has them.",
    )


def _wrong(system: str, loader: str, choice: str) -> str:
    return (
        f"These are options of {system}, but something else is connected. Choose '{choice}' in"
        f" {loader}, or take {system} Options out of the graph."
    )
