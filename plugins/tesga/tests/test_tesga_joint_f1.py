"""The figure by which TESGA's authors choose their epoch, and those that they publish."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from joint import TOKENS, records, sentences
from mmkit.data.types import Example, Prediction, Relation, Span
from mmkit.metrics.joint_f1 import JointF1
from mmkit_tesga.joint_f1 import JointStartF1
from mmkit_tesga.published import read_published

STARTS = ["start_f1", "start_precision", "start_recall", "start_macro_f1"]


def figures(gold: list[Example], predicted: list[Prediction], **options: Any) -> dict[str, float]:
    metric = JointStartF1(**options)
    metric.update(gold, predicted)
    return metric.compute()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(batch=sentences)
def test_a_start_is_right_where_an_exact_entity_begins(batch: list[Any]) -> None:
    """Cell by cell, as a table of relations between first tokens is scored."""
    right = predicted = gold = 0
    for (gold_spans, gold_relations), (spans, relations) in batch:
        exact = set(gold_spans) & set(spans)
        for head, tail, label in product(range(len(TOKENS)), range(len(TOKENS)), ("couple", "peer")):
            told, true = (
                any((r.head.start, r.tail.start, r.label) == (head, tail, label) for r in some)
                for some in (relations, gold_relations)
            )
            found = all(any(s.start == start for s in exact) for start in (head, tail))
            right, predicted, gold = right + (told and true and found), predicted + told, gold + true
    computed = figures(*records(batch))
    nothing = 0.0 if predicted + gold else math.nan
    assert computed["start_precision"] == pytest.approx(
        right / predicted if predicted else nothing, nan_ok=True
    )
    assert computed["start_recall"] == pytest.approx(right / gold if gold else nothing, nan_ok=True)
    f1 = 2 * right / (predicted + gold) if predicted + gold else math.nan
    assert computed["start_f1"] == pytest.approx(f1, nan_ok=True)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(batch=sentences)
def test_all_other_figures_are_the_cores(batch: list[Any]) -> None:
    gold, predicted = records(batch)
    metric = JointF1()
    metric.update(gold, predicted)
    computed = figures(gold, predicted)
    assert {name: value for name, value in computed.items() if name not in STARTS} == metric.compute()
    assert set(STARTS) < set(computed)
    assert not any(name.startswith("start_") for name in figures(gold, predicted, match="string"))


def test_types_matter_to_starts_and_ends_do_not() -> None:
    jordan, paris = Span(0, 1, "per"), Span(4, 5, "loc")
    gold = Example.from_tokens(
        "a", TOKENS, spans=(jordan, paris), relations=(Relation(jordan, paris, "born"),)
    )

    def of(**found: Any) -> tuple[float, ...]:
        computed = figures([gold], [Prediction("a", **found)])
        return computed["triple_f1"], computed["quintuple_f1"], computed["start_f1"]

    wrong = Span(4, 5, "org")
    assert of(spans=(jordan, wrong), relations=(Relation(jordan, wrong, "born"),)) == (1, 0, 0)
    longer = Span(0, 2, "per")  # begins where the gold one does, which was found too
    assert of(spans=(jordan, longer, paris), relations=(Relation(longer, paris, "born"),)) == (0, 0, 1)
    assert of(relations=gold.relations) == (1, 1, 0)


@pytest.mark.real_data
def test_the_published_predictions_give_the_published_figures(shared: Path) -> None:
    path = shared / "data" / "jmere" / "published_test_predictions.json"
    examples, predictions = map(list, zip(*read_published(path), strict=True))
    metric = JointF1("string")
    metric.update(examples, predictions)
    found = metric.compute()
    names = [f"{kind}_{name}" for kind in ("triple", "entity") for name in ("precision", "recall", "f1")]
    told = ["58.10", "62.19", "60.08", "79.62", "85.21", "82.32"]
    assert [f"{100 * found[name]:.2f}" for name in names] == told
    assert found["entity_precision"] == 887 / 1114
    assert found["entity_recall"] == 887 / 1041
