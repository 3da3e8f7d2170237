"""Files are found as published, and absent ones are named."""

import pytest
from soliloquy.models.checkpoints import CheckpointError
from soliloquy.models.render.liveportrait.renderer import load
from soliloquy.models.render.liveportrait.weights import FILES, find_files


def lay_out(folder, names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not weights")


def test_flat_safetensors_and_the_originals_folders_are_found(tmp_path):
    stems = set(FILES.values())
    lay_out(tmp_path / "flat", [f"{stem}.safetensors" for stem in stems])
    lay_out(
        tmp_path / "original",
        [
            f"liveportrait/{'retargeting' if 'retargeting' in stem else 'base'}_models/{stem}.pth"
            for stem in stems
        ],
    )
    for folder, suffix in (("flat", ".safetensors"), ("original", ".pth")):
        files = find_files(tmp_path / folder)
        assert {name: path.name for name, path in files.items()} == {
            name: stem + suffix for name, stem in FILES.items()
        }
    both = find_files((tmp_path / "original", tmp_path / "flat"))
    assert {path.suffix for path in both.values()} == {".pth"}


def test_absent_files_are_named_with_their_place(tmp_path):
    lay_out(tmp_path, ["motion_extractor.pth", "spade_generator.safetensors"])
    with pytest.raises(CheckpointError, match=r"lacks appearance\w+\.safetensors, stitch.*, warp"):
        find_files(tmp_path)
    with pytest.raises(CheckpointError, match="a folder and name it as 'folder'"):
        load()


def test_a_damaged_file_is_named(tmp_path):
    lay_out(tmp_path, [f"{stem}.safetensors" for stem in set(FILES.values())])
    with pytest.raises(CheckpointError, match="'appearance_feature_extractor.safetensors'"):
        load(folder=tmp_path)
