"""Evaluating a run again: what is written, and what is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import mmkit
from mmkit.data.problems import Problem
from mmkit.hooks import hookimpl
from mmkit.inference.evaluate import evaluate
from mmkit.inference.results import read_results
from mmkit.loading.splits import read_split
from mmkit.model import Model
from mmkit.recipe import load_recipe
from mmkit.runs.folder import Run
from raising import raises
from runs import Notes


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_evaluating_elsewhere_leaves_the_run_as_it_is(tagger, tmp_path):
    before, notes = contents(tagger), Notes()
    figures, _ = evaluate(tagger, "dev", device="cpu", output=tmp_path, hooks=[notes])
    assert contents(tagger) == before
    assert figures == json.loads((tagger / "run.json").read_text())["figures"]["dev"]
    written = json.loads((tmp_path / "evaluations" / "dev.json").read_text())
    assert figures.items() <= written.items() and written["data"]["records"] == 60
    assert any(note.startswith("data.dev: 60 records from") for note in notes.said)
    assert any(note.startswith("model.encoders.vision: ") for note in notes.said)


def test_data_that_have_moved_are_asked_for_by_their_setting(tagger, tmp_path):
    moved = {"data.dev.root": str(tmp_path / "gone")}
    recipe = load_recipe(Run(tagger).recipe_file, moved)
    with raises("crops.missing") as caught:
        evaluate(tagger, "dev", device="cpu", recipe=recipe, output=tmp_path / "out")
    assert caught.value.hint.startswith("if the data have moved, name their folder: --data.dev.root FOLDER")
    with raises("crops.missing") as caught:
        read_results(tagger, "dev", moved)
    assert "--data.dev.root FOLDER" in caught.value.hint


def test_hooks_are_called_when_results_are_written(tagger, tmp_path):
    class Scored:
        @hookimpl
        def mmkit_scored(self, folder, split, recipe, examples, predictions):
            assert (folder / "evaluations" / f"{split}.json").exists()
            self.told = folder, split, recipe.name, [x.id for x in examples], predictions

    scored = Scored()
    _, predictions = evaluate(tagger, "dev", device="cpu", output=tmp_path, hooks=[scored])
    name = Run(tagger).recipe().name
    assert scored.told == (tmp_path, "dev", name, [p.id for p in predictions], predictions)


def test_plugins_say_what_they_know_of_data_and_runs_before_anything_is_scored(tagger, tmp_path):
    class Knows:
        @hookimpl
        def mmkit_data_read(self, data, runs):
            self.told = data["dev"]["records"], data["dev"]["files"][0]["sha256"], runs
            return {"dev": [Problem("the run has seen 3 posts", level="warning")]}

    knows, notes = Knows(), Notes()
    evaluate(tagger, "dev", device="cpu", output=tmp_path, hooks=[knows, notes])
    facts = json.loads((tagger / "run.json").read_text())
    assert knows.told == (60, facts["data"]["dev"]["files"][0]["sha256"], [tagger])
    assert "data.dev: warning: the run has seen 3 posts" in notes.said

    class Refuses:
        @hookimpl
        def mmkit_data_read(self):
            return {"dev": [Problem("these posts are not to be scored", code="mine.seen")]}

    with raises("mine.seen", match="not to be scored"):
        evaluate(tagger, "dev", device="cpu", output=tmp_path, hooks=[Refuses()])


def test_evaluating_tells_blanked_pictures(tagger, tmp_path):
    recipe = Run(tagger).recipe()
    data = shutil.copytree(recipe.config["data"]["dev"]["root"], tmp_path / "data")
    predictor = mmkit.load(tagger, device="cpu")
    gone = next(
        i for e in read_split(predictor.recipe, "dev").examples for i in e.images if i.role == "photo"
    )
    next(data.rglob(Path(str(gone.path)).name)).unlink()
    moved = {"data.dev.root": str(data)}
    with raises("image.unusable", match=Path(str(gone.path)).name):
        evaluate(tagger, "dev", recipe=recipe.with_overrides(moved), device="cpu", output=tmp_path / "out")
    notes = Notes()
    blank = recipe.with_overrides({**moved, "data.missing_images": "blank"})
    evaluate(tagger, "dev", recipe=blank, device="cpu", output=tmp_path / "out", hooks=[notes])
    assert any("1 missing" in note and Path(str(gone.path)).name in note for note in notes.said)


def test_evaluating_out_of_memory_says_what_to_lower(tagger, tmp_path, monkeypatch):
    def states(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Model, "states", states)
    with raises("training.out-of-memory", match="64 examples") as caught:
        evaluate(tagger, device="cpu", output=tmp_path)
    assert "eval_batch_size" in caught.value.hint and "accumulate" not in caught.value.hint


@pytest.mark.parametrize("split", ["tset", "../test", "/test"])
def test_only_splits_of_the_recipe_are_written(tagger, tmp_path, split):
    with raises("data.no-split"):
        evaluate(tagger, split, device="cpu", output=tmp_path)
    assert not list(tmp_path.iterdir())
