"""Kinds of errors, against nervaluate and by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmkit import Example, Image, Prediction, Region, Relation, Span
from mmkit_report.findings import KINDS, findings, kinds_for, kinds_of, severity

LENGTH = 12


@st.composite
def flat_spans(draw: st.DrawFn) -> tuple[Span, ...]:
    """Spans that do not overlap, as taggers give them."""
    cuts = sorted(draw(st.sets(st.integers(0, LENGTH), max_size=8)))
    pairs = [(a, b) for a, b in pairwise(cuts) if draw(st.booleans())]
    return tuple(Span(a, b, draw(st.sampled_from(["PER", "LOC", "ORG"]))) for a, b in pairs)


def example(**fields: object) -> Example:
    return Example.from_tokens("x", [f"w{i}" for i in range(LENGTH)], **fields)  # type: ignore[arg-type]


@settings(max_examples=300, deadline=None)
@given(flat_spans(), flat_spans())
def test_as_nervaluate_counts(gold: tuple[Span, ...], predicted: tuple[Span, ...]) -> None:
    nervaluate = pytest.importorskip("nervaluate", reason="nervaluate is not installed")

    def theirs(spans: tuple[Span, ...]) -> list[dict[str, object]]:
        return [
            {"label": s.label, "start": s.start, "end": s.end - 1} for s in spans
        ]  # their ends are inclusive

    tags = ["PER", "LOC", "ORG"]
    results = nervaluate.Evaluator([theirs(gold)], [theirs(predicted)], tags=tags, loader="dict").evaluate()[
        "overall"
    ]
    ours = kinds_of(findings(example(spans=gold), Prediction("x", spans=predicted)))
    strict, exact = results["strict"], results["exact"]
    wrong = ours["wrong label"] + ours["wrong bounds"] + ours["wrong label and bounds"]
    assert (strict.correct, strict.incorrect) == (ours["right"], wrong)
    assert (strict.missed, strict.spurious) == (ours["missed"], ours["spurious"])
    assert exact.correct == ours["right"] + ours["wrong label"]


@settings(max_examples=100, deadline=None)
@given(flat_spans(), flat_spans())
def test_every_item_is_in_one_finding(gold: tuple[Span, ...], predicted: tuple[Span, ...]) -> None:
    found = findings(example(spans=gold), Prediction("x", spans=predicted))
    assert sorted(f.gold for f in found if f.gold is not None) == list(range(len(gold)))
    assert sorted(f.predicted for f in found if f.predicted is not None) == list(range(len(predicted)))
    assert sum(f.kind == "right" for f in found) == len(set(gold) & set(predicted))
    assert {f.kind for f in found} <= set(KINDS)


def test_each_kind() -> None:
    gold = (Span(0, 1, "PER"), Span(2, 3, "PER"), Span(4, 6, "LOC"), Span(7, 9, "ORG"), Span(10, 11, "LOC"))
    predicted = (
        Span(0, 1, "PER"),
        Span(2, 3, "LOC"),
        Span(5, 6, "LOC"),
        Span(8, 10, "PER"),
        Span(11, 12, "ORG"),
    )
    scores = (0.9, 0.8, 0.7, 0.6, 0.5)
    found = findings(example(spans=gold), Prediction("x", spans=predicted, span_scores=scores))
    assert [(f.kind, f.gold, f.predicted, f.score) for f in found] == [
        ("right", 0, 0, 0.9),
        ("wrong label", 1, 1, 0.8),
        ("wrong bounds", 2, 2, 0.7),
        ("wrong label and bounds", 3, 3, 0.6),
        ("spurious", None, 4, 0.5),
        ("missed", 4, None, None),
    ]
    assert severity(found) == (5, pytest.approx(0.8 + 0.7 + 0.6 + 0.5))


def test_a_right_span_is_right_wherever_it_stands() -> None:
    """Of overlapping predictions, the equal one finds the gold span, in any order."""
    gold = (Span(2, 4, "PER"),)
    for predicted in [(Span(1, 3, "PER"), Span(2, 4, "PER")), (Span(2, 4, "PER"), Span(1, 3, "PER"))]:
        kinds = kinds_of(findings(example(spans=gold), Prediction("x", spans=predicted)))
        assert kinds == {"right": 1, "spurious": 1}


def test_what_is_listed_twice_counts_once() -> None:
    twice = (Span(2, 4, "PER"), Span(2, 4, "PER"))
    assert kinds_of(findings(example(spans=twice), Prediction("x", spans=twice))) == {"right": 1}


def test_relations_and_the_label_for_none() -> None:
    a, b, c = Span(0, 1, "PER"), Span(2, 3, "LOC"), Span(4, 5, "ORG")
    gold = (Relation(a, b, "born"), Relation(a, c, "None"), Relation(b, c, "in"))
    predicted = (Relation(a, b, "lives"), Relation(a, c, "works"), Relation(b, c, "None"))
    found = findings(
        example(spans=(a, b, c), relations=gold), Prediction("x", (a, b, c), relations=predicted), {"None"}
    )
    relations = [f for f in found if f.what == "relation"]
    assert [(f.kind, f.gold_label, f.predicted_label) for f in relations] == [
        ("wrong label", "born", "lives"),
        ("spurious", None, "works"),
        ("missed", "in", None),
    ]


def test_a_relation_counts_whatever_the_types_of_its_spans() -> None:
    gold = Relation(Span(0, 1, "PER"), Span(2, 3, "LOC"), "born")
    other = Relation(Span(0, 1, "ORG"), Span(2, 3, "LOC"), "born")
    moved = Relation(Span(0, 2, "PER"), Span(2, 3, "LOC"), "born")
    for predicted, kind in [(other, "right"), (moved, "wrong bounds")]:
        found = findings(example(relations=(gold,)), Prediction("x", relations=(predicted,)))
        assert [f.kind for f in found] == [kind]


def test_links() -> None:
    right = findings(example(entity="Q1"), Prediction("x", links=("Q1", "Q2"), link_scores=(0.9, 0.1)))
    wrong = findings(example(entity="Q2"), Prediction("x", links=("Q1", "Q2"), link_scores=(0.9, 0.1)))
    nothing = findings(example(entity="Q2"), Prediction("x"))
    without = findings(example(), Prediction("x", links=("Q1",)))
    assert [f.kind for f in (*right, *wrong, *nothing)] == ["right", "wrong label", "missed"]
    assert wrong[0].predicted_label == "Q1" and wrong[0].score == 0.9
    assert without == []


def test_a_box_is_wrong_where_all_else_is_right() -> None:
    here, there = Region(0, (0.0, 0.0, 9.0, 9.0)), Region(0, (50.0, 0.0, 60.0, 9.0))
    gold = (
        Span(0, 1, "PER", (here,)),
        Span(2, 3, "PER", (here,)),
        Span(4, 5, "PER"),
        Span(6, 7, "LOC", (here,)),
    )
    predicted = (
        Span(0, 1, "PER", (here,)),
        Span(2, 3, "PER", (there,)),
        Span(4, 5, "PER", (there,)),
        Span(6, 7, "ORG", (there,)),
        Span(8, 9, "ORG", (there,)),
    )
    told = Prediction("x", predicted, (0.9,) * 5)
    found = findings(example(spans=gold, images=(Image(None),)), told, (), lambda gold, said: gold == said)
    kinds = ["right", "wrong box", "wrong box", "wrong label", "spurious"]
    assert [f.kind for f in found] == kinds and [f.is_error for f in found] == [False] + 4 * [True]
    assert severity(found) == (4, pytest.approx(4 * 0.9))
    without = findings(example(spans=gold, images=(Image(None),)), told)
    assert kinds_of(without) == {"right": 3, "wrong label": 1, "spurious": 1}


def test_boxes_are_told_of_spans_alone() -> None:
    assert kinds_for("span", boxes=True) == KINDS
    assert "wrong box" not in {*kinds_for("relation", boxes=True), *kinds_for("span", boxes=False)}
