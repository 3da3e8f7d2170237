"""Every recipe by name: a function that returns its configuration.

A configuration is a frozen dataclass whose method `run(folder, on_log)` trains and leaves weights
in `folder`; a run that was stopped goes on. `python -m soliloquy train NAME --set key=value`
changes any of its fields, nested ones with dots.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_args, get_origin, get_type_hints

from ..models.payloads import PayloadError
from .loop import Log


class Recipe(Protocol):
    """What a recipe's function returns: a frozen dataclass with this method."""

    def run(self, folder: Path, on_log: Log | None = None) -> None:
        """Train and leave weights in `folder`."""


def starter() -> Recipe:
    """The bundled lips: log-mel → features → mouth and jaw."""
    from .starter import StarterRecipe

    return StarterRecipe()


def atom() -> Recipe:
    """MoDiTalker's motion, small: speech → landmarks, window by window."""
    from .atom import AToMRecipe

    return AToMRecipe()


def kflm() -> Recipe:
    """ATL-Diff's landmark generator, our variant: speech, a face and a feeling → landmarks."""
    from .kflm import KFLMRecipe

    return KFLMRecipe()


def ksdiff() -> Recipe:
    """KSDiff's speech encoder and its two denoisers."""
    from .ksdiff import KSDiffRecipe

    return KSDiffRecipe()


def ksdiff_keyframes() -> Recipe:
    """KSDiff's keyframe predictors, on a frozen speech encoder that `ksdiff` trained."""
    from .ksdiff_keyframes import KeyframeRecipe

    return KeyframeRecipe()


def ksdiff_without_disentanglement() -> Recipe:
    """KSDiff whose face and head hear the same features."""
    return override(ksdiff(), ["speech.disentangled=false"])


def ksdiff_without_dual_path() -> Recipe:
    """KSDiff with one denoiser for face and head together."""
    return override(ksdiff(), ["dual=false"])


def ksdiff_without_keyframes() -> Recipe:
    """KSDiff whose denoisers know nothing of keyframes."""
    none = [f"{path}.keyframes=0" for path in ("expression", "pose", "both")]
    return override(ksdiff(), [*none, "emphasis=0"])


def ksdiff_without_prosody() -> Recipe:
    """KSDiff whose expression is not modulated by loudness and pitch."""
    return override(ksdiff(), ["speech.prosody=false"])


def ksdiff_without_transcript() -> Recipe:
    """KSDiff that never reads what is said."""
    unread = [f"{path}.transcript=false" for path in ("speech", "expression", "pose", "both")]
    return override(ksdiff(), unread)


def identity_diffusion() -> Recipe:
    """ATL-Diff's renderer, small: landmark-guided noise → frames, from clips that warp draws."""
    from .identity_diffusion import IdentityDiffusionRecipe

    return IdentityDiffusionRecipe()


def mtov_autoencoder() -> Recipe:
    """MoDiTalker's tri-plane autoencoder of pictures, small."""
    from .mtov import AutoencoderRecipe

    return AutoencoderRecipe()


def mtov_motion_autoencoder() -> Recipe:
    """MoDiTalker's tri-plane autoencoder of drawn landmarks, small."""
    from .mtov import motion_autoencoder

    return motion_autoencoder()


def mtov_unet() -> Recipe:
    """MoDiTalker's tri-plane U-Net, small, on latents of the two autoencoders."""
    from .mtov import UNetRecipe

    return UNetRecipe()


RECIPES: dict[str, Callable[[], Recipe]] = {
    "starter": starter,
    "ksdiff": ksdiff,
    "ksdiff_keyframes": ksdiff_keyframes,
    "ksdiff_without_disentanglement": ksdiff_without_disentanglement,
    "ksdiff_without_dual_path": ksdiff_without_dual_path,
    "ksdiff_without_keyframes": ksdiff_without_keyframes,
    "ksdiff_without_prosody": ksdiff_without_prosody,
    "ksdiff_without_transcript": ksdiff_without_transcript,
    "atom": atom,
    "kflm": kflm,
    "identity_diffusion": identity_diffusion,
    "mtov_autoencoder": mtov_autoencoder,
    "mtov_motion_autoencoder": mtov_motion_autoencoder,
    "mtov_unet": mtov_unet,
}

Config = TypeVar("Config")


def find_recipe(name: str) -> Recipe:
    """The configuration called `name`.

    Raises:
        PayloadError: there is none.
    """
    if name not in RECIPES:
        raise PayloadError(f"'{name}' is not a recipe. There are: {', '.join(RECIPES)}.")
    return RECIPES[name]()


def override(config: Config, assignments: list[str]) -> Config:
    """A copy of a configuration with `key=value` applied, keys such as `loop.steps`.

    Raises:
        PayloadError: a key that is not there, or a value of another type.
    """
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        if not separator:
            raise PayloadError(f"'{assignment}' is not of the form key=value.")
        config = _replaced(config, key.strip().split("."), value.strip(), key.strip())
    return config


def _replaced(config: Any, names: list[str], value: str, key: str) -> Any:
    fields = [field.name for field in dataclasses.fields(config)]
    name, *rest = names
    if name not in fields:
        raise PayloadError(f"There is no '{key}': '{name}' is not one of {', '.join(fields)}.")
    present = getattr(config, name)
    if rest:
        if not dataclasses.is_dataclass(present):
            raise PayloadError(f"There is no '{key}': '{name}' is a value without fields.")
        return dataclasses.replace(config, **{name: _replaced(present, rest, value, key)})
    if dataclasses.is_dataclass(present):
        inside = ", ".join(f"{key}.{field.name}" for field in dataclasses.fields(present))
        raise PayloadError(f"'{key}' is a group. Set one of {inside}.")
    kind = get_type_hints(type(config))[name]
    return dataclasses.replace(config, **{name: parse(value, kind, key)})


def parse(value: str, kind: Any, key: str) -> Any:
    """A value from its text, checked against the type of its field.

    Raises:
        PayloadError: it is not of that type.
    """
    options = get_args(kind)
    if get_origin(kind) is tuple:
        return tuple(parse(part, options[0], key) for part in value.split(",") if part)
    if type(None) in options:
        if value.lower() in ("", "none"):
            return None
        (kind,) = (option for option in options if option is not type(None))
    try:
        if kind is bool:
            return {"true": True, "false": False, "1": True, "0": False}[value.lower()]
        return kind(value)
    except (ValueError, KeyError, TypeError):
        name = getattr(kind, "__name__", str(kind))
        raise PayloadError(f"'{key}' must be of type {name}, not '{value}'.") from None
