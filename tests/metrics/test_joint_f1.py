"""Joint F1 against a plain computation over sets, by position and by string, and the published figures."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joint import TOKENS, records, sentences
from mmkit.data.strings import STRINGS
from mmkit.data.types import Example, Prediction, Relation, Span
from mmkit.metrics.joint_f1 import JointF1
from mmkit.metrics.relation_f1 import RelationF1
from mmkit.metrics.span_f1 import SpanF1
from raising import raises


def figures(gold: list[Example], predicted: list[Prediction], **options: Any) -> dict[str, float]:
    metric, half = JointF1(**options), len(gold) // 2
    metric.update(gold[:half], predicted[:half])
    metric.update(gold[half:], predicted[half:])
    return metric.compute()


def plain(sides: list[tuple[set[Any], set[Any]]], label: Any) -> dict[str, float]:
    """F1 of (gold, predicted) sets, by counting; `label(item)` is what macro F1 averages over."""

    def f1(right: int, predicted: int, gold: int) -> float:
        return 2 * right / (predicted + gold) if predicted + gold else 0.0

    right, predicted, gold = Counter[str](), Counter[str](), Counter[str]()
    for g, p in sides:
        for counter, items in ((right, g & p), (predicted, p), (gold, g)):
            counter.update(map(label, items))
    labels = predicted.keys() | gold.keys()
    own = {x: f1(right[x], predicted[x], gold[x]) for x in labels}
    if not labels:
        return dict.fromkeys(("precision", "recall", "f1", "macro_f1"), math.nan)
    n = (right.total(), predicted.total(), gold.total())
    return {
        "precision": n[0] / n[1] if n[1] else 0.0,
        "recall": n[0] / n[2] if n[2] else 0.0,
        "f1": f1(*n),
        "macro_f1": sum(own.values()) / len(own) if own else 0.0,
        **{f"f1.{x}": value for x, value in own.items()},
    }


@settings(max_examples=200, deadline=None, derandomize=True)
@given(batch=sentences, match=st.sampled_from(["position", "string"]))
def test_equals_a_plain_computation_over_sets(batch: list[Any], match: Any) -> None:
    def at(span: Span) -> Any:
        return (span.start, span.end) if match == "position" else " ".join(TOKENS[span.start : span.end])

    def real(relations: tuple[Relation, ...]) -> list[Relation]:
        return [r for r in relations if r.label != "None"]

    kinds: dict[str, Any] = {
        "entity": lambda spans, relations: {(at(s), s.label) for s in spans},
        "triple": lambda spans, relations: {(at(r.head), at(r.tail), r.label) for r in real(relations)},
        "quintuple": lambda spans, relations: {
            (at(r.head), r.head.label, at(r.tail), r.tail.label, r.label) for r in real(relations)
        },
    }
    expected = {
        f"{kind}_{name}": value
        for kind, items in kinds.items()
        for name, value in plain([(items(*g), items(*p)) for g, p in batch], lambda item: item[-1]).items()
    }
    computed = figures(*records(batch), match=match)
    assert computed == pytest.approx(expected, nan_ok=True)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(batch=sentences)
def test_agrees_with_the_metrics_of_spans_and_of_relations(batch: list[Any]) -> None:
    gold, predicted = records(batch)
    computed = figures(gold, predicted)
    for kind, other in (("entity", SpanF1()), ("quintuple", RelationF1())):
        other.update(gold, predicted)
        for name, value in other.compute().items():
            if name in ("f1", "precision", "recall", "macro_f1"):
                assert computed[f"{kind}_{name}"] == pytest.approx(value, nan_ok=True)


JORDAN, PARIS = Span(0, 1, "per"), Span(4, 5, "loc")
GOLD = Example.from_tokens("a", TOKENS, spans=(JORDAN, PARIS), relations=(Relation(JORDAN, PARIS, "born"),))


def of(**found: Any) -> dict[str, float]:
    return figures([GOLD], [Prediction("a", **found)], per_type=False)


def test_entities_alone_and_relations_alone_are_scored() -> None:
    alone = of(spans=GOLD.spans)
    assert (alone["entity_f1"], alone["triple_f1"], alone["quintuple_f1"]) == (1, 0, 0)
    untyped = Relation(Span(0, 1, "head"), Span(4, 5, "tail"), "born")
    alone = of(relations=(untyped,))
    assert (alone["entity_f1"], alone["triple_f1"], alone["quintuple_f1"]) == (0, 1, 0)
    assert set(of(spans=GOLD.spans, relations=GOLD.relations).values()) == {1.0}


def test_types_matter_to_quintuples_alone() -> None:
    wrong = Span(4, 5, "org")
    found = of(spans=(JORDAN, wrong), relations=(Relation(JORDAN, wrong, "born"),))
    assert (found["entity_f1"], found["triple_f1"], found["quintuple_f1"]) == (0.5, 1, 0)


def test_by_string_equal_words_count_once_wherever_they_stand() -> None:
    elsewhere = Span(2, 3, "per"), Span(5, 6, "loc")
    prediction = Prediction("a", spans=(*elsewhere, JORDAN), relations=(Relation(*elsewhere, "born"),))
    assert set(figures([GOLD], [prediction], match="string", per_type=False).values()) == {1.0}
    assert figures([GOLD], [prediction])["entity_precision"] == pytest.approx(1 / 3)


def test_by_string_words_are_those_of_the_text() -> None:
    spaced = Example(
        "a", "St.  Paul", ("St", ".", "Paul"), ((0, 2), (2, 3), (5, 9)), spans=(Span(0, 3, "loc"),)
    )
    told = Prediction("a", notes={STRINGS: {"entities": [["St.  Paul", "loc"]]}})
    assert figures([spaced], [told], match="string")["entity_f1"] == 1.0


def test_untyped_ends_take_every_type_that_their_words_have() -> None:
    note = {
        "entities": [["Jordan", "per"], ["Jordan", "loc"], ["Paris", "loc"]],
        "relations": [["Jordan", "born", "Paris", None, None]],
    }
    found = figures([GOLD], [Prediction("a", notes={STRINGS: note})], match="string")
    assert (found["triple_precision"], found["quintuple_precision"], found["quintuple_recall"]) == (1, 0.5, 1)
    bare = {"relations": [["Jordan", "born", "Paris", "per", None]]}  # Paris is no entity of it
    found = figures([GOLD], [Prediction("a", notes={STRINGS: bare})], match="string")
    assert (found["triple_f1"], found["quintuple_f1"]) == (1, 0)


@pytest.mark.parametrize("side", ["gold", "predicted"])
def test_strings_have_no_positions_to_score(side: str) -> None:
    notes = {STRINGS: {"entities": [["Jordan", "per"]]}}
    example = Example.from_tokens("a", TOKENS, notes=notes if side == "gold" else {})
    with raises("data.no-positions") as error:
        JointF1().update([example], [Prediction("a", notes=notes if side == "predicted" else {})])
    assert 'match = "string"' in error.value.hint


@pytest.mark.parametrize(
    ("note", "message"),
    [
        ([], "`notes.mmkit.strings` must be an object"),
        ({"entities": [["Jordan"]]}, r"`notes.mmkit.strings.entities\[0\]` must be \[words, type\]"),
        ({"relations": [["a", "b", "c"]]}, r"must be \[head, relation, tail, head type, tail type\]"),
        ({"relations": [["a", "b", "c", 1, None]]}, r"relations\[0\]\[3\]` must be a string"),
    ],
)
def test_a_note_that_tells_no_strings_says_where(note: Any, message: str) -> None:
    with raises("json.wrong-type", match=message) as error:
        JointF1("string").update([GOLD], [Prediction("a", notes={STRINGS: note})])
    assert error.value.where == "a"


@pytest.mark.parametrize("match", ["position", "string"])
def test_a_relation_without_a_label_is_refused(match: Any) -> None:
    with raises("metric.no-label"):
        JointF1(match).update([GOLD], [Prediction("a", relations=(Relation(JORDAN, PARIS),))])


def test_settings_reach_the_counts() -> None:
    assert "entity_f1.low" in figures([GOLD], [Prediction.of(GOLD)], bootstrap=20)
    assert not any("." in name for name in of(spans=GOLD.spans))
    assert figures([GOLD], [Prediction.of(GOLD)], none_label="born").keys() >= {"triple_f1"}
    assert math.isnan(figures([GOLD], [Prediction.of(GOLD)], none_label="born")["triple_f1"])
    with raises("part.setting", match="number of resamples, not -1"):
        JointF1(bootstrap=-1)


def test_without_examples_every_figure_is_there_and_not_a_number() -> None:
    for match in ("position", "string"):
        assert all(map(math.isnan, JointF1(match).compute().values()))  # type: ignore[arg-type]
    assert {"entity_f1", "triple_f1", "quintuple_f1"} <= JointF1().compute().keys()
