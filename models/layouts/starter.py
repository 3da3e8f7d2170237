"""The bundled starter, as our own recipe writes it."""

from __future__ import annotations

from .format import Format

FORMATS: tuple[Format, ...] = (
    Format(
        name="starter_speech",
        title="Soliloquy starter speech encoder",
        build="speech.starter:build",
        markers=("stem.weight",),
    ),
    Format(
        name="starter_motion",
        title="Soliloquy starter motion",
        build="motion.starter:build",
        markers=("lips.weight",),
    ),
)
