"""Spans, relations and the mention of a record, given by tokens or by characters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from mmkit.data.alignment import Aligner, CharSpan, Offsets, Words
from mmkit.data.node import Node
from mmkit.data.types import Mention, Region, Relation, Span
from mmkit.data.usual_names import MEANT_OF_RELATIONS, MEANT_OF_SPANS
from mmkit.errors import DataError

_BOUNDS = ("start", "end", "start_char", "end_char")
_FIELDS = (*_BOUNDS, "label", "text", "regions")


class Marks(NamedTuple):
    """What a record marks in its text."""

    spans: tuple[Span, ...]
    relations: tuple[Relation, ...]
    mention: Mention | None

    def all_spans(self) -> list[Span]:
        """The spans, the heads and tails of the relations, and the mention's span."""
        ends = [span for relation in self.relations for span in (relation.head, relation.tail)]
        named = [self.mention.span] if self.mention is not None and self.mention.span is not None else []
        return [*self.spans, *ends, *named]


def labelled(node: Node) -> Node:
    """A record with the labels that may be left out.

    A mention's span is called "mention". The head and the tail of a relation have the label of the entity in `spans`
    with the same bounds; in a record without `spans` they are called "head" and "tail". Raises `DataError` if the
    label is not clear.
    """
    mention, relations = node.value.get("mention"), node.value.get("relations")
    changed: dict[str, Any] = {}
    if isinstance(mention, dict) and _lacks_label(mention.get("span")):
        changed["mention"] = {**mention, "span": {**mention["span"], "label": "mention"}}
    if isinstance(relations, list):
        changed["relations"] = [
            {
                **relation,
                **{k: _with_label(node, relation[k], k, i) for k in ("head", "tail") if k in relation},
            }
            if isinstance(relation, dict) and any(_lacks_label(relation.get(k)) for k in ("head", "tail"))
            else relation
            for i, relation in enumerate(relations)
        ]
    return Node({**node.value, **changed}, node.where, node.name) if changed else node


def _lacks_label(span: object) -> bool:
    return isinstance(span, dict) and "label" not in span


def _with_label(node: Node, end: Any, kind: str, number: int) -> Any:
    """The head or the tail (`kind`) of a relation, with its label."""
    if not _lacks_label(end):
        return end
    spans = node.value.get("spans")
    if not spans:
        return {**end, "label": kind}
    found: list[Any] = []
    for span in spans if isinstance(spans, list) else ():
        same = isinstance(span, dict) and all(span.get(bound) == end.get(bound) for bound in _BOUNDS)
        if same and "label" in span and span["label"] not in found:
            found.append(span["label"])
    if len(found) == 1:
        return {**end, "label": found[0]}
    why = "has several labels in `spans`" if found else "is not one of `spans`"
    raise DataError(
        f"`relations[{number}].{kind}` has no `label`, and {why}",
        where=node.where,
        hint=f"give the {kind} its label"
        if found
        else f"give the {kind} its label, and put it into `spans` too",
        code="json.missing-field",
    )


def by_characters(node: Node) -> bool:
    """Whether any span of a record is given by characters, or says its words, which are compared with the text."""
    return any(_has_characters(found.value) or _says_words(found.value) for found in _all(node))


def read_marks(node: Node) -> Marks:
    """The marks of a record that gives tokens alone."""
    return Marks(
        node.list("spans", Span.read),
        node.list("relations", Relation.read),
        node.optional("mention", Mention.read),
    )


def align_marks(
    node: Node, text: str, words: Words | None, aligner: Aligner
) -> tuple[tuple[str, ...], Offsets, Marks]:
    """Tokens, offsets and marks of a record that gives some spans by characters.

    If a span is left out, its relations are left out too, and counted. Raises `DataError`.
    """
    told = [_told(found, words, text) for found in _all(node)]
    found, spans = aligner.align(text, told, node.where, words)
    placed = iter(spans)
    marked = node.list("spans", lambda _: next(placed))
    relations = []
    for relation in node.list("relations", lambda n: n):
        head, tail = next(placed), next(placed)
        label = relation.optional("label", Node.text)
        if head is None or tail is None:
            aligner.repairs["relation left out with a span that is"] += 1
        else:
            relations.append(Relation(head, tail, label))
    mention = None
    if node.value.get("mention") is not None:
        about = node["mention"].fields(("text", "span"))
        words_of = about["text"].text()
        mention = Mention(words_of, next(placed) if about.value.get("span") is not None else None)
    return *found, Marks(tuple(span for span in marked if span is not None), tuple(relations), mention)


def _has_characters(span: object) -> bool:
    return isinstance(span, dict) and ("start_char" in span or "end_char" in span)


def _says_words(span: object) -> bool:
    return isinstance(span, dict) and "text" in span


def _all(node: Node) -> Iterator[Node]:
    """Every span of a record: its spans, the heads and tails of its relations, its mention's."""
    yield from node.list("spans", lambda n: n)
    for relation in node.list("relations", lambda n: n):
        relation.fields(("head", "tail", "label"), MEANT_OF_RELATIONS)
        yield from (relation["head"], relation["tail"])
    mention = node.value.get("mention")
    if isinstance(mention, dict) and mention.get("span") is not None:
        yield node["mention"]["span"]


def _told(node: Node, words: Words | None, text: str) -> CharSpan:
    """A span as the record gives it. Raises `DataError` for one that is not given by characters or tokens."""
    node.fields(_FIELDS, MEANT_OF_SPANS)
    label, regions = node["label"].text(), node.list("regions", Region.read)
    given = None
    if "start" in node.value or "end" in node.value:
        if words is None:
            raise DataError(
                f"`{node.name}` counts tokens, but the record has none",
                where=node.where,
                hint="give `tokens` too, or leave out start and end beside start_char and end_char",
                code="data.no-tokens",
            )
        plain = Span(*_ordered(node), label)
        given = (plain.start, plain.end)
    if not _has_characters(node.value):
        if given is None or words is None:
            raise DataError(
                f"`{node.name}` has neither start and end nor start_char and end_char",
                where=node.where,
                code="json.missing-field",
            )
        if given[1] > len(words.tokens):
            node.fail(f"a span within the sentence's {len(words.tokens)} tokens")
        start, end = words.offsets[given[0]][0], words.offsets[given[1] - 1][1]
    else:
        start, end = node["start_char"].count(), node["end_char"].count()
    said = node.optional("text", Node.text)
    return CharSpan(start, end, label, node.name, said, given, regions)


def _ordered(node: Node) -> tuple[int, int]:
    start, end = node["start"].count(), node["end"].count()
    if start >= end:
        node.fail("a span with start < end")
    return start, end
