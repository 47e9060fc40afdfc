"""Updates that are recorded and replayed make the same weights as those that are not, bit for bit on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mmkit.decoders.crf_tagger import CrfTagger
from mmkit.inference.loader import Loader
from mmkit.ops.waiting import without_waiting
from mmkit.recipe import Recipe
from mmkit.training import ready, updates
from mmkit.training.graphs.captured import MULTIPLE
from mmkit.training.graphs.tape import Played, Tape
from mmkit.training.train import train
from raising import raises
from runs import Notes, Stopper, equal, lines

Trained = Callable[..., Path]


class Counting(Tape):
    """A tape that counts what it does."""

    def __init__(self) -> None:
        self.warmed, self.recorded, self.replayed = 0, 0, 0

    def warm(self, function: Callable[[], Any]) -> Any:
        self.warmed += 1
        return super().warm(function)

    def record(self, function: Callable[[], Any]) -> Played[Any]:
        played = super().record(function)
        self.recorded += 1
        replay = played.replay

        def counted() -> Any:
            self.replayed += 1
            return replay()

        played.replay = counted  # type: ignore[method-assign]
        return played


@pytest.fixture
def tape(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counting]:
    """The recorder that trainings use from now on instead of CUDA graphs; all trainings pad batches alike."""
    made = Counting()
    monkeypatch.setattr(updates, "CudaRecorder", lambda device: made)
    monkeypatch.setattr(updates, "Loader", lambda *given, multiple: Loader(*given, multiple=MULTIPLE))
    yield made


@pytest.fixture
def trained(tape: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """A function that trains a recipe into a folder, captured or not."""

    def run(recipe: Recipe, name: str, *, captured: bool, must: bool = True, **options: Any) -> Path:
        monkeypatch.setattr(ready, "wants_graphs", lambda *_: (captured, ""))
        if captured and must:
            recipe = recipe.with_overrides({"training.graphs": "on"})
        with without_waiting():  # as a GPU computes
            train(recipe, tmp_path / name, device="cpu", quiet=True, **options)
        return tmp_path / name

    return run


def same(one: Path, other: Path) -> bool:
    """Weights and logged losses, bit for bit."""
    logged = [
        [{k: v for k, v in line.items() if k != "examples_per_second"} for line in lines(run)]
        for run in (one, other)
    ]
    return equal(one, other) and logged[0] == logged[1]


def test_captured_updates_make_the_same_weights_and_losses(recipe, trained: Trained, tape: Counting) -> None:
    settings = {"epochs": 1, "warmup": 0.3, "clip": 0.5, "log_every": 3, "learning_rate": 2e-3}
    plain = trained(recipe(**settings), "plain", captured=False)
    assert tape.warmed == tape.recorded == 0
    captured = trained(recipe(**settings), "captured", captured=True)
    assert same(plain, captured)
    assert tape.replayed + tape.warmed == 20 and tape.recorded < tape.replayed > tape.warmed


@pytest.mark.matrix
def test_every_micro_batch_of_an_update_is_replayed(recipe, trained: Trained, tape: Counting) -> None:
    settings = {"epochs": 3, "batch_size": 48, "accumulate": 3}  # the last batch of an epoch is smaller
    plain = trained(recipe(**settings), "plain", captured=False)
    assert same(plain, trained(recipe(**settings), "captured", captured=True))
    assert tape.replayed > 0


@pytest.mark.matrix
@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_groups_and_optimizers_keep_their_rates(
    recipe, trained: Trained, tape: Counting, optimizer: str
) -> None:
    settings = {
        "optimizer": optimizer,
        "no_decay": "bias",
        "schedule": "cosine",
        "groups.crf.pattern": "crf",
        "groups.crf.learning_rate": 0.05,
        "groups.crf.weight_decay": 0.0,
    }
    plain = trained(recipe(**settings), "plain", captured=False)
    assert same(plain, trained(recipe(**settings), "captured", captured=True))
    assert tape.replayed > 0


@pytest.mark.matrix
def test_a_resumed_run_makes_the_same_updates(recipe, trained: Trained, tape: Counting) -> None:
    settings = {"epochs": 2, "checkpoint_every": 7, "eval_every": 13}
    plain = trained(recipe(**settings), "plain", captured=False)
    with raises("training.interrupted"):
        trained(recipe(**settings), "stopped", captured=True, hooks=[Stopper("dev")])
    assert tape.recorded
    assert same(plain, trained(recipe(**settings), "stopped", captured=True, resume=True))
    # a run may go on without graphs, and with another setting
    with raises("training.interrupted"):
        trained(recipe(**settings), "changed", captured=True, hooks=[Stopper("dev")])
    without = recipe(**settings, graphs="off")
    assert same(plain, trained(without, "changed", captured=False, resume=True))


@pytest.mark.matrix
def test_no_more_recordings_are_kept_than_allowed(
    recipe, trained: Trained, tape: Counting, monkeypatch
) -> None:
    monkeypatch.setattr(updates, "CapturedUpdates", lambda *given: updates_with_most(2, *given))
    plain = trained(recipe(epochs=2), "plain", captured=False)
    assert same(plain, trained(recipe(epochs=2), "captured", captured=True))
    assert tape.recorded == 2


def updates_with_most(most: int, *given: Any) -> Any:
    from mmkit.training.graphs.captured import CapturedUpdates

    return CapturedUpdates(*given, most=most)


def waiting(loss: Callable[..., dict[str, torch.Tensor]]) -> Callable[..., dict[str, torch.Tensor]]:
    """A loss that looks at its own value."""

    def looked_at(*given: Any) -> dict[str, torch.Tensor]:
        losses = loss(*given)
        assert all(value.item() < 1e6 for value in losses.values())
        return losses

    return looked_at


def test_what_cannot_be_captured_ends_capturing_with_one_note(
    recipe, trained: Trained, tape: Counting, monkeypatch
) -> None:
    notes = Notes()
    monkeypatch.setattr(CrfTagger, "loss", waiting(CrfTagger.loss))
    plain = trained(recipe(epochs=1), "plain", captured=False)
    assert same(plain, trained(recipe(epochs=1), "captured", captured=True, must=False, hooks=[notes]))
    (said,) = (note for note in notes.said if "graph" in note)
    assert "cannot be captured" in said and "waits for the device" in said
    assert tape.recorded == 0
    with raises("training.not-captured", match="waits for the device"):
        trained(recipe(epochs=1), "must", captured=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_cuda_graphs_make_the_losses_of_eager_updates(recipe, tmp_path: Path, monkeypatch) -> None:
    still = {f"model.{part}.dropout": 0.0 for part in ("encoders.text", "fuser", "decoder")}
    monkeypatch.setattr(updates, "Loader", lambda *given, multiple: Loader(*given, multiple=MULTIPLE))
    logged = []
    for graphs in ("off", "on"):
        settings = recipe(still, epochs=2, precision="fp32", log_every=1, graphs=graphs)
        train(settings, tmp_path / graphs, device="cuda", quiet=True)
        logged.append([line["loss"] for line in lines(tmp_path / graphs) if "loss" in line])
    assert logged[0] == pytest.approx(logged[1], rel=1e-3)
