"""The tables behind the loaders: every known weight file layout, every system for a stage.

Adding a speech encoder, motion model or renderer means writing its file and adding its row here; no
other file changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from .payloads import PayloadError


def _resolve(target: str) -> Callable[..., Any]:
    """`"motion.starter:load"` → `load` of `models/motion/starter.py`, imported on first use."""
    module, function = target.split(":")
    return getattr(import_module(f".{module}", __package__), function)


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
    prepare: Callable[[dict[str, Any]], dict[str, Any]] | None = (
        None  # on upstream's keys, e.g. baking weight norm
    )

    def builder(self) -> Callable[..., Any]:
        """The function that builds the empty network."""
        return _resolve(self.build)


@dataclass(frozen=True, kw_only=True)
class System:
    """One choice for one stage, as loaders and the command line offer it."""

    name: str
    stage: str  # "speech", "motion" or "render"
    title: str
    loader: (
        str  # "module:function" of (device, **paths) -> an object that fulfils the stage's contract
    )
    licence: str = "Apache-2.0"
    speech: str = ""  # motion models: the speech encoder that feeds them

    def load(self, **options: Any) -> Any:
        """The ready system."""
        return _resolve(self.loader)(**options)


FORMATS: tuple[Format, ...] = (
    Format(
        name="starter_speech",
        title="Soliloquy starter speech encoder",
        build="speech.starter:build",
        markers=("stem.weight",),
    ),
    Format(
        name="starter_motion",
        title="Soliloquy starter motion",
        build="motion.starter:build",
        markers=("lips.weight",),
    ),
)

SYSTEMS: tuple[System, ...] = (
    System(
        name="starter",
        stage="speech",
        title="Starter (bundled)",
        loader="speech.starter:load",
    ),
    System(
        name="starter",
        stage="motion",
        title="Starter (bundled)",
        loader="motion.starter:load",
        speech="starter",
    ),
    System(
        name="warp",
        stage="render",
        title="Warp (needs no weights)",
        loader="render.warp:load",
    ),
)


def find_format(name: str) -> Format:
    """The row called `name`.

    Raises:
        PayloadError: there is no such row; the message lists the names.
    """
    for row in FORMATS:
        if row.name == name:
            return row
    raise PayloadError(
        f"No network is called '{name}'. Known: {', '.join(r.name for r in FORMATS)}."
    )


def systems(stage: str) -> tuple[System, ...]:
    """Every system that can fill `stage`, the default first."""
    return tuple(row for row in SYSTEMS if row.stage == stage)


def find_system(stage: str, name: str) -> System:
    """The system called `name` of this stage.

    Raises:
        PayloadError: there is none; the message lists the names.
    """
    for row in systems(stage):
        if row.name == name:
            return row
    names = ", ".join(row.name for row in systems(stage))
    raise PayloadError(f"There is no {stage} system called '{name}'. Known: {names}.")
