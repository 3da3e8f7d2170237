"""DiffSpeaker, as published, and KSDiff, as our own recipe writes it."""

from __future__ import annotations

from .format import Format

FORMATS: tuple[Format, ...] = (
    Format(
        name="ksdiff_motion",
        title="Soliloquy KSDiff motion",
        build="motion.ksdiff:build",
        markers=("paths.pose.motion_in.weight",),
    ),
)
