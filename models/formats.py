"""The tables behind the loaders: every known weight file layout, every system for a stage.

Adding a speech encoder, motion model or renderer means writing its file and adding its row to
`SYSTEMS`, and the layout of its weight file to a file in `layouts/`; no other file changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import catalogue
from .layouts import (
    atl_diff,
    identity_diffusion,
    kdtalker,
    ksdiff,
    liveportrait,
    moditalker,
    starter,
    wav2vec2,
)
from .layouts.format import Format, resolve
from .payloads import PayloadError


@dataclass(frozen=True, kw_only=True)
class System:
    """One choice for one stage, as loaders and the command line offer it."""

    name: str
    stage: str  # "speech", "keyframes", "motion" or "render"
    title: str
    loader: (
        str  # "module:function" of (device, **paths) -> an object that fulfils the stage's contract
    )
    licence: str = "Apache-2.0"
    speech: str = ""  # keyframe and motion models: the speech encoder that feeds them
    keyframes: str = ""  # motion models: the keyframe model that leads them, if any
    files: tuple[tuple[str, str], ...] = ()  # (option of the loader, role in the catalogue)
    folder: str = ""  # option of the loader that takes all directories with weights
    half: bool = False  # whether the loader has the option `dtype`

    @property
    def licences(self) -> str:
        """The licences of its weights, non-commercial ones marked; its own without weights."""
        needed = catalogue.needed_for(self.name)
        return "; ".join(dict.fromkeys(row.licence_text for row in needed)) or self.licence

    def find_weights(self, roots: Sequence[str | Path]) -> dict[str, Any]:
        """The loader's options that say where the published files are; none for bundled systems.

        Args:
            roots: the host's models directories, or directories with the files themselves.

        Raises:
            PayloadError: files are missing; the message says which belongs where.
        """
        found = {option: catalogue.locate(role, roots) for option, role in self.files}
        if None in found.values() or (self.folder and catalogue.missing(self.name, roots)):
            raise PayloadError(catalogue.missing_message(self.name, roots))
        return {**found, self.folder: tuple(roots)} if self.folder else found

    def load(self, **options: Any) -> Any:
        """The ready system."""
        return resolve(self.loader)(**options)


FORMATS: tuple[Format, ...] = (
    *starter.FORMATS,
    *wav2vec2.FORMATS,
    *kdtalker.FORMATS,
    *liveportrait.FORMATS,
    *ksdiff.FORMATS,
    *atl_diff.FORMATS,
    *identity_diffusion.FORMATS,
    *moditalker.FORMATS,
)

SYSTEMS: tuple[System, ...] = (
    System(
        name="starter",
        stage="speech",
        title="Starter (bundled)",
        loader="speech.starter:load",
    ),
    System(
        name="atl_diff",
        stage="speech",
        title="Starter's features (for ATL-Diff)",
        loader="speech.atl_diff:load",
    ),
    System(
        name="ksdiff",
        stage="speech",
        title="KSDiff dual-path (bundled)",
        loader="speech.ksdiff:load",
    ),
    System(
        name="kflm",
        stage="speech",
        title="wav2vec 2.0 second by second (for KFLM)",
        loader="speech.atl_diff:load_published",
        licence="none stated (ATL-Diff)",
        files=(("path", "atldiff/weight"),),
    ),
    System(
        name="wav2lip",
        stage="speech",
        title="Wav2Lip (for KDTalker)",
        loader="speech.wav2lip:load",
        licence="non-commercial (Wav2Lip)",
        files=(("path", "kdtalker/wav2lip"),),
    ),
    System(
        name="hubert",
        stage="speech",
        title="HuBERT large (for MoDiTalker)",
        loader="speech.hubert:load",
        files=(("path", "audio_encoders/hubert-large-ls960-ft/pytorch_model"),),
    ),
    System(
        name="energy_peaks",
        stage="keyframes",
        title="Energy peaks (needs no weights)",
        loader="keyframes.energy_peaks:load",
    ),
    System(
        name="ksdiff",
        stage="keyframes",
        title="KSDiff predictors (bundled)",
        loader="keyframes.ksdiff:load",
        speech="ksdiff",
    ),
    System(
        name="starter",
        stage="motion",
        title="Starter (bundled)",
        loader="motion.starter:load",
        speech="starter",
    ),
    System(
        name="ksdiff",
        stage="motion",
        title="KSDiff (bundled)",
        loader="motion.ksdiff_motion:load",
        speech="ksdiff",
    ),
    System(
        name="kdtalker",
        stage="motion",
        title="KDTalker",
        loader="motion.kdtalker_motion:load",
        licence="CC-BY-NC-4.0",
        speech="wav2lip",
        files=(
            ("path", "kdtalker/KDTalker"),
            ("motion_extractor", "liveportrait/motion_extractor"),
        ),
    ),
    System(
        name="atl_diff",
        stage="motion",
        title="Landmarks after ATL-Diff (bundled)",
        loader="motion.atl_diff:load",
        speech="atl_diff",
    ),
    System(
        name="kflm",
        stage="motion",
        title="KFLM of ATL-Diff (published)",
        loader="motion.kflm_motion:load",
        licence="none stated (ATL-Diff)",
        speech="kflm",
        files=(("path", "atldiff/weight"),),
    ),
    System(
        name="moditalker",
        stage="motion",
        title="AToM of MoDiTalker (published)",
        loader="motion.atom_motion:load",
        licence="none stated (MoDiTalker)",
        speech="hubert",
        files=(("path", "moditalker/atom"),),
    ),
    System(
        name="moditalker_small",
        stage="motion",
        title="AToM of MoDiTalker, small (bundled)",
        loader="motion.atom_motion:load_small",
        speech="starter",
    ),
    System(
        name="warp",
        stage="render",
        title="Warp (needs no weights)",
        loader="render.warp:load",
    ),
    System(
        name="liveportrait",
        stage="render",
        title="LivePortrait",
        loader="render.liveportrait.renderer:load",
        licence="MIT",
        folder="folder",
        half=True,
    ),
    System(
        name="atl_diff",
        stage="render",
        title="ATL-Diff, small",
        loader="render.identity_diffusion.renderer:load",
        folder="folders",
    ),
    System(
        name="atl_diff_published",
        stage="render",
        title="ATL-Diff (published)",
        loader="render.identity_diffusion.published:load",
        licence="none stated (ATL-Diff)",
        files=(
            ("unet", "atldiff/unet/diffusion_pytorch_model"),
            ("resnet", "atldiff/resnet50-0676ba61"),
        ),
    ),
    System(
        name="mtov",
        stage="render",
        title="MToV (MoDiTalker)",
        loader="render.mtov.renderer:load",
        licence="none stated (all rights reserved), non-commercial",
        files=(
            ("autoencoder", "moditalker/autoencoder_rgb"),
            ("motion_autoencoder", "moditalker/autoencoder_motion"),
            ("unet", "moditalker/diffusion_model"),
        ),
    ),
    System(
        name="mtov_small",
        stage="render",
        title="MToV of MoDiTalker, small (bundled)",
        loader="render.mtov.renderer:load",
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
