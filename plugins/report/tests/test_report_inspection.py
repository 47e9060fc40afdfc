"""Means of what parts show: over examples, over words, and by gold label."""

from __future__ import annotations

import math

from mmkit import Example, Span
from mmkit.inspection import Table
from mmkit_report.inspection import means, shown_record


def example(name: str, *labels: str | None) -> Example:
    """A word for each label; None is no name."""
    spans = [Span(i, i + 1, label) for i, label in enumerate(labels) if label]
    return Example.from_tokens(name, ["w"] * len(labels), spans=spans)


EXAMPLES = [example("a", "PER", None), example("b", "LOC", "PER"), example("c", None)]


def test_means_of_examples_by_label() -> None:
    values = ([0.2, 0.8], [0.4, 0.6], [0.9, 0.1])
    shown = [{"weights": Table(["λ"], ["text", "image"], [row])} for row in values]
    (found,) = means(EXAMPLES, shown)
    assert found["name"] == "weights"
    assert [(t["group"], t["count"], t["values"]) for t in found["tables"]] == [
        ("all examples", 3, [[0.5, 0.5]]),
        ("LOC", 1, [[0.4, 0.6]]),
        ("PER", 2, [[0.3, 0.7]]),
    ]


def test_means_of_words_leave_out_what_is_not_there() -> None:
    gates = ([0.2, 0.4], [0.6, 0.8], [math.nan])
    shown = [
        {"gate": Table(x.tokens, ["mean"], [[value] for value in row], by_token=True)}
        for x, row in zip(EXAMPLES, gates, strict=True)
    ]
    (found,) = means(EXAMPLES, shown)
    assert [(t["group"], t["count"], t["values"]) for t in found["tables"]] == [
        ("all words", 5, [[0.5]]),
        ("LOC", 1, [[0.6]]),
        ("PER", 2, [[0.5]]),
        ("no label", 2, [[0.4]]),
    ]
    assert shown_record(shown[2])["gate"]["values"] == [[None]]


def test_tables_with_other_names_have_no_mean() -> None:
    shown = [{"attention": Table(["head"], [f"part {i}"], [[1.0]])} for i in range(3)]
    assert means(EXAMPLES, shown) == []
    assert [t["count"] for t in means(EXAMPLES, [{}, shown[1], {}])[0]["tables"]] == [1, 1, 1]
