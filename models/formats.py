"""The tables behind the loaders: every known weight file layout, every system for a stage.

Adding a speech encoder, motion model or renderer means writing its file and adding its row here; no
other file changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from . import catalogue
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
    prepare: str = ""  # "module:function" on upstream's keys, e.g. baking weight norm

    def builder(self) -> Callable[..., Any]:
        """The function that builds the empty network."""
        return _resolve(self.build)

    def prepared(self, state: dict[str, Any]) -> dict[str, Any]:
        """The state dict after the arithmetic that this layout needs."""
        return _resolve(self.prepare)(state) if self.prepare else state


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
    Format(
        name="wav2lip_audio",
        title="Wav2Lip",
        build="speech.wav2lip:build",
        prepare="speech.wav2lip:prepare",
        prefixes=("module.", "audio_encoder."),  # the face half of the generator is not used
        markers=("0.conv_block.0.weight", "0.conv_block.1.running_var", "12.conv_block.0.weight"),
        rename=((r"num_batches_tracked$", None), (r"^(\d+)\.conv_block\.0\.", r"blocks.\1.")),
    ),
    Format(
        name="kdtalker",
        title="KDTalker",
        build="motion.kdtalker:build",
        prepare="motion.kdtalker:prepare",
        prefixes=("module.", "point_model.model."),
        markers=(
            "time_mlp.1.weight",
            "input_projection.weight",
            "time_rel_pos_bias.relative_attention_bias.weight",
            "layers.0.0.mlp.1.weight",
            "layers.0.2.fn.fn.to_qkv.weight",
        ),
        rename=(
            (r"^positional_encoding\.", None),  # never called upstream
            (r"\.block2\.norm\.", None),  # never applied upstream
            (r"^time_mlp\.1\.", "time_in."),
            (r"^time_mlp\.3\.", "time_out."),
            (r"^input_projection\.", "motion_in."),
            (r"^output_projection\.", "motion_out."),
            (r"^time_rel_pos_bias\.relative_attention_bias\.", "distance_bias."),
            (r"^layers\.(\d+)\.0\.", r"layers.\1.first."),
            (r"^layers\.(\d+)\.1\.", r"layers.\1.second."),
            (r"^layers\.(\d+)\.2\.fn\.fn\.to_qkv\.", r"layers.\1.attention.qkv."),
            (r"^layers\.(\d+)\.2\.fn\.fn\.proj\.", r"layers.\1.attention.out."),
            (r"^layers\.(\d+)\.2\.fn\.norm\.", r"layers.\1.attention.norm."),
            (r"\.mlp\.1\.", ".modulate."),
            (r"\.block1\.proj\.", ".inner."),
            (r"\.block1\.norm\.", ".norm."),
            (r"\.block2\.proj\.", ".outer."),
            (r"\.norm\.gamma$", ".norm.weight"),
            (r"\.norm\.beta$", ".norm.bias"),
        ),
    ),
    Format(
        name="liveportrait/appearance",
        title="LivePortrait appearance extractor",
        build="render.liveportrait.appearance:build",
        prepare="render.liveportrait.appearance:prepare",
        markers=("first.conv.weight", "resblocks_3d.3dr0.conv1.weight"),
        rename=(
            (r"num_batches_tracked$", None),
            (r"^first\.conv\.", "stem."),
            (r"^down_blocks\.(\d+)\.conv\.", r"down.\1."),
            (r"^second\.", "lift."),
            (r"^resblocks_3d\.3dr(\d+)\.", r"blocks.\1."),
            (r"\.norm1\.", ".norm."),
            (r"\.conv1\.", ".first."),
            (r"\.conv2\.", ".second."),
        ),
    ),
    Format(
        name="liveportrait/motion",
        title="LivePortrait motion extractor",
        build="render.liveportrait.motion_extractor:build",
        prefixes=("module.", "detector."),
        markers=("downsample_layers.0.0.weight", "fc_kp.weight"),
        rename=(
            (r"^downsample_layers\.0\.0\.", "down.0."),
            (r"^downsample_layers\.0\.1\.", "down_norms.0."),
            (r"^downsample_layers\.(\d+)\.0\.", r"down_norms.\1."),
            (r"^downsample_layers\.(\d+)\.1\.", r"down.\1."),
            (r"\.dwconv\.", ".depthwise."),
            (r"\.pwconv1\.", ".widen."),
            (r"\.grn\.", ".response."),
            (r"\.pwconv2\.", ".narrow."),
            (r"^fc_", "heads."),
        ),
    ),
    Format(
        name="liveportrait/warping",
        title="LivePortrait warping network",
        build="render.liveportrait.warping:build",
        prepare="render.liveportrait.warping:prepare",
        markers=("dense_motion_network.mask.weight", "third.conv.weight"),
        rename=(
            (r"num_batches_tracked$", None),
            (r"^dense_motion_network\.", ""),
            (r"\.encoder\.down_blocks\.(\d+)\.conv\.", r".down.\1."),
            (r"\.decoder\.up_blocks\.(\d+)\.", r".up.\1."),
            (r"\.decoder\.conv\.", ".last."),
            (r"^third\.conv\.", "third."),
        ),
    ),
    Format(
        name="liveportrait/generator",
        title="LivePortrait generator",
        build="render.liveportrait.generator:build",
        prepare="render.liveportrait.generator:prepare",
        markers=("G_middle_0.conv_0.bias", "conv_img.0.weight"),
        rename=(
            (r"^fc\.", "stem."),
            (r"^conv_img\.0\.", "image."),
            (r"^G_middle_(\d+)\.", r"middle.\1."),
            (r"^up_(\d+)\.", r"up.\1."),
            (r"\.norm_0\.modulation\.", ".first_modulation."),
            (r"\.norm_1\.modulation\.", ".second_modulation."),
            (r"\.norm_s\.mlp_(gamma|beta)\.", r".shortcut_\1."),
            (r"\.conv_0\.", ".first."),
            (r"\.conv_1\.", ".second."),
            (r"\.conv_s\.", ".shortcut."),
        ),
    ),
    Format(
        name="liveportrait/stitching",
        title="LivePortrait stitching",
        build="render.liveportrait.retargeting:build_stitching",
        wrappers=("state_dict", "model", "retarget_shoulder"),
        prefixes=("module.", "retarget_shoulder_module."),
        markers=("mlp.0.weight", "mlp.6.weight"),
        rename=((r"^mlp\.", "layers."),),
    ),
    Format(
        name="liveportrait/retarget_lip",
        title="LivePortrait lip retargeting",
        build="render.liveportrait.retargeting:build_lip",
        wrappers=("state_dict", "model", "retarget_mouth"),
        prefixes=("module.", "retarget_mouth_module."),
        markers=("mlp.0.weight", "mlp.6.weight"),
        rename=((r"^mlp\.", "layers."),),
    ),
    Format(
        name="liveportrait/retarget_eye",
        title="LivePortrait eye retargeting",
        build="render.liveportrait.retargeting:build_eye",
        wrappers=("state_dict", "model", "retarget_eye"),
        prefixes=("module.", "retarget_eye_module."),
        markers=("mlp.0.weight", "mlp.10.weight"),
        rename=((r"^mlp\.", "layers."),),
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
        name="wav2lip",
        stage="speech",
        title="Wav2Lip (for KDTalker)",
        loader="speech.wav2lip:load",
        licence="non-commercial (Wav2Lip)",
        files=(("path", "kdtalker/wav2lip"),),
    ),
    System(
        name="starter",
        stage="motion",
        title="Starter (bundled)",
        loader="motion.starter:load",
        speech="starter",
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
