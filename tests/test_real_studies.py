"""`benchmarks/real`: scripts that go on after a kill, and whose results are those of the reports."""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmkit.errors import Interrupted, RunError
from mmkit.hooks import hookimpl, registered
from mmkit.loading.stand_ins import tiny
from mmkit.recipe import load_recipe
from mmkit_report.analysis import figures, labels
from mmkit_report.comparison import compare
from mmkit_report.scored import read_scored

SCRIPTS = Path(__file__).resolve().parents[1] / "benchmarks" / "real"
SEEDS = (1, 2)

pytestmark = pytest.mark.matrix


@pytest.fixture(scope="module")
def scripts() -> SimpleNamespace:
    """The study of `more_contexts.py`, and the modules beside it."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        modules = {name: importlib.import_module(name) for name in ("arms", "command")}
        return SimpleNamespace(study_of=importlib.import_module("more_contexts").study_of, **modules)
    finally:
        sys.path.remove(str(SCRIPTS))


def write_data(folder: Path) -> None:
    """Posts in which only the context says what a name is."""
    folder.mkdir(parents=True)
    posts = [(name, kind) for name in ("Jordan", "Paris", "Lincoln") for kind in ("PER", "LOC")]
    for file, times in (("train.txt", 4), ("valid.txt", 1), ("test.txt", 2)):
        lines: list[str] = []
        for name, kind in posts * times:
            told = "person" if kind == "PER" else "place"
            lines += ["look\tO", "at\tO", f"{name}\tB-{kind}", "<EOS>\tX", "a\tX", f"{told}\tX", ""]
        (folder / file).write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, scripts: SimpleNamespace) -> argparse.Namespace:
    """What the command line gives: data, a tiny encoder, folders, and that two seeds were made."""
    folder = tmp_path_factory.mktemp("real")
    write_data(folder / "data")
    recipe = tiny(load_recipe("more_twitter17_baseline", {"paths.data": str(folder / "data")}))
    shutil.copytree(recipe.config["model"]["encoders"]["text"]["name"], folder / "models" / "minilm")
    arguments = argparse.Namespace(
        dataset="twitter2017", data=folder / "data", models=folder / "models", epochs=2, folder=folder
    )
    make(scripts, arguments, SEEDS)
    return arguments


def make(
    scripts: SimpleNamespace, arguments: argparse.Namespace, seeds: tuple[int, ...]
) -> dict[str, object]:
    """All arms with these seeds, and the summary of what is there."""
    study = scripts.study_of(arguments)
    results = arguments.folder / "results"
    made = scripts.arms.make(study, study.arms, seeds, arguments.folder / "runs", results)
    assert len(list(made)) == len(study.arms) * len(seeds)
    scripts.command.summarised(study, results)
    return json.loads((results / f"{study.name}.json").read_text(encoding="utf-8"))


def runs_of(arguments: argparse.Namespace) -> Path:
    return arguments.folder / "runs" / "more_contexts_twitter2017"


def result_of(arguments: argparse.Namespace, name: str) -> Path:
    return arguments.folder / "results" / "more_contexts_twitter2017" / f"{name}.json"


def test_a_result_says_what_the_report_says(given: argparse.Namespace) -> None:
    told = json.loads(result_of(given, "contexts_seed1").read_text(encoding="utf-8"))
    scored = read_scored(runs_of(given) / "contexts" / "seed1", "test")
    assert told["labels"] == labels(scored, "span")
    assert told["scores"]["test"]["spans.f1"] == scored.figures["spans.f1"]
    (f1,) = (x for x in figures(scored, 10_000) if x["name"] == "spans.f1")
    assert (told["interval"]["low"], told["interval"]["high"]) == pytest.approx(f1["interval"])


def test_a_result_names_no_folder_of_the_machine(given: argparse.Namespace) -> None:
    for path in (given.folder / "results").rglob("*.json"):
        assert str(given.folder) not in path.read_text(encoding="utf-8")
    told = json.loads(result_of(given, "text_seed1").read_text(encoding="utf-8"))
    assert {split: [x["file"] for x in files] for split, files in told["data"].items()} == {
        "train": ["train.txt"],
        "dev": ["valid.txt"],
        "test": ["test.txt"],
    }


def test_the_summary_is_that_of_compare(given: argparse.Namespace) -> None:
    runs = runs_of(given)
    summary = json.loads((given.folder / "results" / f"{runs.name}.json").read_text(encoding="utf-8"))
    found = compare([runs / name for name in ("text", "contexts", "two_views")], "test")
    assert [row["seeds"] for row in summary["arms"]] == [[1, 2]] * 3
    for row, group in zip(summary["arms"], found.groups, strict=True):
        spread = group.figure("spans.f1")
        assert spread is not None
        assert (row["test"]["mean"], row["test"]["std"]) == pytest.approx((spread.mean, spread.std))
    for row, test, corrected in zip(
        summary["arms"][1:], found.tests["spans.f1"], found.corrected["spans.f1"], strict=True
    ):
        told = row["difference"]
        assert [told[name] for name in test._fields] == pytest.approx(list(test))
        assert told["p_holm"] == pytest.approx(corrected)


def test_what_is_finished_is_not_trained_again(
    given: argparse.Namespace, scripts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = result_of(given, "text_seed1").read_bytes()
    counts = json.loads(before)["counts"]
    result_of(given, "text_seed1").unlink()
    monkeypatch.delattr(scripts.arms, "train")  # a call would be an error
    make(scripts, given, SEEDS)
    assert json.loads(result_of(given, "text_seed1").read_bytes())["counts"] == counts


class Stops:
    """Stops a training as Ctrl-C does."""

    @hookimpl
    def mmkit_step(self, step: int) -> None:
        if step == 2:
            raise KeyboardInterrupt


def test_an_interrupted_script_goes_on_to_the_same_result(
    given: argparse.Namespace, scripts: SimpleNamespace, tmp_path: Path
) -> None:
    study = scripts.study_of(given)
    (arm, *_) = study.arms
    with registered(Stops()), pytest.raises(Interrupted):
        list(scripts.arms.make(study, [arm], [1], tmp_path / "runs", tmp_path / "results"))
    assert not list(tmp_path.rglob("results/*"))
    (again,) = scripts.arms.make(study, [arm], [1], tmp_path / "runs", tmp_path / "results")
    whole = json.loads(result_of(given, "text_seed1").read_text(encoding="utf-8"))
    assert (again.content["scores"], again.content["counts"]) == (whole["scores"], whole["counts"])


def test_what_is_not_there_yet_is_shown_as_such(
    given: argparse.Namespace, scripts: SimpleNamespace, tmp_path: Path
) -> None:
    shutil.copytree(given.folder / "results", tmp_path / "results")
    study = scripts.study_of(given)
    results = tmp_path / "results" / study.name
    (results / "contexts_seed2.json").unlink()
    for path in results.glob("two_views*"):
        path.unlink()
    scripts.command.summarised(study, tmp_path / "results")
    rows = json.loads(results.with_suffix(".json").read_text(encoding="utf-8"))["arms"]
    assert [row["seeds"] for row in rows] == [[1, 2], [1], []]
    assert rows[1]["difference"]["seeds"] == [1]  # text alone has both, but only one can be compared
    assert rows[1]["difference"]["each"] == [rows[1]["difference"]["difference"]]
    assert "test" not in rows[2]


def test_results_of_other_settings_are_refused(given: argparse.Namespace, scripts: SimpleNamespace) -> None:
    other = argparse.Namespace(**{**vars(given), "epochs": 3})
    with pytest.raises(RunError, match=r"text_seed1\.json"):
        make(scripts, other, SEEDS)
