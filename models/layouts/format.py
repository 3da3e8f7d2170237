"""What a row about a weight file's layout says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


def resolve(target: str) -> Callable[..., Any]:
    """`"motion.starter:load"` → `load` of `models/motion/starter.py`, imported on first use."""
    module, function = target.split(":")
    return getattr(import_module(f"..{module}", __package__), function)


@dataclass(frozen=True, kw_only=True)
class Format:
    """How one published file layout becomes one of our networks."""

    name: str  # what `checkpoints.load` calls it
    title: str  # what an error calls it
    build: str  # "module:function" of (state, metadata, operations) -> nn.Module
    markers: tuple[str, ...]  # keys that only this layout has; all must be present
    rename: tuple[
        tuple[str, str | None], ...
    ] = ()  # ordered (regex, replacement); None drops on purpose
    wrappers: tuple[str, ...] = (
        "state_dict",
        "model",
    )  # dictionaries the tensors may be wrapped in
    prefixes: tuple[str, ...] = ("module.",)  # removed where present
    prepare: str = ""  # "module:function" on upstream's keys, e.g. baking weight norm

    def builder(self) -> Callable[..., Any]:
        """The function that builds the empty network."""
        return resolve(self.build)

    def prepared(self, state: dict[str, Any]) -> dict[str, Any]:
        """The state dict after the arithmetic that this layout needs."""
        return resolve(self.prepare)(state) if self.prepare else state
