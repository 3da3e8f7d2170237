"""Speech: a sound becomes feature streams, one row per video frame."""

from __future__ import annotations

from typing import Any

from ..models import formats
from ..models.payloads import Timeline
from . import sockets
from .host import (
    Managed,
    advanced,
    io,
    licence_notes,
    load_system,
    progress,
    say,
    schema,
    sound,
)

CATEGORY = "Soliloquy/speech"


class LoadSpeechEncoder(io.ComfyNode):
    """Loader of the first stage."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See web/docs/SoliloquyLoadSpeechEncoder.md."""
        return schema(
            node_id="SoliloquyLoadSpeechEncoder",
            display_name="Load Speech Encoder",
            category=CATEGORY,
            description="Loads the network that listens to the speech.",
            search_aliases=["lip sync", "audio encoder", "talking head"],
            inputs=[
                io.Combo.Input(
                    "encoder",
                    options=[row.name for row in formats.systems("speech")],
                    tooltip="Which encoder listens. It must be the one that the motion model was"
                    " trained with; 'starter' is bundled and feeds the starter motion"
                    " model. " + " ".join(licence_notes("speech")),
                ),
            ],
            outputs=[
                sockets.SpeechEncoder.Output(
                    "speech_encoder",
                    display_name="speech_encoder",
                    tooltip="The encoder, for Encode Speech.",
                ),
            ],
        )

    @classmethod
    def execute(cls, encoder: str) -> io.NodeOutput:
        """Load it onto the host's offload device."""
        loaded = load_system("speech", encoder)
        return io.NodeOutput(loaded, ui=say(*licence_notes("speech", encoder)))


class EncodeSpeech(io.ComfyNode):
    """Worker of the first stage."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See web/docs/SoliloquyEncodeSpeech.md."""
        return schema(
            node_id="SoliloquyEncodeSpeech",
            display_name="Encode Speech",
            category=CATEGORY,
            description="Turns a sound into speech features, one row per video frame, and sets"
            " the frame rate.",
            search_aliases=["lip sync", "audio features", "talking head"],
            inputs=[
                sockets.SpeechEncoder.Input(
                    "speech_encoder", tooltip="The encoder, from Load Speech Encoder."
                ),
                io.Audio.Input(
                    "audio",
                    tooltip="The speech, at any sample rate, mono or not. The model hears a"
                    " resampled copy; connect the same AUDIO to Render Video to keep the"
                    " original sound.",
                ),
                io.Float.Input(
                    "fps",
                    default=25.0,
                    min=1.0,
                    max=120.0,
                    step=0.001,
                    round=0.001,
                    tooltip="Frames per second of everything that follows. 23.976, 29.97 and"
                    " 59.94 mean the exact broadcast rates. Higher is smoother and takes"
                    " longer to render.",
                ),
                advanced(
                    io.String.Input(
                        "transcript",
                        default="",
                        multiline=True,
                        optional=True,
                        tooltip="What is said, if you have it in writing. KSDiff moves a little"
                        " more to the point with it; other encoders do not read it, and say so."
                        " Empty is fine.",
                    )
                ),
            ],
            outputs=[
                sockets.Speech.Output(
                    "speech", display_name="speech", tooltip="Speech features, for Sample Motion."
                ),
            ],
        )

    @classmethod
    def execute(
        cls, speech_encoder: Managed, audio: dict[str, Any], fps: float, transcript: str = ""
    ) -> io.NodeOutput:
        """Encode on the compute device."""
        waveform, sample_rate = sound(audio)
        timeline = Timeline.for_sound(waveform.shape[-1], sample_rate, fps)
        encoder = speech_encoder.ready()
        words, notes = {}, []
        if transcript.strip() and getattr(encoder, "reads_transcripts", False):
            words["transcript"] = transcript
        elif transcript.strip():
            notes.append("This encoder does not read transcripts; it only listened.")
        speech = encoder.encode(waveform, sample_rate, timeline, on_step=progress(), **words)
        return io.NodeOutput(speech, ui=say(*notes))
