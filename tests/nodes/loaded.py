"""The nodes, loaded into the double of the host."""

from . import host_double

host_double.install()

from soliloquy.nodes import NODES, comfy_entrypoint, host  # noqa: E402

__all__ = ["NODES", "comfy_entrypoint", "host", "host_double"]
