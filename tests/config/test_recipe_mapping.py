"""Recipes from dictionaries: they say what files say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mmkit
from mmkit.config.mapping import source_of
from mmkit.config.text import parse, write
from raising import raises

PARTS: dict[str, Any] = {
    "recipe": {"format": 1, "seed": 7},
    "paths": {"data": Path("data")},
    "data": {
        "train": {"@readers": "mmkit.conll_images.v1", "root": "${paths.data}", "file": "train.txt"},
        "dev": {"@readers": "mmkit.conll_images.v1", "root": "${paths.data}", "file": "valid.txt"},
    },
    "model.encoders.text": {"@encoders": "mmkit.transformer.v1", "name": "bert-base-uncased"},
    "model.encoders.vision": {"@encoders": "mmkit.timm.v1", "name": "resnet18"},
    "model": {
        "fuser": {"@fusers": "mmkit.concat.v1"},
        "decoder": {"@decoders": "mmkit.crf_tagger.v1"},
    },
    "metrics.spans": {"@metrics": "mmkit.span_f1.v1"},
    "training": {"epochs": 2, "score": "spans.f1", "betas": (0.9, 0.99)},
}


def test_it_is_loaded_like_a_file(tmp_path: Path) -> None:
    recipe = mmkit.load_recipe(PARTS, {"training.epochs": 3, "paths.data": "there"})
    assert recipe.config["data"]["train"]["root"] == "there"
    assert recipe.training.epochs == 3
    assert recipe.training.betas == [0.9, 0.99]
    assert recipe.name == "recipe"
    (tmp_path / "same.cfg").write_text(recipe.to_str(), encoding="utf-8")
    assert mmkit.load_recipe(tmp_path / "same.cfg").config == recipe.config


def test_a_recipe_is_a_recipe() -> None:
    recipe = mmkit.load_recipe(PARTS)
    assert mmkit.load_recipe(recipe) is recipe
    assert mmkit.load_recipe(recipe, {"training.epochs": 5}).training.epochs == 5
    assert recipe.training.epochs == 2


def test_its_problems_have_names_and_no_lines() -> None:
    wrong = {**PARTS, "training": {"epoch": 2, "score": "spans.f1"}}
    with raises("recipe.invalid", match=r"recipe: training\.epoch: there is no such setting; did you mean"):
        mmkit.load_recipe(wrong)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epochs": 3}, "epochs is a setting without a section"),
        ({3: {}}, "3 is not a section's name"),
        ({"a b": {}}, '"a b" is not a section'),
        ({"training": {1: 2}}, "training: the name of a setting is text, not 1"),
        ({"training": {"epochs": {1, None}}}, r"training\.epochs cannot be"),
        ({"training": {"epochs": float("nan")}}, r"training\.epochs cannot be NaN"),
        ({"training": {"epochs": [object()]}}, r"training\.epochs cannot be \"<object"),
        ({"model": {"fuser": 3}, "model.fuser.x": {"a": 1}}, r"model\.fuser\.x is a setting as well as a"),
        ({"model.fuser": {"a": 1}, "model": {"fuser": {"a": 2}}}, r"model\.fuser is here a second time"),
    ],
)
def test_what_a_file_could_not_say_is_refused(given: Any, said: str) -> None:
    with raises("recipe.syntax", match=said):
        mmkit.load_recipe(given)


def test_a_dictionary_in_itself_ends() -> None:
    circle: dict[str, Any] = {}
    circle["training"] = {"groups": circle}
    with raises("recipe.syntax", match="is too deep"):
        mmkit.load_recipe(circle)


NAMES = st.text("abcxyz", min_size=1, max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, max_size=4), min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_a_written_dictionary_is_the_file(sections: dict[str, Any]) -> None:
    """What `write` writes of a tree, `parse` reads; without references it is what the dictionary says."""
    text = write(sections)
    read = parse(text, Path("x.cfg")).tree
    assert source_of(read).tree == read
