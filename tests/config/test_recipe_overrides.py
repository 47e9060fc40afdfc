"""Overrides of a recipe's settings, and its block for the sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmkit.recipe import Recipe, load_recipe
from raising import raises
from recipe_parts import RECIPE, Make, refusal

# -- overrides -----------------------------------------------------------------------------------------------


def test_overrides_are_seen_by_references(make: Make) -> None:
    recipe = make(paths__data="else/where", training__epochs=9)
    assert recipe.config["data"]["dev"]["root"] == "else/where"
    assert recipe.training.epochs == 9


def shared(tmp_path: Path, **overrides: Any) -> Recipe:
    """A recipe whose splits are one section."""
    text = RECIPE[: RECIPE.index("[data.dev]")] + RECIPE[RECIPE.index("[model", RECIPE.index("[data.dev]")) :]
    text = text.replace("[data.train]", "[data]\ndev = ${data.train}\ntest = ${data.dev}\n\n[data.train]")
    (tmp_path / "shared.cfg").write_text(text)
    return load_recipe(tmp_path / "shared.cfg", {name.replace("__", "."): v for name, v in overrides.items()})


def test_a_setting_of_a_section_that_is_a_reference_can_be_overridden_there_alone(tmp_path: Path) -> None:
    plain = shared(tmp_path).config["data"]
    assert plain["train"] == plain["dev"] == plain["test"]
    data = shared(tmp_path, data__test__file="other", data__train__root="r").config["data"]
    assert data["train"] == data["dev"] == {**plain["train"], "root": "r"}
    assert data["test"] == {**data["train"], "file": "other"}


def test_a_problem_of_a_section_that_others_refer_to_is_said_once(tmp_path: Path) -> None:
    with raises("recipe.invalid") as caught:
        shared(tmp_path, data__train__file=3)
    assert str(caught.value).count("must be str, not 3") == 1 and "data.train.file" in str(caught.value)
    with raises("recipe.invalid") as caught:
        shared(tmp_path, data__dev__file=3)
    assert "data.dev.file" in str(caught.value) and "data.train.file" not in str(caught.value)


@pytest.mark.parametrize("value", [float("inf"), object(), {"a": [float("nan")]}, {1: 2}])
def test_an_override_that_no_recipe_can_hold_is_refused(make: Make, value: Any) -> None:
    assert "model.encoders.text.loose (override): cannot be" in refusal(
        make, model__encoders__text__loose=value
    )


def test_paths_and_tuples_are_written_as_json(make: Make, tmp_path: Path) -> None:
    recipe = make(paths__data=tmp_path, model__encoders__text__box=(3, 4))
    assert recipe.config["data"]["train"]["root"] == str(tmp_path)
    assert recipe.config["model"]["encoders"]["text"]["box"] == [3, 4]


def test_overrides_are_literal(make: Make) -> None:
    assert make(paths__data="${backbones.text}$").config["data"]["train"]["root"] == "${backbones.text}$"


def test_overrides_can_begin_settings_and_whole_sections(make: Make) -> None:
    recipe = make().with_overrides(
        {
            "training.loss_weights.aux": 2,
            "data.test": {"@readers": "t.rows.v1", "root": "r", "file": "f"},
            "metrics.links.@metrics": "t.f1.v1",
        }
    )
    assert recipe.training.loss_weights == {"aux": 2.0}
    assert recipe.parts("data") == ["train", "dev", "test"]
    assert recipe.parts("metrics") == ["spans", "links"]


def test_later_overrides_win_and_earlier_ones_stay(make: Make) -> None:
    recipe = make(training__epochs=5, training__clip=1).with_overrides({"training.epochs": 6})
    assert (recipe.training.epochs, recipe.training.clip) == (6, 1.0)


def test_sample_settings_of_a_replaced_section_are_not_written(tmp_path: Path) -> None:
    recipe = load_recipe("more_twitter17_moe")
    assert {"annotators.text.top", "training.epochs"} <= recipe.sample_overrides.keys()
    without = recipe.with_overrides({"annotators": {}, "training.epochs": 9})
    assert (
        "training.epochs" in without.sample_overrides
        and "annotators.text.top" not in without.sample_overrides
    )
    (tmp_path / "recipe.cfg").write_text(without.to_str(), encoding="utf-8")
    assert load_recipe(tmp_path / "recipe.cfg").config == without.config


def test_applying_the_sample_block(make: Make) -> None:
    recipe = make()
    assert recipe.with_overrides(recipe.sample_overrides).training.learning_rate == 1e-3


@pytest.mark.parametrize(
    ("dotted", "says"),
    [
        ("training.batchsize", "did you mean 'batch_size'"),
        ("trainin.epochs", "did you mean 'training'"),
        ("model.encoders.txt.name", "the recipe has no [model.encoders.txt]; did you mean 'text'?"),
        ("data.trian.file", "did you mean 'train'"),
        ("paths.dta", "did you mean 'data'?"),
        ("epochs", "training.epochs"),
        ("training.epochs.x", "training.epochs is a setting, not a section"),
        ("model.encoders.text.nme", "did you mean 'name'"),
    ],
)
def test_an_override_of_nothing_is_refused(make: Make, dotted: str, says: str) -> None:
    with raises("recipe.invalid") as error:
        make().with_overrides({dotted: 1})
    assert says in str(error.value)
    assert "(override)" in str(error.value)
