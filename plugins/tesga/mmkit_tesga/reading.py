"""From marked cells to spans and relations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from mmkit.data.types import Example, Prediction, Relation, Span
from mmkit_tesga.fuser import Task

Overlaps = Literal["keep", "nested", "flat"]
Array = np.ndarray[Any, np.dtype[Any]]


class Cells(NamedTuple):
    """Marked cells of a batch: `where [N, 4]` sentence, row, column and label, and `score [N]`."""

    where: Array
    score: Array


Scored = dict[Span, float]


def read_tables(
    examples: Sequence[Example],
    first: Array,
    found: Mapping[Task, Cells],
    labels: Mapping[Task, Sequence[str]],
    overlaps: Overlaps,
) -> list[Prediction]:
    """A prediction for each example. `first [B, W]` is the position of each word's first subword, -1 for none.

    Cells at other positions have no meaning and are ignored.
    """
    predictions = []
    for row, example in enumerate(examples):
        word_at = {int(position): word for word, position in enumerate(first[row]) if position >= 0}
        spans = chosen(dict(_spans(found["entities"], row, word_at, labels["entities"])), overlaps)
        ordered = sorted(spans)
        relations = (
            dict(_relations(found["relations"], row, word_at, labels["relations"], spans))
            if "relations" in found
            else {}
        )
        predictions.append(
            Prediction(
                example.id,
                spans=tuple(ordered),
                span_scores=tuple(spans[span] for span in ordered),
                relations=tuple(relations),
                relation_scores=tuple(relations.values()),
            )
        )
    return predictions


def chosen(spans: Scored, overlaps: Overlaps) -> Scored:
    """The best type of each span; and of spans that share words those that `overlaps` keeps, better ones first."""
    kept: dict[tuple[int, int], Span] = {}
    # "keep" compares nothing: an untrained table may mark every sequence of words
    rivals = () if overlaps == "keep" else kept.values()
    for span in sorted(spans, key=lambda span: (-spans[span], span)):
        place = span.start, span.end
        if place not in kept and all(_may_stand(span, other, overlaps) for other in rivals):
            kept[place] = span
    return {span: spans[span] for span in kept.values()}


def _may_stand(span: Span, other: Span, overlaps: Overlaps) -> bool:
    apart = span.end <= other.start or other.end <= span.start
    inside = (span.start <= other.start and other.end <= span.end) or (
        other.start <= span.start and span.end <= other.end
    )
    return apart or (overlaps == "nested" and inside)


def _own(cells: Cells, row: int) -> Iterator[tuple[int, int, int, float]]:
    own = cells.where[:, 0] == row
    for (_, first, second, label), score in zip(
        cells.where[own].tolist(), cells.score[own].tolist(), strict=True
    ):
        yield first, second, label, score


def _spans(
    cells: Cells, row: int, word_at: Mapping[int, int], labels: Sequence[str]
) -> Iterator[tuple[Span, float]]:
    for first, last, label, score in _own(cells, row):
        if first in word_at and last in word_at:
            yield Span(word_at[first], word_at[last] + 1, labels[label]), score


def _relations(
    cells: Cells, row: int, word_at: Mapping[int, int], labels: Sequence[str], spans: Scored
) -> Iterator[tuple[Relation, float]]:
    """Relations whose ends both begin an entity; if several entities begin there, the best, which is first."""
    begins: dict[int, Span] = {}
    for span in spans:
        begins.setdefault(span.start, span)
    for head, tail, label, score in _own(cells, row):
        ends = begins.get(word_at.get(head, -1)), begins.get(word_at.get(tail, -1))
        if ends[0] is not None and ends[1] is not None:
            yield Relation(ends[0], ends[1], labels[label]), score
