"""What ends a run before its time: losses that are not finite, memory, signals and disks that refuse."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import mmkit
import mmkit.runs.weights
from mmkit.hooks import hookimpl
from mmkit.loading.splits import read_split
from mmkit.model import Model
from mmkit.recipe import load_recipe
from mmkit.training.stopping import StopSignal
from mmkit.training.train import train
from raising import raises
from runs import Notes, Stopper, equal, weights

# What ends a run


class Ends:
    """Notes how runs end."""

    def __init__(self) -> None:
        self.statuses: list[str] = []

    @hookimpl
    def mmkit_run_end(self, status: str) -> None:
        self.statuses.append(status)


def test_a_loss_that_is_not_finite_stops_and_names_examples(recipe, tmp_path):
    ends = Ends()
    with raises("training.not-finite", match="no longer finite between updates 1 and 5") as caught:
        train(
            recipe(learning_rate=1e30, warmup=0, check_every=5), tmp_path / "run", device="cpu", hooks=[ends]
        )
    shown, _, more = caught.value.where.removeprefix("examples ").partition(" and ")
    ids = {example.id for example in read_split(recipe(), "train").examples}
    assert len(set(shown.split(", ")) & ids) == 40 and more == "40 more", "of 5 batches of 16"
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert not (tmp_path / "run" / "checkpoint").exists()
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    assert ends.statuses == ["failed"]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        MemoryError(),
    ],
)
def test_out_of_memory_says_what_to_lower(recipe, tmp_path, monkeypatch, error):
    def forward(*_: Any) -> None:
        raise error

    monkeypatch.setattr(Model, "forward", forward)
    with raises("training.out-of-memory", match="16 examples an update in 2 part") as caught:
        train(recipe(accumulate=2), tmp_path / "run", device="cpu")
    assert "training.accumulate to 4" in caught.value.hint and "max_length" in caught.value.hint


def test_other_errors_are_left_alone(recipe, tmp_path, monkeypatch):
    def forward(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Model, "forward", forward)
    with pytest.raises(RuntimeError, match="a bug"):
        train(recipe(), tmp_path / "run", device="cpu")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_first_update_stops_at_once(recipe, tmp_path, number):
    with raises("training.interrupted", match=f"stopped by {signal.Signals(number).name}") as caught:
        train(recipe(), tmp_path / "run", device="cpu", hooks=[Stopper("note", number)])
    assert caught.value.exit_code == 128 + number
    assert "nothing was trained yet" in caught.value.hint
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert not (tmp_path / "run").exists()


def test_a_run_of_which_nothing_is_written_yet_can_be_resumed(recipe, tmp_path):
    (tmp_path / "run").mkdir()  # what a kill while data are read leaves
    assert train(recipe(), tmp_path / "run", device="cpu", resume=True)["status"] == "completed"


@pytest.fixture(scope="module")
def whole(sample_recipe, tmp_path_factory):
    """A run of two epochs that nothing interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(load_recipe(sample_recipe, {"training.epochs": 2}), folder, device="cpu")
    return folder


@pytest.mark.parametrize("split", ["dev", "test"])
def test_a_signal_when_a_split_is_scored_loses_nothing(recipe, whole, tmp_path, split):
    ends = Ends()
    with raises("training.interrupted", match="--resume"):
        train(recipe(epochs=2), tmp_path / "run", device="cpu", hooks=[Stopper(split), ends])
    assert ends.statuses == ["interrupted"]
    summary = train(recipe(epochs=2), tmp_path / "run", device="cpu", resume=True)
    assert summary["status"] == "completed"
    assert equal(tmp_path / "run", whole)


class Stops:
    """Asks to stop after an epoch, and counts the scores of which it is told."""

    def __init__(self, epoch: int) -> None:
        self.epoch, self.told = epoch, 0

    @hookimpl
    def mmkit_evaluated(self, split: str, epoch: int) -> str | None:
        self.told += 1
        return f"{split} of epoch {epoch} is enough" if epoch == self.epoch else None


