"""Sentences with entities and relations, gold and predicted, as hypothesis draws them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from mmkit.data.types import Example, Prediction, Relation, Span

TOKENS = ("Jordan", "and", "Jordan", "in", "Paris", "Paris")  # the same words at several places
spans = st.builds(
    lambda start, length, label: Span(start, min(start + length, len(TOKENS)), label),
    st.integers(0, len(TOKENS) - 1),
    st.integers(1, 2),
    st.sampled_from(["per", "loc"]),
)
relations = st.builds(Relation, spans, spans, st.sampled_from(["couple", "peer", "None"]))
sides = st.tuples(st.lists(spans, max_size=5).map(tuple), st.lists(relations, max_size=4).map(tuple))


Side = tuple[tuple[Span, ...], tuple[Relation, ...]]


def _joint(relations: tuple[Relation, ...]) -> Side:
    return tuple({end: None for r in relations for end in (r.head, r.tail)}), relations


def pair(gold: Side, found: Side, right: bool) -> tuple[Side, Side]:
    """Gold and predicted items; `right`: all that is gold was found, too."""
    return gold, (gold[0] + found[0], gold[1] + found[1]) if right else found


golds = sides | st.lists(relations, max_size=3).map(tuple).map(_joint)
sentences = st.lists(st.builds(pair, golds, sides, st.booleans()), max_size=5)


def records(batch: list[Any]) -> tuple[list[Example], list[Prediction]]:
    gold = [
        Example.from_tokens(str(i), TOKENS, spans=spans, relations=relations)
        for i, ((spans, relations), _) in enumerate(batch)
    ]
    return gold, [Prediction(str(i), spans=s, relations=r) for i, (_, (s, r)) in enumerate(batch)]
