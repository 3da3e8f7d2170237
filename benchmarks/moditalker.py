"""How fast MoDiTalker works per window, motion and video, against the published arrangement."""

from __future__ import annotations

from typing import Any

from . import moditalker_atom, moditalker_mtov
from .machine import description


def measure() -> dict[str, Any]:
    """Time both networks, print a table each, and return the numbers."""
    return {
        "benchmark": "moditalker",
        "machine": description(),
        "atom": moditalker_atom.measure(),
        "mtov": moditalker_mtov.measure(),
    }
