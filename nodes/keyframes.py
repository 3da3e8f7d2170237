"""Keyframes: the moments at which face and head move most, predicted, measured, edited, drawn."""

from __future__ import annotations

from typing import Any

from ..models import formats
from ..models.keyframes.edit import adjust, as_text, change, from_text
from ..models.keyframes.establish import establish
from ..models.keyframes.picture import draw_keyframes
from ..models.payloads import Keyframes, Motion, Speech
from . import sockets
from .host import (
    SEED_MAX,
    Managed,
    advanced,
    image_output,
    io,
    load_system,
    progress,
    say,
    schema,
    sound,
)

CATEGORY = "Soliloquy/keyframes"
CHANGE, REPLACE = "change", "replace"


def _keyframes_output(tooltip: str, name: str = "keyframes") -> io.Output:
    return sockets.Keyframes.Output(name, display_name="keyframes", tooltip=tooltip)


def _summary(keyframes: Keyframes) -> str:
    counts = [f"{int(keyframes.marks[path].sum())} {path}" for path in keyframes.marks]
    return f"{' and '.join(counts)} keyframes in {keyframes.timeline.seconds:.1f} s."


class LoadKeyframeModel(io.ComfyNode):
    """Loader of the keyframe stage."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See web/docs/SoliloquyLoadKeyframeModel.md."""
        return schema(
            node_id="SoliloquyLoadKeyframeModel",
            display_name="Load Keyframe Model",
            category=CATEGORY,
            description="Loads what decides when face and head shall move most.",
            search_aliases=["ksdiff", "accents", "beats", "timing"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=[row.name for row in formats.systems("keyframes")],
                    tooltip="'ksdiff' has learned it and wants the 'ksdiff' speech encoder;"
                    " 'energy_peaks' takes the loudest moments of any speech.",
                ),
            ],
            outputs=[
                sockets.KeyframeModel.Output(
                    "keyframe_model",
                    display_name="keyframe_model",
                    tooltip="The model, for Predict Keyframes.",
                ),
            ],
        )

    @classmethod
    def execute(cls, model: str) -> io.NodeOutput:
        """Load it onto the host's offload device."""
        return io.NodeOutput(load_system("keyframes", model))


class PredictKeyframes(io.ComfyNode):
    """Worker of the keyframe stage."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See web/docs/SoliloquyPredictKeyframes.md."""
        return schema(
            node_id="SoliloquyPredictKeyframes",
            display_name="Predict Keyframes",
            category=CATEGORY,
            description="Finds the moments of a speech at which face and head move most.",
            search_aliases=["ksdiff", "accents", "beats", "emphasis", "timing"],
            inputs=[
                sockets.KeyframeModel.Input(
                    "keyframe_model", tooltip="The model, from Load Keyframe Model."
                ),
                sockets.Speech.Input("speech", tooltip="Speech features, from Encode Speech."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=SEED_MAX,
                    control_after_generate=True,
                    tooltip="Chooses among equally good timings. The same seed gives the same"
                    " keyframes on every machine. Energy peaks leave no choice and ignore it.",
                ),
                io.Float.Input(
                    "rate",
                    default=0.0,
                    min=0.0,
                    max=8.0,
                    step=0.1,
                    tooltip="Expression keyframes per second, those of the head in proportion:"
                    " more is busier. 0 = as many as people have.",
                ),
            ],
            outputs=[_keyframes_output("When to move most, for Edit Keyframes or Sample Motion.")],
        )

    @classmethod
    def execute(
        cls, keyframe_model: Managed, speech: Speech, seed: int, rate: float
    ) -> io.NodeOutput:
        """Predict on the compute device."""
        keyframes = keyframe_model.ready().predict(
            speech, seed, rate=rate or None, on_step=progress()
        )
        return io.NodeOutput(keyframes, ui=say(_summary(keyframes)))


class KeyframesFromMotion(io.ComfyNode):
    """Measures keyframes instead of predicting them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See web/docs/SoliloquyKeyframesFromMotion.md."""
        return schema(
            node_id="SoliloquyKeyframesFromMotion",
            display_name="Keyframes From Motion",
            category=CATEGORY,
            description="Finds the moments at which a motion is fastest, for example to lend the"
            " timing of a filmed face to another voice's motion.",
            search_aliases=["ksdiff", "peaks", "timing", "video"],
            inputs=[
                sockets.Motion.Input(
                    "motion",
                    tooltip="Any motion: from Sample Motion, Motion From Video or Load Motion.",
                ),
            ],
            outputs=[
                _keyframes_output("Where face and head were fastest; strength 1 is the average.")
            ],
        )

    @classmethod
    def execute(cls, motion: Motion) -> io.NodeOutput:
        """Local maxima of the smoothed speed."""
        keyframes = establish(motion)
        return io.NodeOutput(keyframes, ui=say(_summary(keyframes)))


