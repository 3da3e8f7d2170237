"""Recipes by name, and changing their fields."""

import dataclasses
from pathlib import Path

import pytest
from soliloquy.models.payloads import PayloadError
from soliloquy.training.recipes import RECIPES, find_recipe, override, parse


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_a_frozen_configuration_that_runs(name):
    recipe = find_recipe(name)
    assert dataclasses.is_dataclass(recipe)
    assert callable(recipe.run)
    assert RECIPES[name].__doc__
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.seed = 1


def test_fields_change_by_name_in_depth_too():
    recipe = override(
        find_recipe("ksdiff"),
        ["loop.steps=10", "speech.dilations=1,2", "data=there", "dual=false", "lips=0.5"],
    )
    assert recipe.loop.steps == 10
    assert recipe.speech.dilations == (1, 2)
    assert recipe.data == Path("there")
    assert recipe.dual is False
    assert recipe.lips == 0.5
    assert find_recipe("ksdiff").loop.steps != 10


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ("steps=10", "'steps' is not one of"),
        ("loop=10", "loop.steps"),
        ("loop.steps=many", "must be of type int"),
        ("dual=perhaps", "must be of type bool"),
        ("batch.size=1", "a value without fields"),
        ("batch", "not of the form key=value"),
    ],
)
def test_what_cannot_be_set_is_refused_in_words(assignment, told):
    with pytest.raises(PayloadError, match=told):
        override(find_recipe("ksdiff"), [assignment])


def test_optional_values_can_be_none():
    assert parse("none", int | None, "x") is None
    assert parse("3", int | None, "x") == 3


def test_an_unknown_recipe_lists_the_known_ones():
    with pytest.raises(PayloadError, match="starter"):
        find_recipe("sftarter")


def test_ablations_switch_off_what_they_say():
    assert not find_recipe("ksdiff_without_disentanglement").speech.disentangled
    assert not find_recipe("ksdiff_without_dual_path").dual
    assert find_recipe("ksdiff_without_keyframes").pose.keyframes == 0
    assert not find_recipe("ksdiff_without_prosody").speech.prosody
    assert not find_recipe("ksdiff_without_transcript").expression.transcript
