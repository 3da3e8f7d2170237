"""Motion: speech becomes the movement of a face, which can be edited, saved and loaded."""

from __future__ import annotations

from ..models import formats
from ..models.motion.edit import edit_motion
from ..models.payloads import Keyframes, Motion, PayloadError, Portrait, Speech
from . import sockets
from .host import (
    SEED_MAX,
    Managed,
    advanced,
    io,
    licence_notes,
    load_system,
    progress,
    say,
    schema,
)

CATEGORY = "Soliloquy/motion"


class LoadMotionModel(io.ComfyNode):
    """Loader of the motion stage."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See web/docs/SoliloquyLoadMotionModel.md."""
        return schema(
            node_id="SoliloquyLoadMotionModel",
            display_name="Load Motion Model",
            category=CATEGORY,
            description="Loads the network that turns speech into the movement of a face.",
            search_aliases=["lip sync", "talking head", "face animation"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=[row.name for row in formats.systems("motion")],
                    tooltip=f"Which model moves the face. Each wants a speech encoder: {_wanted()}."
                    " " + " ".join(licence_notes("motion")),
                ),
            ],
            outputs=[
                sockets.MotionModel.Output(
                    "motion_model",
                    display_name="motion_model",
                    tooltip="The model, for Sample Motion.",
                ),
            ],
        )

    @classmethod
    def execute(cls, model: str) -> io.NodeOutput:
        """Load it onto the host's offload device."""
        loaded = load_system("motion", model)
        return io.NodeOutput(loaded, ui=say(*licence_notes("motion", model)))


def _wanted() -> str:
    """Which motion models want which speech encoder."""
    return ", ".join(f"'{row.name}' wants '{row.speech}'" for row in formats.systems("motion"))