class EditKeyframes(io.ComfyNode):
    """Changes keyframes by a list, or writes them anew."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See web/docs/SoliloquyEditKeyframes.md."""
        return schema(
            node_id="SoliloquyEditKeyframes",
            display_name="Edit Keyframes",
            category=CATEGORY,
            description="Adds, removes, moves and strengthens keyframes, line by line.",
            search_aliases=["timing", "accents", "beats", "timeline"],
            inputs=[
                sockets.Keyframes.Input(
                    "keyframes", tooltip="What to change; it stays as it is, a copy comes out."
                ),
                io.String.Input(
                    "changes",
                    default="",
                    multiline=True,
                    tooltip="One change in each line: '0:01.20 expression 0.8' adds a keyframe or"
                    " sets its strength, 'remove 0:03.1 pose' removes the one near that moment,"
                    " 'move 0:04 0:04.32 pose' moves it. 'both', or no path, means both.",
                ),
                io.Combo.Input(
                    "mode",
                    options=[CHANGE, REPLACE],
                    default=CHANGE,
                    tooltip="'change' applies the lines to the given keyframes; 'replace' forgets"
                    " those, so that the list is everything. To edit all, copy the list that"
                    " this node shows, and replace.",
                ),
                _strength_input("expression", "the face's keyframes"),
                _strength_input("pose", "the head's keyframes"),
                advanced(
                    io.Float.Input(
                        "shift_seconds",
                        default=0.0,
                        min=-10.0,
                        max=10.0,
                        step=0.01,
                        tooltip="All keyframes come so much later; negative: earlier. Seconds.",
                    )
                ),
            ],
            outputs=[
                _keyframes_output("The changed keyframes, for Sample Motion.", "edited"),
                io.String.Output(
                    "list",
                    display_name="list",
                    tooltip="All keyframes, one on each line, as they can be typed here again.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        keyframes: Keyframes,
        changes: str,
        mode: str,
        expression: float,
        pose: float,
        shift_seconds: float,
    ) -> io.NodeOutput:
        """First the lines, then strength and shift of everything."""
        replaced = mode == REPLACE
        listed = from_text(changes, keyframes.timeline) if replaced else change(keyframes, changes)
        edited = adjust(listed, expression=expression, pose=pose, shift=shift_seconds)
        text = as_text(edited)
        return io.NodeOutput(edited, text, ui=say(_summary(edited), *text.splitlines()))


def _strength_input(path: str, whose: str) -> io.Input:
    return io.Float.Input(
        path,
        default=1.0,
        min=0.0,
        max=3.0,
        step=0.05,
        tooltip=f"Factor on the strength of {whose}: 1 = unchanged, more stresses them, 0 removes"
        " them.",
    )


class PreviewKeyframes(io.ComfyNode):
    """Keyframes as a picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See web/docs/SoliloquyPreviewKeyframes.md."""
        return schema(
            node_id="SoliloquyPreviewKeyframes",
            display_name="Preview Keyframes",
            category="Soliloquy/inspect",
            description="Draws keyframes on a timeline, under the sound and over the speed of a"
            " motion.",
            search_aliases=["timeline", "graph", "plot", "waveform"],
            inputs=[
                sockets.Keyframes.Input("keyframes", tooltip="The keyframes to look at."),
                advanced(_pixels_input("width", 1024, 480)),
                advanced(_pixels_input("height", 480, 240)),
                io.Audio.Input(
                    "audio",
                    optional=True,
                    tooltip="The sound that the keyframes belong to, drawn above them.",
                ),
                sockets.Motion.Input(
                    "motion",
                    optional=True,
                    tooltip="The motion that was led by them: how fast it is is drawn behind them.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "timeline", display_name="timeline", tooltip="The picture, for Preview Image."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        keyframes: Keyframes,
        width: int,
        height: int,
        audio: dict[str, Any] | None = None,
        motion: Motion | None = None,
    ) -> io.NodeOutput:
        """One picture."""
        waveform = None if audio is None else sound(audio)[0]
        picture = draw_keyframes(
            keyframes, width=width, height=height, waveform=waveform, motion=motion
        )
        return io.NodeOutput(image_output([picture[None]], 1))


def _pixels_input(name: str, default: int, least: int) -> io.Input:
    return io.Int.Input(
        name,
        default=default,
        min=least,
        max=8192,
        step=16,
        tooltip=f"{name.capitalize()} of the picture, pixels."
        + (" More shows long sounds finer." if name == "width" else ""),
    )
