"""DiffSpeaker, as published, and KSDiff, as our own recipe writes it."""

from __future__ import annotations

from .format import Format

FORMATS: tuple[Format, ...] = ()
