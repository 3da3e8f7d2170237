"""Scripts behind `python -m soliloquy bench`."""

from pathlib import Path

ASSETS = Path(__file__).resolve().parent.parent / "assets"
