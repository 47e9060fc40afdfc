"""Searches: trials, pruning, what is written, kills, and several processes in one folder."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import mmkit
from mmkit.cli import main
from mmkit.hooks import registered
from raising import raises
from runs import Stopper
from searching import RATE, rows, search

KILLED = """
import os, signal, sys
from mmkit.cli import main
from mmkit.hooks import hookimpl, registered

class Kill:
    @hookimpl
    def mmkit_epoch_start(self, run, epoch):
        if (run.name, epoch) == ("0002", 2):
            os.kill(os.getpid(), signal.SIGKILL)

with registered(Kill()):
    main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def searched(recipe, tmp_path_factory):
    """A folder with three trials, and what the command printed."""
    folder = tmp_path_factory.mktemp("searched") / "search"
    said = search(recipe, folder, *RATE, "--training.epochs", "2", trials=3)
    return folder, said


def test_the_best_trial_is_kept_as_a_recipe(searched, recipe):
    folder, said = searched
    trials = rows(folder)
    best = max(trials, key=lambda row: row["score"])
    loaded = mmkit.load_recipe(folder / "best.cfg")
    assert loaded.training.learning_rate == best["settings"]["training.learning_rate"]
    assert loaded.training.epochs == 2
    assert [row["state"] for row in trials] == ["completed"] * 3
    assert len({row["settings"]["training.learning_rate"] for row in trials}) == 3
    for row in trials:
        facts = json.loads((folder / row["run"] / "run.json").read_text(encoding="utf-8"))
        assert row["score"] == facts["figures"]["dev"]["relations.f1"] == max(row["epoch_scores"].values())
        assert list(row["epoch_scores"]) == ["1", "2"]
    assert f"{100 * best['score']:.2f}" in said and "best.cfg" in said


def test_more_trials_go_on_and_importance_is_written(searched, recipe, tmp_path):
    folder = tmp_path / "search"
    shutil.copytree(searched[0], folder)
    before = rows(folder)
    said = search(recipe, folder, *RATE, "--training.epochs", "2", trials=4)
    assert rows(folder)[:3] == before and len(rows(folder)) == 4
    assert "trial 4 (4 of 4 done)" in said and "trial 3 (" not in said
    assert json.loads((folder / "importance.json").read_text()) == {"training.learning_rate": 1.0}
    search(recipe, folder, *RATE, "--training.epochs", "2", trials=2)  # fewer than there are: nothing to do
    assert len(rows(folder)) == 4


@pytest.mark.parametrize(
    ("words", "differs"),
    [
        (["--training.learning_rate", "1e-4..1e-1", "log"], r"training\.learning_rate was .* and is"),
        ([*RATE, "--training.batch_size", "4 | 8"], r"training\.batch_size was not set"),
        ([*RATE, "--seed", "5"], "--seed was 0 and is 5"),
        ([*RATE, "--training.clip", "0.5"], r"training\.clip was .* and is 0\.5"),
    ],
)
def test_another_search_is_refused_in_the_folder(searched, recipe, words, differs):
    with raises("search.other-search", match=differs):
        invoke(recipe, searched[0], *words, "--training.epochs", "2")


def invoke(recipe: Path, output: Path, *words: str) -> None:
    """Run the command so that its error is raised."""
    command = main.get_command(None, "search")
    options = ["--output", str(output), "--trials", "9", "--device", "cpu"]
    command.main([str(recipe), *options, *words], standalone_mode=False)


def test_other_data_are_refused(searched, recipe, tmp_path):
    folder = tmp_path / "search"
    shutil.copytree(searched[0], folder)
    content = json.loads((folder / "search.json").read_text())
    file = next(iter(content["data"]))
    content["data"][file] = "0" * 64
    (folder / "search.json").write_text(json.dumps(content))
    with raises("search.other-data", match=file):
        invoke(recipe, folder, *RATE, "--training.epochs", "2")


