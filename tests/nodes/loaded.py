"""The nodes, loaded into the double of the host."""

from . import host_double

host_double.install()

from soliloquy.nodes import (  # noqa: E402
    NODES,
    atl_diff_options,
    comfy_entrypoint,
    host,
    inspect,
    keyframes,
    moditalker_options,
    motion,
    motion_files,
    mtov_options,
    noise,
    options,
    portrait,
    render,
    speech,
    tracking,
)

__all__ = [
    "NODES",
    "atl_diff_options",
    "comfy_entrypoint",
    "host",
    "host_double",
    "inspect",
    "keyframes",
    "moditalker_options",
    "motion",
    "motion_files",
    "mtov_options",
    "noise",
    "options",
    "portrait",
    "render",
    "speech",
    "tracking",
]
