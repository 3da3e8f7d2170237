import json

import pytest
import torch

from .loaded import host_double
from .loaded import motion_files as nodes
from .performance import same, talking


@pytest.fixture(autouse=True)
def state(tmp_path):
    host_double.STATE.reset(tmp_path)
    return host_double.STATE


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_what_is_saved_can_be_loaded(tmp_path, kind):
    motion = talking()
    saved = nodes.SaveMotion.execute(motion, "soliloquy/take", kind, False)
    name = saved.ui.value.removeprefix("output/")
    assert (tmp_path / "output" / name).is_file()
    listed = nodes.LoadMotion.define_schema().inputs[0].options
    assert listed == [f"{name} [output]"]
    loaded = nodes.LoadMotion.execute(listed[0], 0.0).result[0]
    assert same(loaded, motion)
    again = nodes.SaveMotion.execute(motion, "soliloquy/take", kind, False)
    assert again.ui.value != saved.ui.value


def test_landmarks_are_added_on_request(tmp_path):
    saved = nodes.SaveMotion.execute(talking(4), "take", "json", True).ui.value
    value = json.loads((tmp_path / saved).read_text())
    assert len(value["landmarks68"]) == 4


def test_a_loaded_motion_is_brought_to_the_length_of_a_sound():
    saved = nodes.SaveMotion.execute(talking(25), "soliloquy/take", "json", False)
    name = saved.ui.value.removeprefix("output/") + " [output]"
    audio = {"waveform": torch.zeros(1, 1, 32000), "sample_rate": 16000}
    loaded = nodes.LoadMotion.execute(name, 50.0, audio)
    assert loaded.result[0].timeline.num_frames == 100
    assert "held" in loaded.ui.value


def test_a_motion_file_is_read_again_once_it_changes(tmp_path):
    file = tmp_path / "input" / "a.json"
    file.write_text("{}")
    before = nodes.LoadMotion.fingerprint_inputs("a.json", fps=0)
    file.write_text("{ }")
    assert nodes.LoadMotion.fingerprint_inputs("a.json", fps=0) != before
    assert nodes.LoadMotion.validate_inputs("a.json") is True
    assert "There is no file" in nodes.LoadMotion.validate_inputs("b.json")
    assert "There is no file" in nodes.LoadMotion.validate_inputs(None)
    assert "leads out" in nodes.LoadMotion.validate_inputs("../a.json")