def test_a_folder_of_something_else_is_refused(recipe, tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with raises("search.folder-taken", match=r"mine\.txt"):
        invoke(recipe, tmp_path, *RATE)


@pytest.mark.parametrize("file", ["search.json", "study.db"])
def test_a_damaged_file_is_one_message(searched, recipe, tmp_path, file):
    folder = tmp_path / "search"
    shutil.copytree(searched[0], folder)
    (folder / file).write_bytes(b"nothing that can be read" * 100)
    with raises("search.damaged"):
        invoke(recipe, folder, *RATE, "--training.epochs", "2")


def test_a_study_of_another_space_is_refused(searched, recipe, tmp_path):
    folder = tmp_path / "search"
    shutil.copytree(searched[0], folder)
    with sqlite3.connect(folder / "study.db") as connection:
        connection.execute(
            "UPDATE trial_params SET distribution_json = replace(distribution_json, '0.01', '9.0')"
        )
    connection.close()
    with raises("search.damaged", match="another space"):
        invoke(recipe, folder, *RATE, "--training.epochs", "2")


@pytest.mark.slow
def test_hopeless_trials_are_pruned(recipe, tmp_path):
    """With a rate at which nothing is learnt; what is left of a pruned trial are its scores."""
    said = search(
        recipe, tmp_path / "s", "--training.learning_rate", "1e-9 | 3e-3", "--prune-after", "1", trials=5
    )
    trials = rows(tmp_path / "s")
    pruned = [row for row in trials if row["state"] == "pruned"]
    assert pruned and all(row["settings"]["training.learning_rate"] == 1e-9 for row in pruned)
    assert {row["state"] for row in trials} == {"pruned", "completed"} and "pruned with" in said
    for row in trials:
        run = tmp_path / "s" / row["run"]
        assert (run / "model.safetensors").exists() == (row["state"] == "completed")
        assert not (run / "checkpoint").exists()
        scored = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert len([line for line in scored if line["split"] == "dev"]) == len(row["epoch_scores"])
    assert all(len(row["epoch_scores"]) < 3 for row in pruned)


@pytest.mark.slow
def test_a_search_goes_on_where_it_was_killed(searched, recipe, tmp_path):
    """SIGKILL between two epochs of the second trial: settings and scores are those of a search without a kill."""
    words = [str(recipe), *RATE, "--training.epochs", "2", "--device", "cpu", "--output", str(tmp_path / "s")]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, "search", *words, "--trials", "3"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -9, killed.stderr
    assert [row["state"] for row in rows(tmp_path / "s")] == ["completed"]
    assert any((tmp_path / "s/trials/0002/checkpoint").glob("step-*"))
    told = Epochs()
    with registered(told):
        search(recipe, tmp_path / "s", *RATE, "--training.epochs", "2", trials=3)
    assert told.begun == [("0002", 2), ("0003", 1), ("0003", 2)]
    assert rows(tmp_path / "s") == rows(searched[0])


class Epochs:
    """Notes which epochs of which trials are trained."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int]] = []

    @mmkit.hookimpl
    def mmkit_epoch_start(self, run: Path, epoch: int) -> None:
        self.begun.append((run.name, epoch))


def test_an_interrupted_search_says_how_to_go_on(searched, recipe, tmp_path):
    with registered(Stopper("dev")), raises("search.interrupted", match="0 of 9 trials are done") as caught:
        invoke(recipe, tmp_path / "s", *RATE, "--training.epochs", "2")
    assert caught.value.exit_code == 130
    search(recipe, tmp_path / "s", *RATE, "--training.epochs", "2", trials=1)
    assert rows(tmp_path / "s") == rows(searched[0])[:1]


def test_settings_that_the_training_cannot_bear_are_a_failed_trial(recipe, tmp_path):
    said = search(
        recipe, tmp_path / "s", "--training.learning_rate", "1e30 | 1e32", "--training.clip", "0", trials=1
    )
    (row,) = rows(tmp_path / "s")
    assert row["state"] == "failed" and row["score"] is None and row["error"] and "failed" in said
    assert not (tmp_path / "s/best.cfg").exists()


@pytest.mark.matrix
def test_two_workers_share_the_trials(recipe, tmp_path):
    search(recipe, tmp_path / "s", *RATE, "--training.epochs", "1", "--workers", "2", trials=4)
    trials = rows(tmp_path / "s")
    assert [row["trial"] for row in trials] == [1, 2, 3, 4]
    assert [row["state"] for row in trials] == ["completed"] * 4
    assert len({row["settings"]["training.learning_rate"] for row in trials}) == 4


def test_the_database_holds_no_pickles(searched):
    """Optuna's samplers that keep their state in the database pickle it; the one that is used keeps none."""
    with sqlite3.connect(searched[0] / "study.db") as connection:
        for table in ("study_system_attributes", "trial_system_attributes", "study_user_attributes"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    connection.close()
