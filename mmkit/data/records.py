"""The JSON form of examples, entities and predictions: one object each, field names as in the data model.

Fields at their default are left out. `offsets` are also left out if the text is the tokens joined by single spaces.
Users' own records may be shorter than the canonical form: see `example_from_json`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from mmkit.data.alignment import Aligner, Words
from mmkit.data.bounds import as_characters
from mmkit.data.crops import under
from mmkit.data.marks import align_marks, by_characters, labelled, read_marks
from mmkit.data.node import Json, Node, plain_notes, without_defaults
from mmkit.data.tokenize import joined_bounds, tokenize
from mmkit.data.types import Entity, Example, Image, Media, Prediction
from mmkit.data.usual_names import MEANT
from mmkit.errors import DataError

__all__ = ["Json", "Node", "entity_from_json", "example_from_json", "prediction_from_json", "to_json"]

T = TypeVar("T", Image, Media)

_EXAMPLE = tuple(Example.__dataclass_fields__)
_ENTITY = tuple(Entity.__dataclass_fields__)


def to_json(x: Example | Entity | Prediction) -> Json:
    """The JSON object of a record; `*_from_json` returns an equal record.

    Raises `DataError` for notes that cannot be JSON (tuples, keys that are not strings, NaN).
    """
    if isinstance(x, Prediction):
        return x.to_dict()
    record: Json = {"id": x.id}
    if isinstance(x, Example):
        record |= _words_to_json(x)
        record["images"] = [i.to_dict() for i in x.images]
        record["spans"] = [s.to_dict() for s in x.spans]
        record["relations"] = [r.to_dict() for r in x.relations]
        record["mention"] = None if x.mention is None else x.mention.to_dict()
        record |= {"entity": x.entity, "candidates": list(x.candidates)}
    else:
        record |= {"name": x.name, "aliases": list(x.aliases), "description": x.description or None}
        record["images"] = [i.to_dict() for i in x.images]
    record["notes"] = plain_notes(x.notes, x.id)
    record["media"] = [m.to_dict() for m in x.media]
    return without_defaults(record, keep=("tokens",))


def _words_to_json(x: Example) -> Json:
    plain = x.text == " ".join(x.tokens) and x.offsets == joined_bounds(x.tokens)
    offsets = None if plain else [list(o) for o in x.offsets]
    return {"text": x.text, "tokens": list(x.tokens), "offsets": offsets}


def example_from_json(
    record: object, where: str = "", root: str = "", id: str = "", aligner: Aligner | None = None
) -> Example:
    """An example from its JSON object. Relative paths of images and media are relative to `root`.

    `tokens` may be left out (`text` is tokenised), or `text` (tokens are joined by spaces), or only
    `offsets`; images may be plain strings, and `id` is used if the record has none. Spans may be given by
    `start_char` and `end_char`, which `aligner` turns into token bounds; if both are given, they must agree. Labels of
    heads, tails and mentions may be left out (`mmkit.data.marks.labelled`).
    Raises `DataError` that says `where` and names the field.
    """
    aligner = aligner or Aligner()
    if aligner.bounds == "characters":
        record = as_characters(record)
    node = labelled(Node(record, where).fields(_EXAMPLE, MEANT))
    if by_characters(node):
        text, words = _given_words(node)
        tokens, offsets, marks = align_marks(node, text, words, aligner)
    else:
        text, (tokens, offsets) = _words(node)
        marks = read_marks(node)
        if aligner.bounds is None:
            aligner.doubt.look(text, tokens, offsets, marks.all_spans(), where)
    fields: Json = {
        "images": node.list("images", lambda n: placed(Image.read(n), root)),
        "spans": marks.spans,
        "relations": marks.relations,
        "mention": marks.mention,
        "entity": node.optional("entity", Node.text),
        "candidates": node.list("candidates", Node.text),
        "notes": node.optional("notes", Node.object) or {},
        "media": node.list("media", lambda n: placed(Media.read(n), root)),
    }
    try:
        return Example(node.id(id), text, tokens, offsets, **fields)
    except DataError as error:
        raise error.at(where or error.where) from None


def entity_from_json(record: object, where: str = "", root: str = "", id: str = "") -> Entity:
    """An entity from its JSON object; arguments and errors as for `example_from_json`."""
    node = Node(record, where).fields(_ENTITY)
    return Entity(
        id=node.id(id),
        name=node["name"].text(),
        aliases=node.list("aliases", Node.text),
        description=node.optional("description", Node.text) or "",
        images=node.list("images", lambda n: placed(Image.read(n), root)),
        notes=node.optional("notes", Node.object) or {},
        media=node.list("media", lambda n: placed(Media.read(n), root)),
    )


def prediction_from_json(record: object, where: str = "", root: str = "", id: str = "") -> Prediction:
    """A prediction from its JSON object; it has no images, so `root` does not matter."""
    return Prediction.from_dict(record, where, id)


def _words(node: Node) -> tuple[str, Words]:
    """Text, and its tokens with offsets; what the record leaves out is computed from the rest."""
    text, words = _given_words(node)
    if words is not None:
        return text, words
    for key in ("spans", "relations"):
        if node.value.get(key):
            raise DataError(
                f"`{key}` without `tokens`",
                where=node.where,
                hint="start and end count tokens: give `tokens` too; if they count characters, call them start_char "
                'and end_char, or set bounds = "characters" of mmkit.jsonl.v1',
                code="data.no-tokens",
            )
    return text, Words(*tokenize(text))


def _given_words(node: Node) -> tuple[str, Words | None]:
    """Text, and the record's own tokens with offsets, if it has any."""
    text = node.optional("text", Node.text)
    if node.value.get("tokens") is None:
        if text is None:
            raise DataError("it has neither `text` nor `tokens`", where=node.where, code="data.no-text")
        if node.value.get("offsets"):
            raise DataError(
                "`offsets` without `tokens`",
                where=node.where,
                hint="they are the bounds of tokens: give `tokens` too",
                code="data.no-tokens",
            )
        return text, None
    tokens = node["tokens"].strings()
    if text is None:
        text = " ".join(tokens)
    if node.value.get("offsets") is not None:
        offsets = node.list("offsets", lambda n: token_bounds(n, len(text)))
        if len(offsets) != len(tokens):
            raise DataError(
                f"{len(tokens)} tokens but {len(offsets)} offsets", where=node.where, code="data.offset-count"
            )
        return text, Words(tokens, offsets)
    return text, Words(tokens, offsets_in(text, tokens, node.where))