class SampleMotion(io.ComfyNode):
    """Worker of the motion stage."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See web/docs/SoliloquySampleMotion.md."""
        return schema(
            node_id="SoliloquySampleMotion",
            display_name="Sample Motion",
            category=CATEGORY,
            description="Moves lips, eyes and head to the speech.",
            search_aliases=["lip sync", "talking head", "face animation", "blink"],
            inputs=[
                sockets.MotionModel.Input(
                    "motion_model", tooltip="The model, from Load Motion Model."
                ),
                sockets.Speech.Input("speech", tooltip="Speech features, from Encode Speech."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=SEED_MAX,
                    control_after_generate=True,
                    tooltip="Chooses among equally good performances: other blinks, brows and"
                    " head movement to the same words. The same seed gives the same"
                    " motion on every machine.",
                ),
                advanced(
                    io.Int.Input(
                        "steps",
                        default=0,
                        min=0,
                        max=1000,
                        tooltip="Denoising steps of diffusion models: more is slower and finer. 0"
                        " = what the model was published with. The starter has no steps"
                        " and ignores it.",
                    )
                ),
                advanced(
                    io.Float.Input(
                        "guidance",
                        default=0.0,
                        min=0.0,
                        max=20.0,
                        step=0.1,
                        tooltip="How closely diffusion models follow the speech, as a factor:"
                        " higher articulates more and moves less freely. 0 = what the"
                        " model was published with. The starter ignores it.",
                    )
                ),
                sockets.Portrait.Input(
                    "portrait",
                    optional=True,
                    tooltip="The face that will move. Models that adapt to a face need it; the"
                    " starter does not.",
                ),
                sockets.Keyframes.Input(
                    "keyframes",
                    optional=True,
                    tooltip="When face and head shall move most, from Predict Keyframes or Edit"
                    " Keyframes. KSDiff follows them; other models ignore them.",
                ),
            ],
            outputs=[
                sockets.Motion.Output(
                    "motion",
                    display_name="motion",
                    tooltip="Face and head per video frame, for Edit Motion or a render node.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        motion_model: Managed,
        speech: Speech,
        seed: int,
        steps: int,
        guidance: float,
        portrait: Portrait | None = None,
        keyframes: Keyframes | None = None,
    ) -> io.NodeOutput:
        """Sample on the compute device."""
        motion = motion_model.ready().sample(
            speech,
            portrait,
            keyframes,
            steps=steps or None,
            guidance=guidance or None,
            seed=seed,
            on_step=progress(),
        )
        return io.NodeOutput(motion, ui=say(*motion.notes))


_EDITS = (
    # name, default, lowest, highest, step, what it does, rarely used
    ("mouth", 1.0, 0.0, 3.0, 0.05, "Strength of lips, jaw and cheeks: 1 = as spoken, more"
     " articulates, 0 keeps the mouth closed.", False),
    ("expression", 1.0, 0.0, 3.0, 0.05, "Strength of brows, squinting and nose: 1 = unchanged.",
     False),
    ("blink", 1.0, 0.0, 2.0, 0.05, "Strength of blinks: 1 = unchanged, 0 keeps the eyes open.",
     False),
    ("gaze", 1.0, 0.0, 3.0, 0.05, "Strength of eye movement: 1 = unchanged, 0 looks ahead.", False),
    ("head", 1.0, 0.0, 3.0, 0.05, "Strength of head movement: 1 = unchanged, 0 holds it still.",
     False),
    ("smoothing_seconds", 0.0, 0.0, 2.0, 0.01, "Movements of the face shorter than this many"
     " seconds fade away; blinks stay. 0.05 calms, 0.2 mumbles.", False),
    ("pitch_limit", 90.0, 0.0, 90.0, 0.5, "How far the head may nod to either side, degrees,"
     " approached softly. 90 = no limit.", False),
    ("yaw_limit", 90.0, 0.0, 90.0, 0.5, "How far the head may turn to either side, degrees,"
     " approached softly. 90 = no limit.", False),
    ("roll_limit", 90.0, 0.0, 90.0, 0.5, "How far the head may tilt to either side, degrees,"
     " approached softly. 90 = no limit.", False),
    ("pitch_offset", 0.0, -45.0, 45.0, 0.5, "Degrees added for the whole motion: positive looks"
     " down.", False),
    ("yaw_offset", 0.0, -45.0, 45.0, 0.5, "Degrees added for the whole motion: positive turns the"
     " nose to the left of the picture.", False),
    ("roll_offset", 0.0, -45.0, 45.0, 0.5, "Degrees added for the whole motion: positive tilts"
     " clockwise.", False),
    ("head_smoothing_seconds", 0.0, 0.0, 5.0, 0.05, "Movements of the head shorter than this many"
     " seconds fade away.", True),
    ("delay_seconds", 0.0, -2.0, 2.0, 0.01, "Positive: the face moves later than the sound,"
     " negative: earlier. Seconds.", True),
    ("loop_seconds", 0.0, 0.0, 10.0, 0.1, "Over this many seconds the end returns to how the motion"
     " began, so that the video loops.", True),
    ("x_offset", 0.0, -2.0, 2.0, 0.01, "Moves the head to the right of the picture, in distances"
     " between the outer eye corners.", True),
    ("y_offset", 0.0, -2.0, 2.0, 0.01, "Moves the head down, in distances between the outer eye"
     " corners.", True),
    ("zoom", 1.0, 0.5, 2.0, 0.01, "Factor on the size of the head: 1 = unchanged.", True),
)  # fmt: skip


def _edit_input(name, default, lowest, highest, step, tooltip, rare):  # noqa: ANN001
    widget = io.Float.Input(
        name, default=default, min=lowest, max=highest, step=step, tooltip=tooltip
    )
    return advanced(widget) if rare else widget


class EditMotion(io.ComfyNode):
    """Changes a motion; everything at its default changes nothing."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See web/docs/SoliloquyEditMotion.md."""
        return schema(
            node_id="SoliloquyEditMotion",
            display_name="Edit Motion",
            category=CATEGORY,
            description="Changes a performance before it is rendered: strength, smoothness, blinks,"
            " where the head may go and where it looks.",
            search_aliases=["head pose", "expression", "blink", "retarget"],
            inputs=[
                sockets.Motion.Input(
                    "motion", tooltip="The motion to change; it stays as it is, a copy comes out."
                ),
                *(_edit_input(*row) for row in _EDITS),
                advanced(
                    io.String.Input(
                        "weights",
                        default="",
                        tooltip="ARKit weights to add in every frame, such as 'mouthSmile 0.2,"
                        " browInnerUp -0.1'; a name without Left or Right means both sides.",
                    )
                ),
            ],
            outputs=[
                sockets.Motion.Output(
                    "edited", display_name="motion", tooltip="The changed motion, same length."
                ),
            ],
        )

    @classmethod
    def execute(cls, motion: Motion, weights: str, **settings: float) -> io.NodeOutput:
        """The settings are the fields of `edit.Edit`."""
        return io.NodeOutput(edit_motion(motion, weights=named_weights(weights), **settings))


def named_weights(text: str) -> dict[str, float]:
    """`"mouthSmile 0.2, jawOpen -0.1"` → names and amounts.

    Raises:
        PayloadError: something else is written there.
    """
    weights = {}
    for part in filter(None, (part.strip() for part in text.replace("\n", ",").split(","))):
        try:
            name, amount = part.replace("=", " ").split()
            weights[name] = float(amount)
        except ValueError:
            raise PayloadError(
                f"'{part}' is not a weight and an amount. Write for example 'mouthSmile 0.2'."
            ) from None
    return weights
