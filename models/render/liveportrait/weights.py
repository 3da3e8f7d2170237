"""Where LivePortrait's published weights are: the original `.pth` files or the safetensors made of
them, in the original's folders or flat."""

from __future__ import annotations

from pathlib import Path

from ...checkpoints import CheckpointError

FILES = {
    "appearance": "appearance_feature_extractor",
    "motion": "motion_extractor",
    "warping": "warping_module",
    "generator": "spade_generator",
    "stitching": "stitching_retargeting_module",
    "retarget_lip": "stitching_retargeting_module",
    "retarget_eye": "stitching_retargeting_module",
}
"""Network → file name without its suffix."""
SUFFIXES = (".safetensors", ".pth")
SUBFOLDERS = (
    "",
    "base_models",
    "retargeting_models",
    "liveportrait",
    "liveportrait/base_models",
    "liveportrait/retargeting_models",
)
SOURCES = "huggingface.co/Kijai/LivePortrait_safetensors or huggingface.co/KwaiVGI/LivePortrait"


def find_files(folder: str | Path | tuple[str | Path, ...] | None) -> dict[str, Path]:
    """Network → file, for every network.

    Args:
        folder: one folder or several, searched in order, subfolders as published included.

    Raises:
        CheckpointError: files are absent; the message lists them and where they belong.
    """
    folders = folder if isinstance(folder, tuple) else () if folder is None else (folder,)
    found = {name: _find(stem, folders) for name, stem in FILES.items()}
    absent = sorted({FILES[name] for name, path in found.items() if path is None})
    if absent:
        names = ", ".join(f"{stem}.safetensors" for stem in absent)
        place = f"'{folders[0]}'" if folders else "a folder and name it as 'folder'"
        raise CheckpointError(
            f"LivePortrait lacks {names} (or the .pth of the same name)."
            f" Put {'it' if len(absent) == 1 else 'them'} into {place}; published at {SOURCES}."
        )
    return {name: path for name, path in found.items() if path is not None}


def _find(stem: str, folders: tuple[str | Path, ...]) -> Path | None:
    candidates = (
        Path(folder) / subfolder / f"{stem}{suffix}"
        for folder in folders
        for suffix in SUFFIXES
        for subfolder in SUBFOLDERS
    )
    return next((path for path in candidates if path.is_file()), None)
