"""What `mmkit.train` takes from Python, and what it returns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mmkit
from mmkit.config.text import read
from raising import raises


@pytest.fixture(scope="module")
def result(sample_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> mmkit.Result:
    folder = tmp_path_factory.mktemp("result") / "run"
    return mmkit.train(sample_recipe, {"training.epochs": 2}, folder, device="cpu")


def test_it_has_the_run_and_its_scores(result: mmkit.Result) -> None:
    facts = json.loads((result.run / "run.json").read_text(encoding="utf-8"))
    assert result.figures == facts["figures"]
    assert result["best_epoch"] == facts["best_epoch"]
    assert {**result, "format": 1} == facts
    assert mmkit.load(result.run, device="cpu").figures == result.figures
    assert result.recipe.training.epochs == 2


def test_its_history_has_every_score(result: mmkit.Result) -> None:
    lines = (result.run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert result.history == [json.loads(line) for line in lines]
    dev = [line["spans.f1"] for line in result.history if line["split"] == "dev"]
    assert len(dev) == 2
    assert max(dev) == result.figures["dev"]["spans.f1"]
    losses = [line["loss"] for line in result.history if line["split"] == "train"]
    assert losses[-1] < losses[0]


def test_its_repr_says_what_became_of_it(result: mmkit.Result) -> None:
    first, second, *others = repr(result).splitlines()
    assert first == f"mmkit.Result in {result.run}"
    epoch = result["best_epoch"]
    assert second == f"  completed after 2 epochs and {result['updates']} updates; the best epoch is {epoch}"
    score = result.figures["test"]["spans.f1"]
    assert others[-1] == f"  test: spans.f1 {score:.4f}"


def test_a_damaged_history_is_one_message(result: mmkit.Result, tmp_path: Path) -> None:
    damaged = mmkit.Result(tmp_path, result.facts, result.recipe)
    with raises("run.damaged", match="the log of the run cannot be read"):
        damaged.history  # noqa: B018
    (tmp_path / "metrics.jsonl").write_text('{"split": ', encoding="utf-8")
    with raises("run.damaged", match="the log of the run cannot be read"):
        damaged.history  # noqa: B018


def test_a_dictionary_is_trained_as_the_file_is(
    result: mmkit.Result, sample_recipe: Path, tmp_path: Path
) -> None:
    content = read(sample_recipe).tree
    same = mmkit.train(content, {"training.epochs": 2}, tmp_path / "same", device="cpu")
    assert same.figures == result.figures
    weights = "model.safetensors"
    assert (same.run / weights).read_bytes() == (result.run / weights).read_bytes()


def test_two_folders_are_refused(sample_recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="one output folder"):
        mmkit.train(sample_recipe, tmp_path / "a", tmp_path / "b")


def test_a_name_is_checked(sample_recipe: Path) -> None:
    with raises("recipe.missing", match="did you mean 'hvpnet_twitter15'"):
        mmkit.train("hvpnet_twiter15")
    with raises("recipe.missing", match="there is no such recipe"):
        mmkit.check("no_such_recipe_at_all")
    assert list(mmkit.check(sample_recipe)) == ["train", "dev", "test"]


def test_a_text_becomes_an_example() -> None:
    example = mmkit.Example.from_text(
        "1", "look at Jordan!", [(8, 14, "PER")], images=(mmkit.Image("x.jpg"),)
    )
    assert example.tokens == ("look", "at", "Jordan", "!")
    assert example.offsets[3] == (14, 15)
    assert example.spans == (mmkit.Span(2, 3, "PER"),)
    assert example.images[0].path == "x.jpg"
    assert mmkit.Example.from_text("2", "").tokens == ()
    for start, end in ((8, 13), (9, 14), (14, 8), (8, 99), (-7, 14)):
        with raises(
            "offsets.misaligned", match=r"are not whole tokens\n  → the tokens are: look . at . Jordan"
        ):
            mmkit.Example.from_text("3", "look at Jordan!", [(start, end, "PER")])
