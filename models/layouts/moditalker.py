"""MoDiTalker, as published, and the variants that our own recipes write."""

from __future__ import annotations

from .format import Format

FORMATS: tuple[Format, ...] = ()
