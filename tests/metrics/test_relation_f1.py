"""Relation F1: micro without `None`, per relation, accuracy."""

from __future__ import annotations

import math
import random

import pytest
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from mmkit.data.types import Example, Prediction, Relation, Span
from mmkit.metrics.relation_f1 import RelationF1
from raising import raises

LABELS = ["None", "/per/loc", "/loc/loc", "/per/per"]


def relation(label: str | None, head: int = 0, tail: int = 1) -> Relation:
    return Relation(Span(head, head + 1, "PER"), Span(tail, tail + 1, "LOC"), label)


def example(id: str, *relations: Relation) -> Example:
    return Example.from_tokens(id, ["w"] * 9, relations=relations)


def test_equals_scikit_learn_on_given_pairs():
    draw = random.Random(0)
    gold = [draw.choice(LABELS) for _ in range(300)]
    predicted = [g if draw.random() < 0.6 else draw.choice(LABELS) for g in gold]
    metric = RelationF1(bootstrap=50)
    examples = [example(str(i), relation(g)) for i, g in enumerate(gold)]
    metric.update(examples, [Prediction(str(i), relations=(relation(p),)) for i, p in enumerate(predicted)])
    figures = metric.compute()

    micro = precision_recall_fscore_support(gold, predicted, labels=LABELS[1:], average="micro")
    assert [figures[name] for name in ("precision", "recall", "f1")] == pytest.approx(list(micro[:3]))
    each = precision_recall_fscore_support(gold, predicted, labels=LABELS[1:])
    for name, values in zip(("precision", "recall", "f1"), each[:3], strict=True):
        assert [figures[f"{name}.{label}"] for label in LABELS[1:]] == pytest.approx(list(values))
    assert figures["macro_f1"] == pytest.approx(each[2].mean())
    assert figures["accuracy"] == pytest.approx(accuracy_score(gold, predicted))
    assert figures["f1.low"] < figures["f1"] < figures["f1.high"]
    assert "f1.None" not in figures


def test_pairs_are_matched_by_both_spans_and_direction():
    metric = RelationF1(per_type=False)
    gold = example("a", relation("r", 0, 1), relation("r", 2, 3), relation("None", 4, 5))
    found = (relation("r", 1, 0), relation("r", 2, 3), relation("r", 6, 7), relation("r", 2, 3))
    metric.update([gold], [Prediction("a", relations=found)])
    figures = metric.compute()
    assert figures["precision"] == pytest.approx(1 / 3)  # one of three different pairs
    assert figures["recall"] == pytest.approx(1 / 2)
    assert figures["accuracy"] == pytest.approx(2 / 3)  # (2, 3), and (4, 5), of which nothing was said


def test_another_name_for_none():
    metric = RelationF1(none_label="no relation")
    metric.update([example("a", relation("None"))], [Prediction("a", relations=(relation("no relation"),))])
    figures = metric.compute()
    assert figures["recall.None"] == 0.0
    assert figures["accuracy"] == 0.0


def test_nothing_to_count_is_no_score():
    assert all(map(math.isnan, RelationF1().compute().values()))
    metric = RelationF1()
    metric.update([example("a", relation("None"))], [Prediction("a", relations=(relation("None"),))])
    figures = metric.compute()
    assert figures["accuracy"] == 1.0 and math.isnan(figures["f1"])
    metric.update([example("b", relation("None"))], [Prediction("b", relations=(relation("r"),))])
    assert metric.compute()["f1"] == 0.0


def test_relations_without_labels_are_refused():
    with raises("metric.no-label", match="a: a relation without a label cannot be scored"):
        RelationF1().update([example("a", relation(None))], [Prediction("a")])
