"""Joint annotations: the typed entities of a sentence, and the relations between them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TypedDict

from mmkit.data.types import Relation, Span


class Joint(TypedDict):
    """Fields of an `Example`: the relations' ends are among the spans, and their labels are types."""

    spans: tuple[Span, ...]
    relations: tuple[Relation, ...]


def joint(relations: Sequence[Relation], repairs: Counter[str]) -> Joint:
    """Spans and relations of a sentence whose relations are given with typed ends.

    A relation that is given twice counts once. A span with several types is an entity of each type. Both are
    counted in `repairs`.
    """
    distinct = tuple(dict.fromkeys(relations))
    if len(distinct) < len(relations):
        repairs["relation given twice in a sentence (kept once)"] += len(relations) - len(distinct)
    spans = sorted({span for relation in distinct for span in (relation.head, relation.tail)})
    types: defaultdict[tuple[int, int], int] = defaultdict(int)
    for span in spans:
        types[span.start, span.end] += 1
    if len(types) < len(spans):
        repairs["span given several types (all are kept)"] += sum(count > 1 for count in types.values())
    return {"spans": tuple(spans), "relations": distinct}
