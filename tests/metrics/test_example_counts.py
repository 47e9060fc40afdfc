"""Counts of each example: their sums give the scores, as tests of significance need it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmkit import Example, Metric, Prediction, Relation, Span
from mmkit.metrics.base import CountsExamples
from mmkit.metrics.bootstrap import f1
from mmkit.metrics.joint_f1 import JointF1
from mmkit.metrics.linking import Linking
from mmkit.metrics.relation_f1 import RelationF1
from mmkit.metrics.span_f1 import SpanF1

SPAN = st.builds(
    lambda start, size, label: Span(start, start + size, label),
    st.integers(0, 3),
    st.integers(1, 2),
    st.sampled_from(["PER", "LOC"]),
)
RELATION = st.builds(Relation, SPAN, SPAN, st.sampled_from(["None", "peer", "in"]))
SIDE = st.tuples(st.lists(SPAN, max_size=3, unique=True), st.lists(RELATION, max_size=2, unique=True))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(SIDE, SIDE), min_size=1, max_size=5))
@pytest.mark.parametrize("metric", [SpanF1(), RelationF1(), JointF1()], ids=lambda m: type(m).__name__)
def test_sums_of_counts_give_the_scores(metric: Metric, sides: list) -> None:
    examples, predictions = [], []
    for i, ((spans, relations), (found, pairs)) in enumerate(sides):
        gold = {"spans": tuple(spans), "relations": tuple(relations)}
        examples.append(Example.from_tokens(str(i), ["a", "b", "c", "d", "e", "f"], **gold))
        predictions.append(Prediction(str(i), spans=tuple(found), relations=tuple(pairs)))
    metric.reset()
    metric.update(examples, predictions)
    figures = metric.compute()
    assert isinstance(metric, CountsExamples)
    for name, counts in metric.example_counts().items():
        assert counts.shape == (len(examples), 3)
        assert float(f1(counts.sum(axis=0))) == pytest.approx(0 if np.isnan(figures[name]) else figures[name])


def test_a_linker_counts_the_examples_with_an_entity() -> None:
    golds, metric = ["a", "b", None, "c"], Linking()
    examples = [Example.from_tokens(str(i), ["x"], entity=gold) for i, gold in enumerate(golds)]
    links = [("a", "z"), ("z", "b"), ("a", "b"), ("z", "y")]
    predictions = [Prediction(str(i), links=found, link_scores=(0.9, 0.1)) for i, found in enumerate(links)]
    metric.update(examples, predictions)
    counts, figures = metric.example_counts(), metric.compute()
    assert counts["top1"].tolist() == [[1, 1, 1], [0, 1, 1], [0, 1, 1]]
    assert counts.keys() == figures.keys() and "mrr" not in figures  # where `c` ranks is not known
    for name, each in counts.items():
        assert float(f1(each.sum(axis=0))) == pytest.approx(figures[name])
