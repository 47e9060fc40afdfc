"""Trackers of third parties: what training tells them, when they fail, and when a run is resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import mmkit
from mmkit.cli import main
from mmkit.data.types import Example, Prediction, Relation, Span
from mmkit.errors import Interrupted
from mmkit.hooks import hookimpl, registered
from mmkit.inference.evaluate import evaluate
from mmkit.training import tracking
from mmkit.training.seeds import train_seeds
from mmkit.training.tables import label_tables, marked, shown
from mmkit.training.train import train
from raising import raises
from runs import Notes, Stopper, equal, lines
from tracking import Plugin, calls
from tracking import __file__ as tracking_support


def test_a_third_partys_tracker_is_told_of_the_run(recipe, tmp_path):
    notes = Notes()
    loaded = recipe(trackers=["file"], epochs=2, log_every=3, learning_rate=3e-3)
    result = train(loaded, tmp_path / "run", device="cpu", hooks=[Plugin(), notes])
    told = calls(tmp_path / "run")
    assert [told[0], told[1]["kind"], told[1]["name"]] == [
        {"kind": "start", "name": "run", "project": loaded.name, "id": "", "epochs": 2},
        "text",
        "recipe",
    ]
    assert told[1]["text"] == loaded.to_str()
    assert told[-1] == {"kind": "finish", "status": "completed", "thread": "tracker file"}
    scalars = [(call["step"], call["values"]) for call in told if call["kind"] == "scalars"]
    logged = lines(tmp_path / "run")
    expected = [
        (
            line["step"],
            {f"{line['split']}/{name}": value for name, value in line.items() if name not in PLACE},
        )
        for line in logged
    ]
    assert scalars == expected
    names = {name for _, values in scalars for name in values}
    wanted = {
        "train/loss",
        "train/learning_rate",
        "train/examples_per_second",
        "dev/spans.f1",
        "test/spans.f1",
    }
    assert wanted <= names
    tables = {call["name"]: call for call in told if call["kind"] == "table"}
    assert list(tables) == ["dev/labels", "test/labels", "dev/predictions"]
    labels, predictions = tables["dev/labels"], tables["dev/predictions"]
    row = dict(zip(labels["columns"], labels["rows"][0], strict=True))
    assert row["spans.f1"] == result.figures["dev"][f"spans.f1.{row['label']}"]
    assert predictions["columns"] == ["id", "photos", "gold", "predicted"]
    assert len(predictions["rows"]) == 20 and predictions["step"] == result["best_step"]
    assert any("](PER)" in gold for _, _, gold, _ in predictions["rows"])
    (place,) = (note for note in notes.said if note.startswith("tracked by file"))
    assert place == "tracked by file; to see it: http://***@example.org/"


PLACE = ("split", "epoch", "step")


def test_trackers_change_nothing_of_the_training(recipe, tmp_path):
    train(recipe(), tmp_path / "without", device="cpu")
    notes = Notes()
    train(recipe(trackers=["file", "broken"]), tmp_path / "with", device="cpu", hooks=[Plugin(), notes])
    assert equal(tmp_path / "without", tmp_path / "with")
    warnings = [note for note in notes.said if "'broken'" in note]
    assert warnings == [
        "warning: the tracker 'broken' failed, and training goes on without it: ConnectionError: no answer from "
        "https://***@tracker.example/api"
    ]
    assert calls(tmp_path / "with")[-1]["status"] == "completed"
    assert not any(call["kind"] == "finish" for call in calls(tmp_path / "with", "broken"))


def test_a_tracker_that_waits_for_ever_or_exits_holds_nothing_up(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "START_SECONDS", 0.01)
    monkeypatch.setattr(tracking, "END_SECONDS", 0.01)
    notes = Notes()
    result = train(
        recipe(trackers=["hanging", "exiting"]), tmp_path / "run", device="cpu", hooks=[Plugin(), notes]
    )
    assert result["status"] == "completed"
    hanging = [note for note in notes.said if "'hanging'" in note]
    assert ["has not started" in hanging[0], "did not finish" in hanging[1], len(hanging)] == [True, True, 2]
    (exiting,) = (note for note in notes.said if "'exiting'" in note)
    assert exiting.endswith("training goes on without it: SystemExit: 3")


@pytest.mark.parametrize("moment", ["dev", "test"])
def test_a_resumed_run_is_tracked_further_and_no_step_twice(recipe, tmp_path, moment):
    loaded = recipe(trackers=["file"], epochs=2, log_every=3)
    with pytest.raises(Interrupted):
        train(loaded, tmp_path / "run", device="cpu", hooks=[Plugin(), Stopper(moment, signal.SIGTERM)])
    assert calls(tmp_path / "run")[-1]["status"] == "interrupted"
    train(loaded, tmp_path / "run", resume=True, device="cpu", hooks=[Plugin()])
    told = calls(tmp_path / "run")
    assert [call["id"] for call in told if call["kind"] == "start"] == ["", "mine-1"]
    assert sum(call["kind"] == "text" for call in told) == 1
    train(loaded, tmp_path / "whole", device="cpu", hooks=[Plugin()])
    for kind in ("scalars", "table"):
        assert without_speed(told, kind) == without_speed(calls(tmp_path / "whole"), kind)


CHILD = """
import sys
from mmkit.recipe import load_recipe
from mmkit.training.train import train
from tracking import Plugin
train(load_recipe(sys.argv[1]), sys.argv[2], device="cpu", hooks=[Plugin()])
"""


def test_a_killed_run_is_tracked_further_and_no_step_is_lost_or_told_twice(recipe, tmp_path):
    loaded = recipe(trackers=["killing"], epochs=2, log_every=3)
    (tmp_path / "x.cfg").write_text(loaded.to_str())
    command = [sys.executable, "-c", CHILD, str(tmp_path / "x.cfg"), str(tmp_path / "run")]
    environment = {**os.environ, "PYTHONPATH": str(Path(tracking_support).parent)}
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    assert calls(tmp_path / "run", "killing")[-1]["step"] == 9
    train(loaded, tmp_path / "run", resume=True, device="cpu", hooks=[Plugin()])
    told = calls(tmp_path / "run", "killing")
    assert [call["id"] for call in told if call["kind"] == "start"] == ["", "mine-1"]
    train(
        loaded.with_overrides({"training.trackers": ["file"]}),
        tmp_path / "whole",
        device="cpu",
        hooks=[Plugin()],
    )
    for kind in ("scalars", "table"):
        assert without_speed(told, kind) == without_speed(calls(tmp_path / "whole"), kind)


def without_speed(told, kind):
    for call in told:
        call.get("values", {}).pop("train/examples_per_second", None)
    return [call for call in told if call["kind"] == kind]


def test_an_id_or_a_link_of_somebody_elses_run_leads_nowhere(recipe, tmp_path):
    loaded = recipe(trackers=["file"], epochs=2)
    stop = Stopper("dev", signal.SIGTERM)
    with pytest.raises(Interrupted):
        train(loaded, tmp_path / "run", device="cpu", hooks=[Plugin(), stop])
    folder = tmp_path / "run/trackers/file"
    state = json.loads((folder / "mmkit.json").read_text())
    (folder / "mmkit.json").write_text(json.dumps({**state, "id": "https://evil.example/1"}))
    train(loaded, tmp_path / "run", resume=True, device="cpu", hooks=[Plugin()])
    assert [call["id"] for call in calls(tmp_path / "run") if call["kind"] == "start"] == ["", ""]

    other, notes = tmp_path / "other", Notes()
    stop.waiting = True
    with pytest.raises(Interrupted):
        train(loaded, other, device="cpu", hooks=[Plugin(), stop])
    (tmp_path / "elsewhere").mkdir()
    (other / "trackers/file").rename(tmp_path / "moved")
    (other / "trackers/file").symlink_to(tmp_path / "elsewhere")
    train(loaded, other, resume=True, device="cpu", hooks=[Plugin(), notes])
    assert not list((tmp_path / "elsewhere").iterdir())
    assert any("'file' could not be started" in note and "leads out" in note for note in notes.said)


def test_only_training_starts_trackers(recipe, tmp_path):
    loaded = recipe(trackers=["file"])
    train(loaded, tmp_path / "run", device="cpu", hooks=[Plugin()])
    before = calls(tmp_path / "run")
    with registered(Plugin()):
        evaluate(tmp_path / "run", "dev", device="cpu")
        mmkit.load(tmp_path / "run", device="cpu").predict("Jordan is here")
    assert calls(tmp_path / "run") == before
    mmkit.load(tmp_path / "run", device="cpu")  # also where nobody knows the tracker


def test_runs_of_several_seeds_have_names_of_their_own(recipe, tmp_path):
    train_seeds(recipe(trackers=["file"]), [1, 2], tmp_path / "mine", device="cpu", hooks=[Plugin()])
    names = [calls(tmp_path / "mine" / f"seed-{seed}")[0]["name"] for seed in (1, 2)]
    assert names == ["mine/seed-1", "mine/seed-2"]


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("fil", "training.unknown-tracker", "did you mean 'file'"),
        ("tensorbord", "training.unknown-tracker", "did you mean 'tensorboard'"),
        ("lacking", "t.lacking", "pip install nothing"),
        ("no-class", "plugin.tracker", "must derive from"),
        ("no-module", "plugin.tracker", "nowhere_at_all"),
    ],
)
def test_a_tracker_that_cannot_be_used_is_said_before_training(recipe, tmp_path, name, code, said):
    with raises(code, match=said):
        train(recipe(trackers=[name]), tmp_path / "run", device="cpu", hooks=[Plugin()])
    assert not (tmp_path / "run").exists()
    recipe_file = tmp_path / "x.cfg"
    recipe_file.write_text(recipe(trackers=["file", name]).to_str())
    with registered(Plugin()):
        checked = CliRunner().invoke(main, ["check", str(recipe_file)])
    assert checked.exit_code == 1
    assert said in " ".join(checked.output.split())
    assert "1 problem to fix" in checked.output


def test_training_calls_the_hook_of_scored_splits(recipe, tmp_path):
    class Scored:
        def __init__(self) -> None:
            self.told: list[tuple[str, int, int]] = []

        @hookimpl
        def mmkit_scored(self, folder, split, examples, predictions):
            assert (folder / "predictions" / f"{split}.jsonl").exists()
            self.told.append((split, len(examples), len(predictions)))

    train(recipe(), tmp_path / "run", device="cpu", hooks=[scored := Scored()])
    assert [split for split, *_ in scored.told] == ["dev", "test"]
    assert all(examples == predictions > 0 for _, examples, predictions in scored.told)


def test_spans_are_marked_in_the_text():
    example = Example.from_tokens("1", ["New", "York", "City", "sleeps"])
    spans = [Span(0, 3, "LOC"), Span(0, 2, "LOC"), Span(2, 3, "MISC"), Span(3, 4, "X")]
    assert marked(example, spans) == "[[New York](LOC) [City](MISC)](LOC) [sleeps](X)"
    assert marked(example, []) == "New York City sleeps"
    relation = Relation(spans[1], spans[3], "in")
    assert shown(example, Prediction("1", relations=(relation,), relation_scores=(0.5,))) == (
        "New York City sleeps\nNew York —in→ sleeps"
    )
    assert shown(example, Prediction("1", links=("Q60", "Q1"), link_scores=(0.9, 0.1))).endswith("→ Q60, Q1")


def test_labels_with_points_and_missing_scores_have_their_row():
    tables = label_tables(
        {"dev": {"spans.f1": 0.5, "spans.f1.low": 0.1, "spans.f1.A.b": 0.2, "spans.recall.C": 1.0}}
    )
    assert tables == {
        "dev/labels": (["label", "spans.f1", "spans.recall"], [["A.b", 0.2, None], ["C", None, 1.0]])
    }
