"""What cannot be done at all is said before what is wrong with the request, and a hint names what would do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mmkit.cli import main
from mmkit.recipe_names import recipes_with
from mmkit.tasks import LinkTask, PairTask, SpanTask, Task
from posts import CLASSIFIER, pair, post, recipe_of
from raising import raises


@pytest.fixture
def tagger(tmp_path: Path) -> Path:
    """A folder that a tagger's run would be, as far as requests are looked at before anything is loaded."""
    recipe_of(tmp_path, [post(0)], [post(1)])
    return (tmp_path / "own.cfg").rename(tmp_path / "recipe.cfg").parent


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--text", "Jordan scored", "--head", "Jordan", "--tail", "Paris"],
            "this model classifies no pairs",
        ),
        (["--head", "Jordan"], "this model classifies no pairs"),
        (["--text", "Jordan", "--image", "none.jpg", "--mention", "Paris"], "this model links no mentions"),
        (["--candidate", "Q1", "--input", "none.jsonl"], "this model links no mentions"),
        (["--entities", "none.jsonl", "--input", "none.jsonl"], "this model answers from no knowledge base"),
        (["--entities", "none.jsonl"], "this model answers from no knowledge base"),
    ],
)
def test_a_tagger_says_first_that_it_is_one(tagger: Path, arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(main, ["predict", str(tagger), *arguments])
    assert done.exit_code == 2 and said in done.output
    assert "Paris" not in done.output and "none.jpg" not in done.output


@pytest.mark.parametrize(
    ("task", "given", "said"),
    [
        (SpanTask(), {"head": "Jordan", "tail": "Paris"}, "classifies no pairs"),
        (LinkTask(), {"head": "Jordan", "tail": "Paris"}, "classifies no pairs"),
        (PairTask(), {"mention": "Paris", "head": "Rome"}, "links no mentions"),
    ],
)
def test_in_python_too(task: Task, given: dict[str, Any], said: str) -> None:
    with raises("input.not-for-task", match=said):
        task.example("Jordan scored", ["none.jpg"], given)


def test_annotate_names_recipes_that_have_annotators(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, [pair(0, "r")], [pair(1, "r")], parts=CLASSIFIER)
    done = CliRunner().invoke(main, ["annotate", str(recipe.path)])
    assert done.exit_code == 0 and "the recipe has no [annotators]" in done.output
    assert "recipes that have some: " in done.output and "dim_" in done.output
    near = recipes_with("annotators", "hvpnet_twitter15")
    assert near[:3] == ["more_twitter15_image", "more_twitter15_moe", "more_twitter15_text"]
    assert "hvpnet_twitter15" not in near and "dim_wikimel" in near
