"""The tables name files, functions and stages that exist."""

from pathlib import Path

import pytest
from soliloquy.models import formats
from soliloquy.models.payloads import PayloadError

METHODS = {"speech": "encode", "keyframes": "predict", "motion": "sample", "render": "render"}


def test_bundled_systems_fill_every_stage_and_fulfil_its_contract():
    bundled = [row for row in formats.SYSTEMS if row.name in ("starter", "energy_peaks", "warp")]
    assert {row.stage for row in bundled} == set(METHODS)
    for row in bundled:
        assert callable(getattr(row.load(device="cpu"), METHODS[row.stage]))


def test_every_motion_system_names_an_existing_speech_encoder():
    encoders = {row.name for row in formats.systems("speech")}
    for row in formats.SYSTEMS:
        assert row.stage in METHODS
        assert row.speech in (encoders if row.stage == "motion" else {*encoders, ""})


def test_names_are_unique_within_a_stage():
    for rows in ([(r.stage, r.name) for r in formats.SYSTEMS], [r.name for r in formats.FORMATS]):
        assert len(rows) == len(set(rows))


def test_every_format_names_an_existing_function():
    for row in formats.FORMATS:
        assert callable(row.builder())
        assert row.markers


def test_an_unknown_system_is_refused_with_the_names_of_the_known_ones():
    with pytest.raises(PayloadError, match="no render system called 'nonsense'.*warp"):
        formats.find_system("render", "nonsense")


def test_looking_at_the_tables_loads_no_network():
    source = Path(formats.__file__).read_text(encoding="utf-8")
    assert "import torch" not in source
