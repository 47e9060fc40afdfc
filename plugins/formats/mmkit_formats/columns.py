"""Rows of tables: which columns hold the sentence and its annotations, and back."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmkit import Example, Image
from mmkit.data.alignment import CharSpan, Words
from mmkit.data.tags import TagTable, chunks
from mmkit.data.tokenize import joined_bounds
from mmkit.data.types import ORPHANS
from mmkit_formats.drafts import OF_RELATION, Draft, Link, Mark, characters
from mmkit_formats.messages import shown, wrong

PLAIN = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class Columns:
    """The names of a table's columns; a column that the table does not have counts as empty.

    `tags` holds a tag (`B-PER`) or its number for each token; `spans` and `relations` hold lists as canonical jsonlines
    have them (objects with start_char and end_char, or start and end), or JSON; `images` a path, an image, or a list.
    """

    id: str = "id"
    text: str = "text"
    tokens: str = "tokens"
    tags: str = "ner_tags"
    spans: str = "spans"
    relations: str = "relations"
    images: str = "image"

    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (self.id, self.text, self.tokens, self.tags, self.spans, self.relations, self.images)


class Rows:
    """Makes drafts from rows; `names` are the tags that numbers mean, `picture` turns a cell into an image's path."""

    def __init__(
        self, columns: Columns, picture: Callable[[Any, str], str | None], names: Sequence[str] | None = None
    ) -> None:
        self.columns, self.picture, self.names = columns, picture, names
        self.known = frozenset(columns.names())
        self.tags = TagTable({})
        self.tags.update({"_": ("O", ""), "-": ("O", "")})

    def draft(self, row: Mapping[str, Any], where: str, id: str) -> Draft:
        """A row as a draft; the content of other columns becomes its `extra`. Raises `DataError`."""
        columns = self.columns
        text, tokens = row.get(columns.text), _listed(row.get(columns.tokens), columns.tokens, where)
        if not isinstance(text, str) and tokens is None:
            raise wrong(
                f"the column {columns.text!r} has no text, and {columns.tokens!r} has no tokens",
                where,
                f"the columns are {', '.join(map(str, row))}: name the one that holds them (text, tokens)",
                code="formats.no-text",
            )
        given = row.get(columns.id)
        draft = Draft(where, id if given is None else str(given), text if isinstance(text, str) else "")
        if tokens is not None:
            if set(map(type, tokens)) - {str}:
                raise wrong(
                    f"`{columns.tokens}` is not a list of texts: {shown(tokens)}",
                    where,
                    "",
                    code="formats.columns",
                )
            draft.text, draft.words = _words(text if isinstance(text, str) else None, tokens, where)
        if row.get(columns.spans) in (None, ""):
            self._read_tags(row, draft)
        self._read_spans(row, draft)
        cells = row.get(columns.images)
        for cell in cells if isinstance(cells, list) else [] if cells is None or cells == "" else [cells]:
            draft.images += (Image(self.picture(cell, where)),)
        others = row.keys() - self.known
        kept = {str(k): plain(v) for k, v in row.items() if k in others and v is not None} if others else {}
        if given is not None and not isinstance(given, str):
            kept[columns.id] = plain(given)
        draft.extra = {"columns": kept} if kept else {}
        return draft

    def _read_tags(self, row: Mapping[str, Any], draft: Draft) -> None:
        tags = _listed(row.get(self.columns.tags), self.columns.tags, draft.where)
        if tags is None:
            return
        if draft.words is None or len(tags) != len(draft.words.tokens):
            count = 0 if draft.words is None else len(draft.words.tokens)
            raise wrong(
                f"{len(tags)} tags for {count} tokens",
                draft.where,
                f"give each token one tag in the column {self.columns.tags!r}",
                code="formats.tags",
            )
        read = []
        for tag in tags:
            if isinstance(tag, int) and self.names is not None and 0 <= tag < len(self.names):
                tag = self.names[tag]
            if not isinstance(tag, str):
                raise wrong(
                    f"the tag {shown(tag)} is a number, and the file does not say which tag it means",
                    draft.where,
                    "give the tags' names in the order of their numbers, as the setting tag_names",
                    code="formats.tags",
                )
            read.append(self.tags[tag] if tag in self.tags else self.tags.parsed(tag, draft.where))
        spans, orphans = chunks(read)
        offsets = draft.words.offsets
        for span in spans:
            bounds = (offsets[span.start][0], offsets[span.end - 1][1])
            draft.marks.append(Mark(CharSpan(*bounds, span.label, self.columns.tags)))
        if orphans:
            draft.notes = {ORPHANS: [[s.start, s.end] for s in orphans]}

    def _read_spans(self, row: Mapping[str, Any], draft: Draft) -> None:
        for i, span in enumerate(_listed(row.get(self.columns.spans), self.columns.spans, draft.where) or ()):
            draft.marks.append(Mark(self._span(span, f"{self.columns.spans}[{i}]", draft)))
        for i, relation in enumerate(
            _listed(row.get(self.columns.relations), self.columns.relations, draft.where) or ()
        ):
            name = f"{self.columns.relations}[{i}]"
            if not isinstance(relation, dict) or not {"head", "tail"} <= relation.keys():
                raise wrong(
                    f"`{name}` has no head and tail: {shown(relation)}",
                    draft.where,
                    "",
                    code="formats.columns",
                )
            places = []
            for end in ("head", "tail"):
                told = self._span(relation[end], f"{name}.{end}", draft)
                same = [
                    j
                    for j, m in enumerate(draft.marks)
                    if (m.span.start, m.span.end, m.span.label) == (told.start, told.end, told.label)
                ]
                places.append(same[0] if same else len(draft.marks))
                if not same:
                    draft.marks.append(Mark(told, {OF_RELATION: True}))
            draft.links.append(Link(places[0], places[1], relation.get("label")))

    def _span(self, span: Any, name: str, draft: Draft) -> CharSpan:
        if not isinstance(span, dict) or not isinstance(span.get("label"), str):
            raise wrong(
                f"`{name}` is not a span with a label: {shown(span)}",
                draft.where,
                'a span is {"start_char": 0, "end_char": 8, "label": "PER"}; a cell has a list of them, in CSV as JSON',
                code="formats.columns",
            )
        tokens = None
        start, end = span.get("start_char"), span.get("end_char")
        if type(span.get("start")) is int and type(span.get("end")) is int:
            tokens = (span["start"], span["end"])
            if start is None and draft.words is None:  # without tokens, they count characters
                start, end, tokens = *tokens, None
            elif (
                start is None
                and draft.words is not None
                and 0 <= tokens[0] < tokens[1] <= len(draft.words.tokens)
            ):
                start, end = draft.words.offsets[tokens[0]][0], draft.words.offsets[tokens[1] - 1][1]
        if type(start) is not int or type(end) is not int or start < 0 or end < 0:
            raise wrong(
                f"`{name}` does not begin and end within the sentence: {shown(span)}",
                draft.where,
                "give start_char and end_char, or start and end in tokens",
                code="formats.columns",
            )
        said = span.get("text")
        return CharSpan(start, end, span["label"], name, said if isinstance(said, str) else None, tokens)


