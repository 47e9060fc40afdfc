"""Complete runs that are given more epochs: what goes on, what becomes of the learning rate, what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mmkit.hooks import hookimpl
from mmkit.recipe import load_recipe
from mmkit.training.train import train
from raising import raises


def logged(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


class Notes:
    """What a training says."""

    def __init__(self) -> None:
        self.said: list[str] = []

    @hookimpl
    def mmkit_note(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture(scope="module")
def kept(sample_recipe, tmp_path_factory) -> Path:
    """A complete run of one epoch that kept its checkpoint."""
    output = tmp_path_factory.mktemp("kept") / "run"
    settings = {"training.epochs": 1, "training.warmup": 0.0, "training.keep_checkpoint": True}
    train(load_recipe(sample_recipe, settings), output, device="cpu")
    return output


def test_more_epochs_stretch_the_schedule_and_say_so(kept, tmp_path):
    output, notes = Path(shutil.copytree(kept, tmp_path / "run")), Notes()
    more = load_recipe(kept / "recipe.cfg", {"training.epochs": 2, "training.log_every": 1})
    train(more, output, resume=True, device="cpu", hooks=[notes])
    (said,) = (line for line in notes.said if "training.epochs" in line)
    steps = logged(kept)[-1]["step"]
    assert said == (
        f"training.epochs was 1 and is 2: from update {steps + 1} on, the learning rate is that of 'linear' over "
        f"{2 * steps} updates (the earlier updates had that of {steps})"
    )
    rates = {line["step"]: line["learning_rate"] for line in logged(output) if line["split"] == "train"}
    rate = more.training.learning_rate
    for step in range(steps + 1, 2 * steps + 1):
        assert rates[step] == pytest.approx(rate * (1 - (step - 1) / (2 * steps)))


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({}, "run.complete", "this run is complete"),
        (
            {"learning_rate": 0.5, "epochs": 2},
            "run.other-recipe",
            r"training\.learning_rate was 0\.001 and is 0\.5",
        ),
        ({"patience": 3}, "run.complete", "this run is complete"),
    ],
)
def test_what_else_changes_is_refused(kept, changes, code, said):
    settings = {f"training.{name}": value for name, value in changes.items()}
    with raises(code, match=said):
        train(load_recipe(kept / "recipe.cfg", settings), kept, resume=True, device="cpu")
    assert any((kept / "checkpoint").iterdir())


def test_fewer_epochs_are_refused(kept, tmp_path):
    output = Path(shutil.copytree(kept, tmp_path / "run"))
    text = (output / "recipe.cfg").read_text().replace("epochs = 1", "epochs = 4")
    (output / "recipe.cfg").write_text(text)
    facts = json.loads((output / "run.json").read_text())
    (output / "run.json").write_text(json.dumps({**facts, "files": {}}))
    with raises(
        "run.other-recipe", match=r"training\.epochs was 4 and is 3\n.*may have more epochs, but not fewer"
    ):
        train(load_recipe(output / "recipe.cfg", {"training.epochs": 3}), output, resume=True, device="cpu")


def test_a_run_that_stopped_early_goes_on_with_more_patience(sample_recipe, tmp_path):
    waiting = {"patience": 2, "learning_rate": 0.0, "keep_checkpoint": True, "eval_every": 5, "epochs": 1}
    settings = {f"training.{name}": value for name, value in waiting.items()}
    train(load_recipe(sample_recipe, settings), tmp_path / "run", device="cpu")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (facts["status"], facts["updates"]) == ("stopped", 15)
    with raises("run.complete", match="after early stopping: another patience"):
        more = {**settings, "training.epochs": 2}
        train(load_recipe(sample_recipe, more), tmp_path / "run", resume=True, device="cpu")
    more = {**settings, "training.patience": 0}
    result = train(load_recipe(sample_recipe, more), tmp_path / "run", resume=True, device="cpu")
    assert (result["status"], result["updates"]) == ("completed", 20)


def test_a_run_that_goes_on_in_another_precision_says_so(kept, tmp_path):
    output, notes = Path(shutil.copytree(kept, tmp_path / "run")), Notes()
    facts = json.loads((output / "run.json").read_text())
    assert facts["precision"] == "fp32"  # what `auto` is for a small model on a CPU
    (output / "run.json").write_text(json.dumps({**facts, "precision": "bf16"}))
    more = load_recipe(kept / "recipe.cfg", {"training.epochs": 2})
    train(more, output, resume=True, device="cpu", hooks=[notes])
    (said,) = (line for line in notes.said if "bf16" in line)
    assert said == "warning: the run was in bf16 so far, and goes on in fp32 on this device"
