"""`mmkit train` and `mmkit import-checkpoint` as a user types them."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from click.testing import CliRunner, Result

from mmkit.cli import main
from mmkit.hooks import hookimpl, registered
from mmkit.runs.folder import Run
from mmkit.runs.importing import Importer


def mmkit(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def trained(sample_recipe, tmp_path_factory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, mmkit(
        "train", sample_recipe, "--output", folder, "--device", "cpu", "--training.epochs", "1"
    )


def test_training_prints_results_and_says_the_rest_beside(trained):
    folder, done = trained
    assert done.exit_code == 0, done.output
    assert "spans.f1" in done.stdout and "label" in done.stdout
    assert "records from" not in done.stdout and "the run is in" not in done.stdout
    assert "data.train: 320 records from" in done.stderr
    assert "epoch 1  step 20  loss" in done.stderr
    assert f"the run is in {folder}" in done.stderr
    f1 = json.loads((folder / "run.json").read_text())["figures"]["test"]["spans.f1"]
    assert f"{100 * f1:.2f}" in done.stdout


def test_quiet_training_still_prints_notes_scores_and_results(sample_recipe, tmp_path):
    done = mmkit(
        "train",
        sample_recipe,
        "--output",
        tmp_path / "run",
        "--device",
        "cpu",
        "--quiet",
        "--training.epochs",
        "1",
    )
    assert done.exit_code == 0, done.output
    assert "spans.f1" in done.stdout
    assert "data.train: 320 records" in done.stderr and "epoch 1  dev" in done.stderr
    assert "step 20" not in done.stderr


def test_the_default_folder_is_named_after_recipe_and_time(sample_recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        mmkit("train", sample_recipe, "--device", "cpu", "--training.epochs", "1", "--quiet").exit_code == 0
    )
    (run,) = (tmp_path / "runs" / sample_recipe.stem).iterdir()
    assert (run / "run.json").is_file()


def test_resuming_what_was_not_begun_begins_it(sample_recipe, tmp_path):
    arguments = ["--resume", "--output", str(tmp_path / "none"), "--device", "cpu", "--training.epochs", "1"]
    assert mmkit("train", sample_recipe, *arguments, "--quiet").exit_code == 0
    assert (tmp_path / "none" / "run.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume"], "--resume needs --output"),
        (["--resume", "--output", "{tmp}/other"], "not a run folder"),
        (["--output", "{tmp}/other"], "not empty"),
        (["--output", "{tmp}/other/file"], "a file stands where a folder is needed"),
        (["--output", "{tmp}/new", "--device", "gpu"], "no device is called 'gpu'"),
    ],
)
def test_what_cannot_be_trained_is_one_message(sample_recipe, tmp_path, arguments, message):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("")
    done = mmkit("train", sample_recipe, *(argument.format(tmp=tmp_path) for argument in arguments))
    assert done.exit_code == 2
    assert message in done.output and "Traceback" not in done.output


class Interrupting:
    """Presses Ctrl-C once, as soon as the data are read."""

    pressed = False

    @hookimpl
    def mmkit_note(self) -> None:
        if not self.pressed:
            self.pressed = True
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_before_the_first_update_is_one_message(sample_recipe, tmp_path):
    folder = tmp_path / "run"
    with registered(Interrupting()):
        done = mmkit("train", sample_recipe, "--output", folder, "--device", "cpu")
    assert done.exit_code == 130
    assert "stopped by SIGINT" in done.stderr and "Traceback" not in done.output
    assert not folder.exists()


class Identity(Importer):
    """Reads checkpoints that are mmkit's own already."""

    known: ClassVar[dict[str, Any]] = {}

    def recipe(self, state: Any) -> str:
        raise AssertionError("the recipe was named")

    def labels(self, state: Any) -> dict[str, Any]:
        return self.known

    def convert_state(self, state: Any) -> dict[str, torch.Tensor]:
        return dict(state)


def test_a_checkpoint_is_imported_with_the_recipe_that_is_named(trained, tmp_path, monkeypatch):
    folder, _ = trained
    monkeypatch.setattr("mmkit.runs.importing.find_importer", lambda paper: Identity())
    monkeypatch.setattr(Identity, "known", Run(folder).labels())
    torch.save(Run(folder).model().state_dict(), tmp_path / "theirs.pth")
    done = mmkit(
        "import-checkpoint",
        "own",
        tmp_path / "theirs.pth",
        tmp_path / "run",
        "--recipe",
        folder / "recipe.cfg",
    )
    assert done.exit_code == 0, done.output
    evaluated = mmkit("evaluate", tmp_path / "run", "--device", "cpu", "--json")
    assert evaluated.exit_code == 0, evaluated.output
    figures = json.loads((folder / "run.json").read_text())["figures"]["test"]
    assert {k: v for k, v in json.loads(evaluated.stdout).items() if k != "split"} == figures
