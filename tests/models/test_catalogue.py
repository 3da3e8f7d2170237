"""The table of published weights fits the formats, and says what a file is and what is missing."""

import re

import pytest
from soliloquy.models import catalogue, formats
from soliloquy.models.catalogue import CATALOGUE, Weight
from soliloquy.models.payloads import PayloadError

HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"  # sha256 of "hello"


def toy(**facts):
    return Weight(
        **{
            "file": "toy.pth",
            "folder": "toys",
            "title": "Toy",
            "systems": ("toy",),
            "licence": "MIT",
            "commercial": True,
            "link": "https://example.org/toy.pth",
            **facts,
        }
    )


@pytest.fixture
def one_toy(monkeypatch):
    row = toy(size=5, sha256=HELLO)
    monkeypatch.setattr(catalogue, "CATALOGUE", (row,))
    return row


class TestTable:
    def test_names_differ_and_formats_exist(self):
        names = [row.name for row in CATALOGUE]
        assert len(set(names)) == len(names)
        known = {row.name for row in formats.FORMATS}
        assert {name for row in CATALOGUE for name in row.formats} <= known

    def test_every_format_that_is_not_bundled_has_a_file(self):
        listed = {name for row in CATALOGUE for name in row.formats}
        bundled = {row.name for row in formats.FORMATS if row.title.startswith("Soliloquy")}
        given = {"diffspeaker"}  # no stage uses it; its files have no names of their own
        assert {row.name for row in formats.FORMATS} - bundled - given == listed

    @pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.name)
    def test_facts_have_the_right_shape(self, row):
        assert re.fullmatch(r"([0-9a-f]{64})?", row.sha256)
        assert row.size or not row.sha256
        assert row.url.startswith("https://")
        assert " " not in row.url
        assert row.revision == "main" or re.fullmatch(r"[0-9a-f]{40}", row.revision)
        assert row.url.endswith(row.file) or row.by_hand
        assert row.workflow_link == {"name": row.file, "url": row.url, "directory": row.folder}

    def test_what_must_not_be_used_commercially_says_so(self):
        restricted = {row.folder.split("/")[0] for row in CATALOGUE if not row.commercial}
        assert restricted == {"kdtalker", "moditalker", "atldiff"}
        assert all(("non-commercial" in row.licence_text) != row.commercial for row in CATALOGUE)

    def test_sizes_are_rounded_and_unknown_ones_admitted(self):
        assert toy(size=3_361_936).size_text == "3.4 MB"
        assert toy(size=112_496_256).size_text == "112 MB"
        assert toy(approximate_size=1_600_000_000).size_text == "≈ 1.6 GB"
        assert toy().size_text == "unknown"


class TestFind:
    def test_a_system_means_each_of_its_files_once(self):
        files = [row.file for row in catalogue.find("liveportrait")]
        assert len(files) == 5
        assert all(file.endswith(".safetensors") for file in files)
        assert {row.file for row in catalogue.find("kdtalker")} == {
            "KDTalker.pth",
            "wav2lip.pth",
            "motion_extractor.safetensors",
        }

    def test_moditalker_means_what_hears_moves_and_draws(self):
        files = [row.file for row in catalogue.find("moditalker")]
        assert files == [
            "pytorch_model.bin",
            "atom.pt",
            "epoch_20.pth",
            "autoencoder_motion.pth",
            "autoencoder_rgb.pth",
            "diffusion_model.pth",
        ]
        # The motion model alone still needs only its own.
        assert [row.file for row in catalogue.missing("moditalker", ["nowhere"])] == ["atom.pt"]

    def test_a_withdrawn_file_says_so_where_it_is_missed(self):
        message = catalogue.missing_message("mtov", ["models"])
        assert "Its authors withdrew this file" in message
        assert "train mtov_unet" in message

    def test_formats_and_files_are_names_too(self):
        assert catalogue.find("liveportrait/retarget_eye")[0].file.startswith("stitching")
        assert catalogue.find("liveportrait/motion_extractor.pth")[0].size == 112_545_506
        assert catalogue.find("wav2lip.pth")[0].formats == ("wav2lip_audio",)

    def test_an_unknown_name_lists_the_known_ones(self):
        with pytest.raises(PayloadError, match=r"'dall-e'. Systems: liveportrait, kdtalker.*Files"):
            catalogue.find("dall-e")


