"""`python -m soliloquy prepare | train | evaluate`, in this process."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from soliloquy.__main__ import main
from soliloquy.training import recipes

from .training.test_evaluate import clip, write_clip


@dataclass(frozen=True, kw_only=True)
class Toy:
    steps: int = 3
    rates: tuple[float, ...] = (0.1, 0.2)

    def run(self, folder: Path, on_log=None):
        folder.mkdir(parents=True)
        on_log(self.steps, {"loss": 0.5}, None)
        (folder / "weights").write_text(repr(self))


@pytest.fixture
def toy(monkeypatch):
    def recipe():
        """A toy."""
        return Toy()

    monkeypatch.setitem(recipes.RECIPES, "toy", recipe)


def test_a_recipe_runs_with_changed_fields(tmp_path, toy, capsys):
    output = str(tmp_path / "out")
    assert main(["train", "toy", "-o", output, "--set", "steps=7", "rates=1,2"]) == 0
    assert (tmp_path / "out" / "weights").read_text() == "Toy(steps=7, rates=(1.0, 2.0))"
    assert "step 7: loss 0.5" in capsys.readouterr().out


def test_a_configuration_is_shown_as_it_can_be_set(toy, capsys):
    assert main(["train", "toy", "--show", "--set", "steps=9"]) == 0
    assert capsys.readouterr().out == "steps=9\nrates=0.1,0.2\n"
    assert main(["train", "list"]) == 0
    assert "A toy." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "absent"], "is not a recipe"),
        (["train", "toy", "--set", "steps=few"], "must be of type int"),
        (["train", "toy", "--set", "pace=1"], "is not one of"),
        (["train", "ksdiff", "--set", "data=absent", "-o", "{out}"], "no sessions"),
        (["prepare", "absent", "{out}"], "no folder 'absent'"),
        (["evaluate", "absent"], "soliloquy prepare"),
        (["evaluate", "absent", "--seeds", "0"], "1 or more"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(arguments, told, toy, tmp_path, capsys):
    given = [word.replace("{out}", str(tmp_path / "out")) for word in arguments]
    assert main(given) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_clips_are_evaluated_into_a_table_and_json(tmp_path, capsys):
    write_clip(clip(), tmp_path / "one.npz")
    file = tmp_path / "numbers.json"
    assert main(["evaluate", str(tmp_path), "--seeds", "1", "--json", str(file)]) == 0
    assert "lip aperture r" in capsys.readouterr().out
    assert json.loads(file.read_text())["mean"]["head diversity"] > 0