def _words(text: str | None, tokens: Sequence[str], where: str) -> tuple[str, Words]:
    joined = " ".join(tokens)
    text = joined if text is None else text
    if text == joined:  # the common case first
        return text, Words(tuple(tokens), joined_bounds(tokens))
    offsets, at = [], 0
    for i, token in enumerate(tokens):
        start = text.find(token, at)
        if start < 0:
            raise wrong(
                f"token {i} ({token!r}) is not in the text after character {at}",
                where,
                "the text must contain all tokens, in their order",
                code="formats.tokens",
            )
        at = start + len(token)
        offsets.append((start, at))
    return text, Words(tuple(tokens), tuple(offsets))


def _listed(value: Any, name: str, where: str) -> list[Any] | None:
    """A cell that is a list, or its JSON; None for an empty one."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = value.split()
    if not isinstance(value, list):
        raise wrong(
            f"the column {name!r} does not hold a list: {shown(value)}",
            where,
            "give a list, or a list as JSON",
            code="formats.columns",
        )
    return value


def plain(value: Any) -> Any:
    """A cell as JSON; values that JSON does not have become text."""
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, float) and math.isnan(value):
        return None
    return value if isinstance(value, PLAIN) else str(value)


def spans_of(example: Example) -> list[dict[str, Any]]:
    """The spans of an example for a cell: bounds in tokens and characters, and their words."""
    return [_cell(example, span) for span in example.spans]


def relations_of(example: Example) -> list[dict[str, Any]]:
    """The relations of an example for a cell."""
    return [
        {"head": _cell(example, r.head), "tail": _cell(example, r.tail), "label": r.label}
        for r in example.relations
    ]


def _cell(example: Example, span: Any) -> dict[str, Any]:
    start, end = characters(example, span)
    return {
        "start": span.start,
        "end": span.end,
        "start_char": start,
        "end_char": end,
        "label": span.label,
        "text": example.text[start:end],
    }


def tags_of(example: Example) -> list[str] | None:
    """The tags (BIO) of an example; None where its spans overlap."""
    tags = ["O"] * len(example.tokens)
    orphans = {tuple(bounds) for bounds in example.notes.get(ORPHANS, ())}
    for span in example.spans:
        if any(tag != "O" for tag in tags[span.start : span.end]):
            return None
        tags[span.start : span.end] = [f"I-{span.label}"] * (span.end - span.start)
        if (span.start, span.end) not in orphans:
            tags[span.start] = f"B-{span.label}"
    return tags
