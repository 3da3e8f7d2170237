"""Soliloquy: any still portrait speaks.

The host (ComfyUI) reads `comfy_entrypoint` and `WEB_DIRECTORY` from here; without it this is an
ordinary package.
"""

from importlib.util import find_spec

WEB_DIRECTORY = "./web"  # serves web/docs/<node id>.md, no JavaScript

if find_spec("comfy_api") is not None:
    from .nodes import comfy_entrypoint

    __all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
else:
    __all__ = ["WEB_DIRECTORY"]