def offsets_in(text: str, tokens: tuple[str, ...], where: str = "") -> tuple[tuple[int, int], ...]:
    """The bounds of tokens that stand in `text` in their order. Raises `DataError` for one that does not."""
    return joined_bounds(tokens) if text == " ".join(tokens) else _found_offsets(text, tokens, where)


def _found_offsets(text: str, tokens: tuple[str, ...], where: str) -> tuple[tuple[int, int], ...]:
    offsets, at = [], 0
    for i, token in enumerate(tokens):
        start = text.find(token, at)
        if start < 0:
            raise DataError(
                f"`tokens[{i}]` ({token!r}) does not occur in `text` after character {at}",
                where=where,
                code="data.token-not-in-text",
            )
        at = start + len(token)
        offsets.append((start, at))
    return tuple(offsets)


def token_bounds(node: Node, length: int) -> tuple[int, int]:
    """The bounds `[start, end]` of a token in a text of so many characters. Raises `DataError` for others."""
    bounds = tuple(n.count() for n in node.items())
    if len(bounds) != 2 or not bounds[0] <= bounds[1] <= length:
        node.fail(f"[start, end] within the text's {length} characters")
    return bounds[0], bounds[1]


def placed(x: T, root: str) -> T:
    """An image or another medium, with its path under `root`."""
    return x if x.path is None else replace(x, path=under(root, x.path))
