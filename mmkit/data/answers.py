"""What `mmkit predict` writes, read back: as predictions, or as examples to train on (silver data)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mmkit.data.alignment import Aligner, CharSpan, Words
from mmkit.data.node import Json, Node
from mmkit.data.records import offsets_in, placed, token_bounds
from mmkit.data.types import SCORES, SOURCES, Example, Image, Mention, Prediction, Region, Relation, Span
from mmkit.errors import DataError

ANSWER = "mmkit.answer"
"""Note key: fields of an answer that the core does not know, as a plugin's task wrote them."""

_FOUND = ("entities", "relations", "links")
_KNOWN = frozenset(
    {
        *("id", "text", "tokens", "offsets", "images", "pictures", "mention", "mention_span", "notes"),
        *("sources", *_FOUND),
    }
)


def is_answer(record: object) -> bool:
    """Whether a JSON value looks like a line that `mmkit predict` writes."""
    return (
        isinstance(record, dict)
        and record.keys() >= {"id", "text", "tokens"}
        and ("entities" in record or "links" in record)
    )


def silver(question: Example, prediction: Prediction) -> Example:
    """An example annotated with what was predicted for it; the scores become the note `SCORES`.

    `question` is the example without what is to be found, as its task leaves it (`Task.question`). A link becomes the
    example's `entity`: the best one.
    """
    scores = {
        kind: list(found)
        for kind in ("spans", "relations", "links")
        if (found := getattr(prediction, f"{kind[:-1]}_scores"))
    }
    return replace(
        question,
        spans=prediction.spans or question.spans,
        relations=prediction.relations or question.relations,
        entity=prediction.links[0] if prediction.links else question.entity,
        candidates=prediction.links or question.candidates,
        notes={**question.notes, **prediction.notes, **({SCORES: scores} if scores else {})},
    )


def answered(node: Node) -> Prediction:
    """The prediction in an answer. Raises `DataError`."""
    return Prediction(
        id=node["id"].text(),
        spans=node.list("entities", _span),
        span_scores=node.list("entities", _score),
        relations=node.list("relations", _relation),
        relation_scores=node.list("relations", _score),
        links=node.list("links", lambda link: _object(link)["entity"].text()),
        link_scores=node.list("links", _score),
        notes=node.optional("notes", Node.object) or {},
    )


def example_from_answer(record: Mapping[str, Any], where: str = "", root: str = "") -> Example:
    """The example that an answer becomes: see `silver`. Relative paths of images are relative to `root`.

    Token and character bounds of spans must agree. Raises `DataError`.
    """
    node = Node(record, where)
    text, tokens = node["text"].text(), node["tokens"].strings()
    if record.get("offsets"):
        offsets = node.list("offsets", lambda n: token_bounds(n, len(text)))
    else:
        offsets = offsets_in(text, tokens, where)
    pictures = "pictures" if record.get("pictures") else "images"
    images = node.list(pictures, lambda n: placed(Image(None) if n.value is None else Image.read(n), root))
    notes: Json = {SOURCES: list(record["sources"])} if record.get("sources") else {}
    if more := {name: value for name, value in record.items() if name not in _KNOWN}:
        notes[ANSWER] = more
    mention = node.optional("mention", Node.text)
    prediction = answered(node)
    try:
        question = Example(
            id=node["id"].text(),
            text=text,
            tokens=tokens,
            offsets=offsets,
            images=images,
            mention=Mention(mention, node.optional("mention_span", _span)) if mention else None,
            notes=notes,
        )
        _check_characters(node, question)
        return silver(question, prediction)
    except DataError as error:
        raise error.at(where or error.where) from None


def _check_characters(node: Node, example: Example) -> None:
    """Refuse bounds in characters that do not agree with those in tokens."""
    spans = node.list("entities", lambda n: n)
    ends = [end for n in node.list("relations", lambda n: n) for end in (n["head"], n["tail"])]
    for span in (*spans, *ends):
        if "start_char" not in span.value:
            continue
        first, last = span["start_char"].count(), span["end_char"].count()
        start, end = span["start"].count(), span["end"].count()
        if end > len(example.tokens) or (example.offsets[start][0], example.offsets[end - 1][1]) == (
            first,
            last,
        ):
            continue  # one that is outside is found by the example itself
        told = CharSpan(first, last, "", span.name, span.optional("text", Node.text), (start, end))
        Aligner().align(example.text, [told], node.where, Words(example.tokens, example.offsets))


def _object(node: Node) -> Node:
    node.object()
    return node


def _score(node: Node) -> float:
    return _object(node)["score"].number()


def _relation(node: Node) -> Relation:
    _object(node)
    return Relation(_span(node["head"]), _span(node["tail"]), node.optional("label", Node.text))


def _span(node: Node) -> Span:
    start, end = (_object(node)[key].count() for key in ("start", "end"))
    if start >= end:
        node.fail("a span with start < end")
    return Span(start, end, node["label"].text(), node.list("regions", _region))


def _region(node: Node) -> Region:
    return Region.read(Node({k: v for k, v in node.object().items() if k != "path"}, node.where, node.name))
