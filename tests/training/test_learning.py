"""Training that learns nothing is noticed, said once, with advice that fits; training that learns is left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmkit.data.types import Example, Prediction, Relation, Span
from mmkit.hooks import hookimpl
from mmkit.recipe import load_recipe
from mmkit.training.advice import counted
from mmkit.training.learning import EPOCHS, FLAT_EPOCHS, Alarm, Learning
from mmkit.training.train import train


def course(
    losses: list[float], scores: list[float], epochs: int = 10, predicted: int | None = None
) -> list[Alarm]:
    """The alarms of a run with one loss and one score an epoch."""
    learning, found = Learning(epochs, "spans.f1"), []
    for epoch, loss in enumerate(losses, start=1):
        found.append(learning.logged(epoch, loss))
        if epoch <= len(scores):
            found.append(learning.evaluated(epoch, scores[epoch - 1], predicted, "spans"))
        found.append(learning.epoch_ended(epoch))
    found.append(learning.ended(predicted, "spans"))
    return [alarm for alarm in found if alarm is not None]


FALLING = [10.0, 6.0, 4.0, 3.0, 2.5, 2.2, 2.0, 1.9, 1.8, 1.7]


@pytest.mark.parametrize(
    ("losses", "scores"),
    [
        (FALLING, [0.0, 0.0, 0.3, 0.4, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]),  # it begins late
        (FALLING, []),  # nothing to score on
        ([0.5, 0.49, 0.5, 0.51, 0.5, 0.5], [0.9, 0.9, 0.9, 0.91, 0.9, 0.9]),  # weights that know the task
        ([3.0, 1.0, 0.1, 0.01, 0.5, 0.01], [0.1, 0.2, 0.5, 0.6, 0.6, 0.6]),  # a hard batch late
        ([0.0] * 6, [1.0] * 6),
        ([-1.0, -2.0, -2.0, -2.0, -2.0], [0.5] * 5),  # losses may be negative
        (FALLING[:1], [0.0]),  # one epoch says nothing
    ],
)
def test_what_learns_is_left_alone(losses: list[float], scores: list[float]) -> None:
    assert course(losses, scores) == []


def test_a_score_that_stays_0() -> None:
    [alarm] = course(FALLING, [0.0] * 10, predicted=0)
    assert (alarm.kind, alarm.epoch) == ("score-zero", EPOCHS)
    assert "spans.f1" in alarm.what and "predicts no spans at all" in alarm.what
    [alarm] = course(FALLING, [0.0] * 10, predicted=12)
    assert "none of the 12 spans" in alarm.what
    [late] = course(FALLING, [0.0] * 10, epochs=20)
    assert late.epoch == 6, "a long run has more time"
    [short] = course(FALLING[:5], [0.0] * 5, epochs=20)
    assert short.epoch == 5, "at the end of a run that is stopped early"
    assert course(FALLING[:2], [0.0, 0.0], epochs=2) == []


def test_a_loss_that_does_not_go_down() -> None:
    [alarm] = course([2.0, 2.01, 1.99, 2.0, 2.0, 2.0], [0.1, 0.1, 0.1, 0.1, 0.1, 0.1])
    assert (alarm.kind, alarm.epoch) == ("loss-flat", FLAT_EPOCHS)
    assert [a.kind for a in course([2.0] * 6, [])] == ["loss-flat"]
    assert [a.kind for a in course([2.0] * 6, [0.0] * 6)] == ["score-zero"], "one cause is said once"


def test_a_loss_that_explodes() -> None:
    alarms = course([5.0, 1.0, 300.0, 4000.0], [0.2, 0.3, 0.1, 0.1])
    assert [(a.kind, a.epoch) for a in alarms] == [("loss-explodes", 3)]
    assert "300" in alarms[0].what and "as low as 1" in alarms[0].what


@given(
    st.lists(st.floats(-10, 1e6), min_size=1, max_size=20),
    st.lists(st.floats(0, 1), max_size=20),
    st.integers(1, 500),
)
def test_each_alarm_comes_once(losses: list[float], scores: list[float], epochs: int) -> None:
    kinds = [alarm.kind for alarm in course(losses, scores, epochs)]
    assert len(kinds) == len(set(kinds))
    if any(seen := scores[: len(losses)]):
        assert "score-zero" not in kinds or not any(seen[: Learning(epochs).patience])


def test_what_a_model_found_is_counted() -> None:
    head, tail = Span(0, 1, "PER"), Span(1, 2, "LOC")
    prediction = Prediction(
        "x", spans=(head,), relations=(Relation(head, tail, "None"), Relation(head, tail, "in"))
    )
    assert counted(frozenset({"spans"}), prediction, None) == 1
    assert counted(frozenset({"relations"}), prediction, "None") == 1
    assert counted(frozenset({"spans", "relations"}), prediction, "none") == 3
    assert counted(frozenset({"links"}), Example.from_tokens("x", "ab", entity="Q1"), None) == 1


class Heard:
    def __init__(self) -> None:
        self.warnings: list[str] = []

    @hookimpl
    def mmkit_note(self, message: str) -> None:
        if "learned" in message or "loss" in message:
            self.warnings.append(message)


def trained(recipe: Path, folder: Path, resume: bool = False, **settings: Any) -> tuple[list[str], list[Any]]:
    """What a run of 4 epochs on a few posts says of itself, and its alarms in run.json."""
    overrides = {"training.epochs": 4, "training.batch_size": 160, **settings}
    heard = Heard()
    summary = train(load_recipe(recipe, overrides), folder, device="cpu", hooks=[heard], resume=resume)
    assert json.loads((folder / "run.json").read_text())["alarms"] == summary["alarms"]
    return heard.warnings, summary["alarms"]


def test_a_learning_rate_of_nothing(sample_recipe: Path, tmp_path: Path) -> None:
    warnings, alarms = trained(sample_recipe, tmp_path / "run", **{"training.learning_rate": 1e-9})
    assert len(warnings) == len(alarms) == 1
    assert any("1e-09" in line and "raise" in line for line in alarms[0]["advice"])
    assert warnings[0].startswith("warning: ") and alarms[0]["what"] in warnings[0]


def test_a_learning_rate_far_too_high(sample_recipe: Path, tmp_path: Path) -> None:
    settings = {
        "training.learning_rate": 0.5,
        "training.clip": 0.0,
        "training.warmup": 0.0,
        "training.log_every": 1,
    }
    _, alarms = trained(sample_recipe, tmp_path / "run", **settings)
    exploded = next(alarm for alarm in alarms if alarm["kind"] == "loss-explodes")
    assert any("lower training.learning_rate" in line for line in exploded["advice"])
    assert any("training.clip" in line for line in exploded["advice"])


def test_a_run_that_learns_has_no_alarms(sample_recipe: Path, tmp_path: Path) -> None:
    settings = {"training.learning_rate": 3e-3, "training.batch_size": 16, "training.epochs": 3}
    assert trained(sample_recipe, tmp_path / "run", **settings) == ([], [])
