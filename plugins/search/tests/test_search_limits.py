"""`--timeout`, `--keep`, and several calls in one folder at the same time."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import mmkit
from mmkit.hooks import registered
from mmkit_search.plan import make_plan, read_given
from mmkit_search.storage import Search
from raising import raises
from searching import RATE, rows, search

EPOCHS = ["--training.epochs", "2"]


@pytest.fixture(scope="module")
def searched(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search with two trials."""
    folder = tmp_path_factory.mktemp("searched") / "search"
    search(recipe, folder, *RATE, *EPOCHS, "--keep", "all")
    return folder


class Clock:
    """A clock that goes forward by two hours when the second trial begins."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    @mmkit.hookimpl
    def mmkit_epoch_start(self, run: Path, epoch: int) -> None:
        if (run.name, epoch) == ("0002", 1):
            self.ahead = 7200.0


@pytest.mark.slow
def test_a_search_stops_when_its_time_is_up_and_goes_on_later(searched, recipe, tmp_path, monkeypatch):
    """The trial in progress is kept; its settings and scores are those of a search that was not stopped."""
    clock = Clock()
    monkeypatch.setattr("mmkit_search.trial.time", clock)
    with registered(clock):
        said = search(recipe, tmp_path / "s", *RATE, *EPOCHS, "--timeout", "1h")
    assert "the time is up; run the same command again to go on" in said
    first, second = rows(tmp_path / "s")
    assert first == rows(searched)[0]
    assert second["state"] == "unfinished" and list(second["epoch_scores"]) == ["1"]
    said = search(recipe, tmp_path / "s", *RATE, *EPOCHS, "--timeout", "10h")
    assert rows(tmp_path / "s") == rows(searched) and "the time is up" not in said


def test_a_search_without_time_left_begins_no_trial(recipe, tmp_path, monkeypatch):
    class Late:
        @staticmethod
        def monotonic() -> float:
            return time.monotonic() + 7200

    monkeypatch.setattr("mmkit_search.trial.time", Late)
    said = search(recipe, tmp_path / "s", *RATE, *EPOCHS, "--timeout", "1h")
    assert "the time is up" in said and rows(tmp_path / "s") == []
    assert not (tmp_path / "s/best.cfg").exists()


@pytest.mark.parametrize("given", ["0", "0m", "2 weeks", "-1h", "soon"])
def test_what_is_no_time_is_refused(recipe, tmp_path, given):
    said = search(recipe, tmp_path / "s", *RATE, f"--timeout={given}", code=2)
    assert "is not a time: write 90s, 30m, 2h or 1.5d" in said and not (tmp_path / "s").exists()


def weights(folder: Path) -> list[str]:
    """The trials whose weights are there; the scores of all must be."""
    assert all((run / "run.json").is_file() for run in (folder / "trials").iterdir())
    return sorted(file.parent.name for file in folder.glob("trials/*/model.safetensors"))


@pytest.mark.parametrize(("keep", "kept"), [("all", 2), ("completed", 2), ("best", 1)])
def test_weights_are_kept_as_asked(searched, recipe, tmp_path, keep, kept):
    folder = tmp_path / "search"
    shutil.copytree(searched, folder)
    before = rows(folder)
    search(recipe, folder, *RATE, *EPOCHS, "--keep", keep)  # no trial is left to run
    best = max(before, key=lambda row: row["score"])
    assert len(weights(folder)) == kept and f"{best['trial']:04d}" in weights(folder)
    assert rows(folder) == before
    found = mmkit.load(folder / best["run"], device="cpu")
    assert found.figures["dev"]["relations.f1"] == best["score"]


@pytest.mark.parametrize(("keep", "kept"), [("all", ["0001", "0002"]), ("completed", ["0002"])])
def test_a_pruned_trial_keeps_its_weights_only_with_all(searched, recipe, tmp_path, keep, kept):
    folder = tmp_path / "search"
    shutil.copytree(searched, folder)
    with sqlite3.connect(folder / "study.db") as connection:
        connection.execute("UPDATE trials SET state = 'PRUNED' WHERE number = 0")
    connection.close()
    search(recipe, folder, *RATE, *EPOCHS, "--keep", keep)
    assert weights(folder) == kept and rows(folder)[0]["state"] == "pruned"


@pytest.fixture
def opened(recipe: Path, tmp_path: Path) -> Iterator[list[Search]]:
    """The same search, opened by two calls at the same time."""
    plan = make_plan(mmkit.load_recipe(recipe), read_given(None, ["--training.learning_rate=1e-4..1e-2 log"]))
    both = [Search(tmp_path / "s", plan, 0) for _ in range(2)]
    for one in both:
        one.open()
    yield both


def test_two_calls_at_the_same_time_share_the_trials(opened):
    claimed = [opened[i].claim(3) for i in (0, 1, 0, 1)]
    assert [one and one.frozen.number for one in claimed] == [0, 1, 2, None]
    assert claimed[1] is not None
    claimed[1].lock.release()  # as if its process were killed
    again = opened[0].claim(3)
    assert again is not None and again.frozen.number == 1
    assert again.frozen.params == claimed[1].frozen.params


def test_a_second_call_that_searches_something_else_is_refused(opened, recipe):
    other = make_plan(
        mmkit.load_recipe(recipe), read_given(None, ["--training.learning_rate=1e-5..1e-2 log"])
    )
    with raises("search.other-search", match=r"training\.learning_rate was"):
        Search(opened[0].folder, other, 0).open()


@pytest.mark.matrix
@pytest.mark.slow
def test_two_commands_in_one_folder_run_each_trial_once(recipe, tmp_path):
    command = [sys.executable, "-m", "mmkit", "search", str(recipe), *RATE, "--training.epochs", "1"]
    command += ["--output", str(tmp_path / "s"), "--trials", "4", "--device", "cpu"]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    said = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    run = [int(number) for number in re.findall(r"^trial (\d+) \(", "\n".join(said), re.MULTILINE)]
    assert sorted(run) == [1, 2, 3, 4]
    assert [row["state"] for row in rows(tmp_path / "s")] == ["completed"] * 4
