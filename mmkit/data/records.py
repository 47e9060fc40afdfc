"""The JSON form of examples, entities and predictions: one object each, field names as in the data model.

Fields at their default are left out. `offsets` are left out too where they follow from tokens joined by
single spaces. Users' own records may say less than the canonical form: see `example_from_json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, TypeAlias, TypeVar

from mmkit.data.crops import under
from mmkit.data.tokenize import tokenize
from mmkit.data.types import Entity, Example, Image, Mention, Prediction, Relation, Span
from mmkit.errors import DataError, did_you_mean

Json: TypeAlias = dict[str, Any]
T = TypeVar("T")

_EXAMPLE = tuple(Example.__dataclass_fields__)
_ENTITY = tuple(Entity.__dataclass_fields__)
_PREDICTION = tuple(Prediction.__dataclass_fields__)


def to_json(x: Example | Entity | Prediction) -> Json:
    """The JSON object of a record; `*_from_json` gives an equal record back.

    Raises `DataError` for notes that JSON cannot hold (tuples, keys that are no strings, NaN).
    """
    record: Json = {"id": x.id}
    if isinstance(x, Example):
        record |= _words_to_json(x)
        record["images"] = [_image_to_json(i) for i in x.images]
        record["spans"] = [_span_to_json(s) for s in x.spans]
        record["relations"] = [_relation_to_json(r) for r in x.relations]
        record["mention"] = None if x.mention is None else _mention_to_json(x.mention)
        record |= {"entity": x.entity, "candidates": list(x.candidates)}
    elif isinstance(x, Entity):
        record |= {"name": x.name, "aliases": list(x.aliases), "description": x.description or None}
        record["images"] = [_image_to_json(i) for i in x.images]
    else:
        record |= {"spans": [_span_to_json(s) for s in x.spans], "span_scores": list(x.span_scores)}
        record["relations"] = [_relation_to_json(r) for r in x.relations]
        record["relation_scores"] = list(x.relation_scores)
        record |= {"links": list(x.links), "link_scores": list(x.link_scores)}
    record["notes"] = _notes_to_json(x.notes, x.id)
    return {k: v for k, v in record.items() if k == "tokens" or v not in (None, [], {})}


def _words_to_json(x: Example) -> Json:
    plain = x.text == " ".join(x.tokens) and x.offsets == _joined_offsets(x.tokens)
    offsets = None if plain else [list(o) for o in x.offsets]
    return {"text": x.text, "tokens": list(x.tokens), "offsets": offsets}


def _span_to_json(s: Span) -> Json:
    return {"start": s.start, "end": s.end, "label": s.label}


def _relation_to_json(r: Relation) -> Json:
    label = {} if r.label is None else {"label": r.label}
    return {"head": _span_to_json(r.head), "tail": _span_to_json(r.tail), **label}


def _image_to_json(i: Image) -> Json:
    return {"path": i.path, "role": i.role} | ({} if i.box is None else {"box": list(i.box)})


def _mention_to_json(m: Mention) -> Json:
    return {"text": m.text} | ({} if m.span is None else {"span": _span_to_json(m.span)})


def _notes_to_json(notes: Mapping[str, Any], id: str) -> Json:
    plain = dict(notes)
    try:
        same = not plain or json.loads(json.dumps(plain, allow_nan=False)) == plain
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"its notes are not JSON: {error}", where=id) from error
    if not same:
        raise DataError("its notes are not JSON: tuples, or keys that are no strings", where=id)
    return plain


def example_from_json(record: Any, where: str = "", root: str = "", id: str = "") -> Example:
    """An example from its JSON object. Relative image paths are taken to lie under `root`.

    `tokens` may be left out (`text` is tokenised), or `text` (tokens are joined by spaces), or only
    `offsets`; images may be plain strings, and `id` is taken where the record has none.
    Raises `DataError` that says `where` and names the field.
    """
    node = Node(record, where).fields(_EXAMPLE)
    text, tokens, offsets = _words(node)
    fields: Json = {
        "images": node.list("images", lambda n: _image(n, root)),
        "spans": node.list("spans", _span),
        "relations": node.list("relations", _relation),
        "mention": node.optional("mention", _mention),
        "entity": node.optional("entity", Node.text),
        "candidates": node.list("candidates", Node.text),
        "notes": node.optional("notes", Node.object) or {},
    }
    try:
        return Example(node.id(id), text, tokens, offsets, **fields)
    except DataError as error:
        raise DataError(error.what, where=where or error.where) from None


def entity_from_json(record: Any, where: str = "", root: str = "", id: str = "") -> Entity:
    """An entity from its JSON object; arguments and errors as for `example_from_json`."""
    node = Node(record, where).fields(_ENTITY)
    return Entity(
        id=node.id(id),
        name=node["name"].text(),
        aliases=node.list("aliases", Node.text),
        description=node.optional("description", Node.text) or "",
        images=node.list("images", lambda n: _image(n, root)),
        notes=node.optional("notes", Node.object) or {},
    )


def prediction_from_json(record: Any, where: str = "", root: str = "", id: str = "") -> Prediction:
    """A prediction from its JSON object; it has no pictures, so `root` does not matter."""
    node = Node(record, where).fields(_PREDICTION)
    return Prediction(
        id=node.id(id),
        spans=node.list("spans", _span),
        span_scores=node.list("span_scores", Node.number),
        relations=node.list("relations", _relation),
        relation_scores=node.list("relation_scores", Node.number),
        links=node.list("links", Node.text),
        link_scores=node.list("link_scores", Node.number),
        notes=node.optional("notes", Node.object) or {},
    )


class Node:
    """A value inside a record that knows its name there, so that every error can say which field is wrong."""

    __slots__ = ("name", "value", "where")

    def __init__(self, value: Any, where: str, name: str = "") -> None:
        self.value, self.where, self.name = value, where, name

    def fail(self, expected: str) -> NoReturn:
        try:
            shown = repr(self.value)
        except RecursionError:
            shown = f"a {type(self.value).__name__} nested too deep to show"
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        raise DataError(f"`{self.name or 'record'}` must be {expected}, not {shown}", where=self.where)

    def fields(self, known: tuple[str, ...]) -> Node:
        """Itself, checked to be an object with none but `known` fields."""
        for key in self.object():
            if key not in known:
                raise DataError(
                    f"unknown field `{self._inside(key)}`", where=self.where, hint=did_you_mean(key, known)
                )
        return self

    def __getitem__(self, key: str) -> Node:
        if key not in self.value:
            raise DataError(f"the field `{self._inside(key)}` is missing", where=self.where)
        return Node(self.value[key], self.where, self._inside(key))

    def optional(self, key: str, read: Callable[[Node], T]) -> T | None:
        """The field as `read` gives it; None where it is missing or null."""
        return None if self.value.get(key) is None else read(self[key])

    def list(self, key: str, read: Callable[[Node], T]) -> tuple[T, ...]:
        """The items of a list field as `read` gives them; none where the field is missing."""
        return () if key not in self.value else tuple(read(n) for n in self[key].items())

    def items(self) -> Iterable[Node]:
        if not isinstance(self.value, list):
            self.fail("a list")
        return (Node(v, self.where, f"{self.name}[{i}]") for i, v in enumerate(self.value))

    def id(self, default: str) -> str:
        return default if default and "id" not in self.value else self["id"].text()

    def object(self) -> Json:
        return self.value if isinstance(self.value, dict) else self.fail("an object")

    def text(self) -> str:
        return self.value if isinstance(self.value, str) else self.fail("a string")

    def count(self) -> int:
        return (
            self.value if type(self.value) is int and self.value >= 0 else self.fail("a whole number from 0")
        )

    def number(self) -> float:
        if type(self.value) not in (int, float):
            self.fail("a number")
        try:
            return float(self.value)
        except OverflowError:
            self.fail("a number that a float can hold")

    def strings(self) -> tuple[str, ...]:
        if not (isinstance(self.value, list) and all(type(v) is str for v in self.value)):
            self.fail("a list of strings")
        return tuple(self.value)

    def _inside(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key


def _words(node: Node) -> tuple[str, tuple[str, ...], tuple[tuple[int, int], ...]]:
    """Text, tokens and offsets, with what the record leaves out worked out from the rest."""
    text = node.optional("text", Node.text)
    if node.value.get("tokens") is None:
        if text is None:
            raise DataError("it has neither `text` nor `tokens`", where=node.where)
        for key in ("offsets", "spans", "relations"):
            if node.value.get(key):
                raise DataError(
                    f"`{key}` without `tokens`", where=node.where, hint="they count tokens: give `tokens` too"
                )
        return text, *tokenize(text)
    tokens = node["tokens"].strings()
    if text is None:
        text = " ".join(tokens)
    if node.value.get("offsets") is not None:
        return text, tokens, node.list("offsets", lambda n: _bounds(n, len(text)))
    if text == " ".join(tokens):
        return text, tokens, _joined_offsets(tokens)
    return text, tokens, _found_offsets(text, tokens, node.where)


def _joined_offsets(tokens: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    return Example.from_tokens("", tokens).offsets


def _found_offsets(text: str, tokens: tuple[str, ...], where: str) -> tuple[tuple[int, int], ...]:
    offsets, at = [], 0
    for i, token in enumerate(tokens):
        start = text.find(token, at)
        if start < 0:
            raise DataError(
                f"`tokens[{i}]` ({token!r}) does not occur in `text` after character {at}", where=where
            )
        at = start + len(token)
        offsets.append((start, at))
    return tuple(offsets)


def _bounds(node: Node, length: int) -> tuple[int, int]:
    bounds = tuple(n.count() for n in node.items())
    if len(bounds) != 2 or not bounds[0] <= bounds[1] <= length:
        node.fail(f"[start, end] within the text's {length} characters")
    return bounds[0], bounds[1]


def _span(node: Node) -> Span:
    node.fields(("start", "end", "label"))
    start, end = node["start"].count(), node["end"].count()
    if start >= end:
        node.fail("a span with start < end")
    return Span(start, end, node["label"].text())


def _relation(node: Node) -> Relation:
    node.fields(("head", "tail", "label"))
    return Relation(_span(node["head"]), _span(node["tail"]), node.optional("label", Node.text))


def _mention(node: Node) -> Mention:
    node.fields(("text", "span"))
    return Mention(node["text"].text(), node.optional("span", _span))


def _image(node: Node, root: str) -> Image:
    if isinstance(node.value, str):
        return Image(under(root, node.value))
    node.fields(("path", "role", "box"))
    path = node.optional("path", Node.text)
    role = node.optional("role", Node.text) or "photo"
    if role not in ("photo", "object"):
        node["role"].fail("'photo' or 'object'")
    box = node.list("box", Node.number) if node.value.get("box") is not None else None
    if box is not None and len(box) != 4:
        node["box"].fail("[left, top, right, bottom]")
    return Image(None if path is None else under(root, path), role, box)  # type: ignore[arg-type]