class TestMissing:
    def test_the_message_names_file_folder_and_link(self, tmp_path):
        message = catalogue.missing_message("kdtalker", [tmp_path])
        lines = message.splitlines()
        assert lines[:2] == [
            "3 files are missing for 'kdtalker'.",
            f"This belongs in '{tmp_path.as_posix()}/liveportrait':",
        ]
        start = lines.index(f"These belong in '{tmp_path.as_posix()}/kdtalker':")
        place = "https://huggingface.co/ChaolongYang/KDTalker/resolve/main/ckpts"
        assert lines[start + 1 : start + 3] == [
            "  KDTalker.pth (unknown, CC-BY-NC-4.0, non-commercial)",
            f"    {place}/KDTalker.pth",
        ]
        assert lines[-1].endswith("weights fetch kdtalker")

    @pytest.mark.parametrize(
        "place",
        [
            "liveportrait/{}.safetensors",
            "liveportrait/base_models/{}.pth",
            "base_models/{}.pth",
            "{}.pth",
        ],
    )
    def test_any_container_in_any_usual_place_counts(self, tmp_path, place):
        file = tmp_path / place.format("warping_module")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        absent = catalogue.missing("liveportrait", ["nowhere", tmp_path])
        assert len(absent) == 4
        assert "warping_module.safetensors" not in [row.file for row in absent]

    def test_nothing_is_said_when_nothing_is_missing(self, tmp_path, one_toy):
        assert catalogue.missing_message("starter", [tmp_path]) == ""
        (tmp_path / one_toy.file).touch()
        assert catalogue.missing_message("toy", [tmp_path]) == ""

    def test_files_behind_a_page_are_not_offered_for_fetching(self):
        assert "weights fetch" not in catalogue.missing_message("moditalker", ["models"])


class TestVerify:
    def write(self, tmp_path, content, name="toy.pth"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    def test_right_truncated_damaged_and_unknown_files(self, tmp_path, one_toy):
        right = catalogue.verify(self.write(tmp_path, b"hello"))
        assert (right.state, right.weight, right.bad) == ("ok", one_toy, False)
        short = catalogue.verify(self.write(tmp_path, b"hell"))
        assert short.state == "wrong size"
        assert "4 bytes, not 5: truncated" in short.sentence
        assert one_toy.url in short.sentence
        damaged = catalogue.verify(self.write(tmp_path, b"jello"))
        assert (damaged.state, damaged.bad) == ("wrong hash", True)
        other = catalogue.verify(self.write(tmp_path, b"other things", "other.pth"))
        assert (other.state, other.bad) == ("unknown", False)

    def test_a_known_file_under_another_name_is_recognised(self, tmp_path, one_toy):
        verdict = catalogue.verify(self.write(tmp_path, b"hello", "renamed.bin"))
        assert verdict.weight is one_toy

    def test_a_file_without_a_published_hash_is_shown_with_its_own(self, tmp_path, monkeypatch):
        monkeypatch.setattr(catalogue, "CATALOGUE", (toy(),))
        verdict = catalogue.verify(self.write(tmp_path, b"hello"))
        assert verdict.state == "unknown"
        assert HELLO in verdict.sentence

    def test_an_absent_file_is_an_error(self, tmp_path):
        with pytest.raises(PayloadError, match="There is no file"):
            catalogue.verify(tmp_path / "absent.pth")


def test_a_converted_file_plays_the_role_of_the_published_one(tmp_path):
    (tmp_path / "kdtalker").mkdir()
    assert catalogue.locate("kdtalker/KDTalker", [tmp_path]) is None
    published = tmp_path / "kdtalker" / "KDTalker.pth"
    published.touch()
    assert catalogue.locate("kdtalker/KDTalker", [tmp_path]) == published
    converted = published.with_suffix(".safetensors")
    converted.touch()
    assert catalogue.locate("kdtalker/KDTalker", [tmp_path]) == converted


def lay_out(folder, names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not weights")
    return folder


def test_files_are_found_flat_and_in_the_originals_folders(tmp_path):
    roles = {row.role for row in catalogue.needed_for("liveportrait")}
    stems = {role.split("/")[1] for role in roles}
    places = {stem: "retargeting" if "retargeting" in stem else "base" for stem in stems}
    folders = {
        "flat": ("{stem}.safetensors", ".safetensors"),
        "inside": ("liveportrait/{stem}.safetensors", ".safetensors"),
        "original": ("liveportrait/{place}_models/{stem}.pth", ".pth"),
        "without_top": ("{place}_models/{stem}.pth", ".pth"),
        "converted": ("liveportrait/{place}_models/{stem}.safetensors", ".safetensors"),
    }
    for name, (pattern, suffix) in folders.items():
        names = [pattern.format(stem=s, place=p) for s, p in places.items()]
        found = catalogue.files_of("liveportrait", [lay_out(tmp_path / name, names)])
        assert set(found) == roles
        assert {path.name for path in found.values()} == {stem + suffix for stem in stems}
    both = catalogue.files_of("liveportrait", [tmp_path / "original", tmp_path / "flat"])
    assert {path.suffix for path in both.values()} == {".safetensors"}


def test_absent_files_are_named_with_their_place_and_link(tmp_path):
    lay_out(tmp_path, ["motion_extractor.pth", "spade_generator.safetensors"])
    with pytest.raises(PayloadError, match="3 files are missing for 'liveportrait'") as caught:
        catalogue.files_of("liveportrait", [tmp_path])
    lines = str(caught.value).splitlines()
    assert [line.split()[0] for line in lines[2:-1:2]] == [
        "appearance_feature_extractor.safetensors",
        "warping_module.safetensors",
        "stitching_retargeting_module.safetensors",
    ]
    assert all(line.startswith("    https://") for line in lines[3:-1:2])
