"""Entities and relations known only by their words, as some authors publish predictions, without positions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from mmkit.data.problems import Problem, counted
from mmkit.data.records import Node
from mmkit.data.types import Example, Prediction, Relation, Span
from mmkit.errors import DataError

STRINGS = "mmkit.strings"
"""Note key of an example or a prediction without spans, whose entities and relations have no positions.

`{"entities": [[words, type], ...], "relations": [[head, relation, tail, head type, tail type], ...]}`; the types of a
relation's ends may be null.
"""

Quintuple = tuple[str, str, str, str | None, str | None]
"""Head, relation, tail, head type, tail type."""


@dataclass(frozen=True)
class Strings:
    """Entities and relations of a sentence as words: `entities` are (words, type)."""

    entities: tuple[tuple[str, str], ...]
    relations: tuple[Quintuple, ...]

    @classmethod
    def of(cls, example: Example, spans: Sequence[Span], relations: Sequence[Relation]) -> Strings:
        """Spans and relations of an example, by their words in its text."""

        def at(span: Span) -> str:
            return example.text[example.offsets[span.start][0] : example.offsets[span.end - 1][1]]

        return cls(
            tuple((at(span), span.label) for span in spans),
            tuple((at(r.head), r.label or "", at(r.tail), r.head.label, r.tail.label) for r in relations),
        )

    @classmethod
    def from_note(cls, note: Any, where: str) -> Strings:
        """The content of a note `STRINGS`. Raises `DataError` if it is not valid."""
        node = Node(note, where, f"notes.{STRINGS}")
        node.object()
        return cls(node.list("entities", _entity), node.list("relations", _quintuple))

    @classmethod
    def of_relations(cls, node: Node) -> Strings:
        """A list of quintuples, and their typed ends as the entities. Raises `DataError` if `node` is not valid."""
        relations = tuple(_quintuple(item) for item in node.items())
        ends = (end for head, _, tail, *types in relations for end in zip((head, tail), types, strict=True))
        return cls(tuple(dict.fromkeys((words, type) for words, type in ends if type is not None)), relations)

    def to_note(self) -> dict[str, Any]:
        """The note, as JSON."""
        return {"entities": [list(e) for e in self.entities], "relations": [list(r) for r in self.relations]}

    def quintuples(self) -> Iterator[Quintuple]:
        """The relations with types at both ends.

        An end without a type gets the type of the entity with the same words, and each of its types if there are
        several; words that are not an entity keep None.
        """
        types: defaultdict[str, list[str]] = defaultdict(list)
        for text, type in self.entities:
            types[text].append(type)
        for head, relation, tail, *told in self.relations:
            ends = [
                [type] if type is not None else types.get(text, [None])
                for text, type in zip((head, tail), told, strict=True)
            ]
            for head_type, tail_type in product(*ends):
                yield head, relation, tail, head_type, tail_type


def strings(example: Example, told: Example | Prediction) -> Strings:
    """An example, or a prediction for it, as words: its note, or the words at its spans."""
    if STRINGS in told.notes:
        return Strings.from_note(told.notes[STRINGS], told.id)
    return Strings.of(example, told.spans, told.relations)


def need_positions(id: str, *notes: Mapping[str, Any]) -> None:
    """Raise `DataError` if one of these notes contains strings, which are not enough to find a span."""
    if any(STRINGS in some for some in notes):
        raise DataError(
            "its entities are given by their words, not by their positions",
            where=id,
            hint='score them by words: mmkit.joint_f1.v1 with match = "string"',
            code="data.no-positions",
        )


def without_positions(examples: Sequence[Example]) -> Iterator[Problem]:
    """Examples whose entities are told by their words, which a metric of places cannot count."""
    at = [(x.id, None) for x in examples if STRINGS in x.notes]
    if at:
        told = counted(len(at), "example tells its", "examples tell their")
        hint = 'count them by words: mmkit.joint_f1.v1 with match = "string"'
        yield Problem(
            f"{told} entities by their words, not by their places", at, hint, code="data.no-positions"
        )


def _entity(node: Node) -> tuple[str, str]:
    both = node.strings()
    if len(both) != 2:
        node.fail("[words, type]")
    return both[0], both[1]


def _quintuple(node: Node) -> Quintuple:
    parts = list(node.items())
    if len(parts) != 5:
        node.fail("[head, relation, tail, head type, tail type]")
    head, relation, tail = (part.text() for part in parts[:3])
    head_type, tail_type = (None if part.value is None else part.text() for part in parts[3:])
    return head, relation, tail, head_type, tail_type