def test_a_hook_can_stop_a_run_which_can_be_resumed(recipe, tmp_path):
    train(recipe(epochs=3), tmp_path / "whole", device="cpu")
    ends, asks, listens = Ends(), Stops(2), Stops(0)
    with raises("training.stopped", match="dev of epoch 2 is enough") as caught:
        train(recipe(epochs=3), tmp_path / "run", device="cpu", hooks=[listens, asks, ends])
    assert isinstance(caught.value, mmkit.Interrupted) and isinstance(caught.value, mmkit.TrainingStopped)
    assert f"--resume --output {tmp_path / 'run'}" in caught.value.hint
    assert ends.statuses == ["interrupted"] and asks.told == listens.told == 2
    assert train(recipe(epochs=3), tmp_path / "run", device="cpu", resume=True)["status"] == "completed"
    assert equal(tmp_path / "run", tmp_path / "whole")


def test_what_hooks_say_to_the_scores_at_the_end_is_ignored(recipe, tmp_path):
    result = train(recipe(epochs=1), tmp_path / "run", device="cpu", hooks=[AtTheEnd()])
    assert result["status"] == "completed"


class AtTheEnd:
    @hookimpl
    def mmkit_evaluated(self, split: str) -> str | None:
        return "too late" if split == "test" else None


def test_a_second_signal_does_not_wait():
    with StopSignal() as stop, stop.deferred():
        signal.raise_signal(signal.SIGTERM)
        assert stop.received is signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        stop.received = None  # heeded


def test_the_first_signal_is_answered_at_once(capfd):
    with StopSignal(announce=True) as stop, stop.deferred():
        signal.raise_signal(signal.SIGINT)
        assert "SIGINT: saving after the next update; a second signal stops at once" in capfd.readouterr().err
        stop.received = None  # heeded


def test_where_nothing_is_lost_the_first_signal_does_not_wait(capfd):
    with StopSignal(announce=True) as stop, stop.deferred():
        with pytest.raises(KeyboardInterrupt), stop.at_once():
            signal.raise_signal(signal.SIGINT)
        assert "SIGINT: saving; a second signal stops at once" in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt), stop.at_once():
            pytest.fail("it was asked to stop before")
        assert not stop.insisted
        with pytest.raises(KeyboardInterrupt):  # while it saves
            signal.raise_signal(signal.SIGINT)
        assert stop.insisted
        stop.received = None  # heeded


def test_a_signal_that_nobody_heeded_is_raised_in_the_end():
    with StopSignal() as stop, pytest.raises(KeyboardInterrupt), stop.deferred():
        signal.raise_signal(signal.SIGINT)


# The disk


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_while_the_best_is_written_leaves_the_one_before(recipe, tmp_path, monkeypatch):
    write, written = mmkit.runs.weights.save_file, []

    def fill_up(tensors: Any, path: Path, **more: Any) -> None:
        write(tensors, path, **more)
        written.append(path)
        if sum("model.safetensors" in str(p) and "step-" not in str(p) for p in written) > 2:
            full()

    monkeypatch.setattr(mmkit.runs.weights, "save_file", fill_up)
    with raises("file.unwritable", match="the disk is full"):
        train(recipe(epochs=4, ties="later", learning_rate=0.0), tmp_path / "run", device="cpu")
    assert weights(tmp_path / "run")
    assert not list((tmp_path / "run").glob(".*.tmp")), "no half-written file stays"


@pytest.mark.parametrize("file", ["metrics.jsonl", "run.json", "model.safetensors"])
def test_a_disk_that_refuses_is_one_message(recipe, tmp_path, file):
    class Occupied:
        @hookimpl
        def mmkit_run_start(self, run: Path) -> None:
            (run / file).unlink(missing_ok=True)
            (run / file).mkdir()

    with raises("file.unwritable", match=rf"{file}: cannot write: a folder stands where a file is needed"):
        train(recipe(), tmp_path / "run", device="cpu", hooks=[Occupied()])


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EROFS, "the file system is read-only"),
        (errno.EACCES, "permission denied"),
        (errno.ENOSPC, "disk is full"),
    ],
)
def test_an_output_folder_that_refuses_is_one_message_before_any_work(
    recipe, tmp_path, monkeypatch, number, message
):
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    notes = Notes()
    monkeypatch.setattr("mmkit.files.tempfile.mkstemp", refuse)
    with raises("file.unwritable", match=f"run.*cannot write: .*{message}"):
        train(recipe(), tmp_path / "run", device="cpu", hooks=[notes])
    assert not notes.said
