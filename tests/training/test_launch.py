"""A run goes on by itself only in the processes of the torchrun that began it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mmkit.runs.folder import Run
from mmkit.terminal.elastic import ERROR_FILE, agent
from mmkit.training import launch, seeds
from mmkit.training.launch import Launch

ID, COUNT = "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"


@pytest.fixture(autouse=True)
def without_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (ERROR_FILE, ID, COUNT):
        monkeypatch.delenv(name, raising=False)


def test_an_agent_is_the_same_in_every_attempt_and_process(monkeypatch: pytest.MonkeyPatch) -> None:
    names = set()
    for attempt, rank in ((0, 0), (0, 1), (3, 1)):
        monkeypatch.setenv(ERROR_FILE, f"/tmp/torchelastic_1/news_2/attempt_{attempt}/{rank}/error.json")
        names.add(agent())
    assert len(names) == 1 and "" not in names
    monkeypatch.setenv(ERROR_FILE, "/tmp/torchelastic_1/news_3/attempt_0/0/error.json")
    assert agent() not in names


@pytest.mark.parametrize("file", ["", os.devnull, "error.json", "0/error.json"])
def test_without_a_folder_the_id_of_the_rendezvous_names_the_agent(
    file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ERROR_FILE, file)
    assert agent() == ""
    monkeypatch.setenv(ID, "17")
    one = agent()
    monkeypatch.setenv(ID, "18")
    assert one and agent() and one != agent()


def test_all_processes_know_of_a_restart_and_of_all_agents(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other machine has joined later: its torchrun has started once."""
    monkeypatch.setattr(launch, "gather_object", lambda told: told)
    assert Launch.of_all() == Launch()
    monkeypatch.setenv(ID, "own")
    monkeypatch.setenv(COUNT, "2")
    own = agent()
    monkeypatch.setattr(launch, "gather_object", lambda told: [(0, "other"), *told, (2, own), (0, "")])
    assert Launch.of_all() == Launch(2, tuple(sorted((own, "other"))))


def test_a_run_is_of_those_who_began_it(tmp_path: Path) -> None:
    ours, others = Launch(1, ("a", "b")), Launch(1, ("c",))
    run = Run(tmp_path / "run")
    assert ours.began(run) and others.began(run), "there is no run"
    run.create()
    ours.mark(run)
    assert ours.began(run) and others.began(run), "there is nothing in it"
    (run.folder / "recipe.cfg").write_text("", encoding="utf-8")
    assert ours.began(run) and Launch(1, ("b",)).began(run), "one of the machines is still there"
    assert not others.began(run) and not Launch(1).began(run)
    run.save_json(ours.facts())
    ours.unmark(run)
    assert sorted(file.name for file in run.folder.iterdir()) == ["recipe.cfg", "run.json"]
    assert ours.began(run) and Launch(1, ("b", "x")).began(run)
    assert not others.began(run) and not Launch(1).began(run)


def test_runs_of_seeds_are_of_those_who_began_all_of_them(tmp_path: Path) -> None:
    ours, others = Launch(1, ("a",)), Launch(1, ("c",))
    folder = tmp_path / "seeds"
    assert seeds._began(folder, ours)
    for number in (1, 2):
        run = Run(folder / f"seed-{number}")
        run.create()
        assert seeds._began(folder, ours), "a run that has only its folder"
        run.save_json(ours.facts())
    assert seeds._began(folder, ours) and not seeds._began(folder, others)
    Run(folder / "seed-2").save_json(others.facts())
    assert not seeds._began(folder, ours)
    (tmp_path / "notes.txt").touch()
    assert not seeds._began(tmp_path, ours), "no runs, but something else"


@pytest.mark.parametrize("facts", [{}, {"launch": None}, {"launch": "a"}, {"launch": [{}, 1]}])
def test_a_run_that_does_not_say_it_is_a_strangers(facts: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    assert not Launch(1, ("a",)).began(Run(tmp_path))


def test_a_folder_of_no_run_is_a_strangers(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    assert not Launch(1, ("a",)).began(Run(tmp_path))
    assert not Launch(1, ("a",)).began(Run(tmp_path / "notes.txt"))
