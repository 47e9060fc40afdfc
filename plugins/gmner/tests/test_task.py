"""Answers: names with the box that shows them, as JSON, on a terminal, and read back."""

from __future__ import annotations

import json

from rich.console import Console

from mmkit.data.answers import answered
from mmkit.data.node import Node
from mmkit.data.types import Example, Image, Prediction, Region, Span
from mmkit_gmner.task import VISIBLE, GroundedTask

EXAMPLE = Example.from_tokens("1", ("Ann", "in", "Rome"), images=(Image("a.jpg"),))
SPANS = (Span(0, 1, "PER", (Region(0, (1.0, 2.0, 30.0, 40.5)),)), Span(2, 3, "LOC"))
PREDICTION = Prediction("1", SPANS, (0.9, 0.8), notes={VISIBLE: [0.75, 0.25], "other": 1})


def test_boxes_are_told() -> None:
    task = GroundedTask()
    answer = task.answer(EXAMPLE, PREDICTION)
    first, second = answer.to_dict()["entities"]
    assert first["regions"] == [{"image": 0, "path": "a.jpg", "box": [1.0, 2.0, 30.0, 40.5]}]
    assert (first["visible"], second["visible"]) == (0.75, 0.25) and "regions" not in second
    assert answer.to_dict()["notes"] == {"other": 1}
    console = Console(record=True, width=200)
    task.render(answer, console)
    told = console.export_text()
    assert "PER Ann" in told and "in a.jpg at 1, 2, 30, 40.5" in told and "visible 0.750" in told
    assert "not in the photo, visible 0.250" in told


def test_answers_are_read_back_with_their_boxes() -> None:
    written = json.loads(json.dumps(GroundedTask().answer(EXAMPLE, PREDICTION).to_dict()))
    found = answered(Node(written, "x"))
    assert found.spans == SPANS and [span.regions for span in found.spans] == [s.regions for s in SPANS]


def test_predictions_of_another_model_have_no_probabilities() -> None:
    answer = GroundedTask().answer(EXAMPLE, Prediction("1", SPANS, (0.9, 0.8)))
    assert [entity["visible"] for entity in answer.to_dict()["entities"]] == [0.0, 0.0]
