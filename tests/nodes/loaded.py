"""The nodes, loaded into the double of the host."""

from . import host_double

host_double.install()

from soliloquy.nodes import (  # noqa: E402
    NODES,
    comfy_entrypoint,
    host,
    inspect,
    motion,
    portrait,
    render,
    speech,
)

__all__ = [
    "NODES",
    "comfy_entrypoint",
    "host",
    "host_double",
    "inspect",
    "motion",
    "portrait",
    "render",
    "speech",
]
