"""Answers of tasks: dataclasses with a JSON form and its schema."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from typing import Any, Self, get_args, get_origin, get_type_hints

from mmkit.data.records import offsets_in
from mmkit.data.types import CUT, SOURCES, Box, Example, Image, Prediction, Span
from mmkit.errors import DataError
from mmkit.tasks.drawn import drawn_photos
from mmkit.tasks.frame import frame
from mmkit.tasks.notebook import Marked, article, sentence, table
from mmkit.tasks.remarks import remarks
from mmkit.tasks.schema import Schema, schema_of_fields, told_fields
from mmkit.tasks.spacy_doc import document

DIGITS = 6
"""Decimal places of scores in answers."""

_PLAIN = frozenset({str, int, float, bool, type(None)})
"""Types whose values are JSON as they are."""


class Found(Mapping[str, Any]):
    """A part of an answer: a frozen dataclass with `kw_only=True, eq=False` that can also be read like its JSON.

    `found["label"]` is `found.to_dict()["label"]`. A field that has its default value is left out of the JSON; all
    others are always there.
    """

    def to_dict(self) -> dict[str, Any]:
        """As JSON: objects, lists, strings and numbers."""
        values = ((f, getattr(self, f.name)) for f in told_fields(self))
        return {f.name: _plain(value) for f, value in values if not _is_default(value, f)}

    @classmethod
    def schema(cls) -> Schema:
        """The JSON schema (2020-12) of `to_dict()`, made from the fields' type hints.

        Raises `TypeError` for a hint without a JSON type.
        """
        return schema_of_fields(cls)

    def __getitem__(self, key: str) -> Any:
        return self.to_dict()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_dict())

    def __len__(self) -> int:
        return len(self.to_dict())


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown(Found):
    """A place in an image: in pixels of the file `path`, which is the example's `images[image]`."""

    image: int
    path: str | None
    box: Box


@dataclass(frozen=True, kw_only=True, eq=False)
class Words(Found):
    """Labelled words of the sentence: bounds in tokens and in characters, ends exclusive."""

    text: str
    label: str
    start: int
    end: int
    start_char: int
    end_char: int
    regions: tuple[Shown, ...] = ()
    """The places in the images that show what the words name."""

    @classmethod
    def of(cls, example: Example, span: Span, **more: Any) -> Self:
        """The words of a span, and `more` fields of a subclass."""
        first, last = example.offsets[span.start][0], example.offsets[span.end - 1][1]
        shown = (Shown(image=r.image, path=example.images[r.image].path, box=r.box) for r in span.regions)
        return cls(
            text=example.text[first:last],
            label=span.label,
            start=span.start,
            end=span.end,
            start_char=first,
            end_char=last,
            regions=tuple(shown),
            **more,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundSpan(Words):
    """Words that the model found, and its confidence from 0 to 1."""

    score: float


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundRelation(Found):
    """A relation between two spans, and the model's confidence from 0 to 1."""

    head: Words
    tail: Words
    label: str | None
    score: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Unread(Found):
    """What an encoder of the model did not read, because a text is longer than it takes."""

    encoder: str
    """Its name in the recipe."""
    limit: int
    """The subwords that it takes."""
    token: int | None = None
    """The first token of the sentence that was not read."""
    char: int | None = None
    """Where that begins in the text."""
    mention: bool = False
    """Whether words of the mention were not read."""
    context: bool = False
    """Whether the end of a further text (a retrieved context, a note) was not read."""

    @classmethod
    def of(cls, example: Example, note: Mapping[str, Any]) -> Self:
        """From a note `mmkit.data.types.CUT` of a prediction, which may come from a file."""
        token: Any = note.get("token")
        if not isinstance(token, int) or not 0 <= token < len(example.offsets):
            token = None
        return cls(
            encoder=str(note.get("encoder", "")),
            limit=int(note.get("limit", 0)),
            token=token,
            char=None if token is None else example.offsets[token][0],
            mention=bool(note.get("mention")),
            context=bool(note.get("context")),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer(Found):
    """The fields that all answers have: about the sentence. Subclasses add what their task finds."""

    id: str
    text: str
    tokens: tuple[str, ...]
    images: tuple[str | None, ...]
    """The photos; None is a blank one."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Notes of the decoder."""
    sources: tuple[Any, ...] = ()
    """The sources that annotators retrieved for the sentence (`mmkit.data.types.SOURCES`)."""
    unread: tuple[Unread, ...] = ()
    """What was not read of texts that are too long; empty if all was read."""
    unread_images: tuple[int, ...] = ()
    """The `images` that the model did not look at, counted from 0."""
    without_image: bool = False
    """Whether the model looks at images and had none: a blank image was used."""
    offsets: tuple[tuple[int, int], ...] = ()
    """The tokens' bounds in characters, if looking for the tokens in the text, in order, finds others."""
    pictures: tuple[Any, ...] = ()
    """All images as canonical jsonlines have them, if there are others than whole photos."""

    @classmethod
    def of(cls, example: Example, prediction: Prediction, **found: Any) -> Self:
        """The answer about an example: the fields in `found`, and those that all answers have."""
        return cls(
            id=example.id,
            text=example.text,
            tokens=example.tokens,
            images=tuple(image.path for image in example.images if image.role == "photo"),
            notes={key: note for key, note in prediction.notes.items() if key != CUT},
            unread=tuple(Unread.of(example, note) for note in prediction.notes.get(CUT, ()) if note),
            sources=tuple(example.notes.get(SOURCES, ())),
            offsets=() if _found_in_order(example) else example.offsets,
            pictures=() if all(_is_photo(i) for i in example.images) else _pictures(example),
            **found,
        )

    def half_read(self, unread: Unread) -> int:
        """How many of the pairs that the model was asked about have words that an encoder did not read."""
        return 0

    @classmethod
    def columns(cls) -> list[str]:
        """The columns of `to_frame()`, which are there even if nothing was found."""
        hints = get_type_hints(cls)
        names = [(f.name, _item(hints[f.name])) for f in _own_fields(cls)]
        about = [name for name, item in names if item is None]
        found = [column for _, item in names if item is not None for column in _columns(item)]
        return list(dict.fromkeys(["id", *about, "field", *found]))

    def rows(self) -> list[dict[str, Any]]:
        """What was found, one row for each: see `to_frame`."""
        own = {f.name: getattr(self, f.name) for f in _own_fields(type(self))}
        hints = get_type_hints(type(self))
        lists = {name: value for name, value in own.items() if _item(hints[name]) is not None}
        about = {"id": self.id, **{name: _plain(value) for name, value in own.items() if name not in lists}}
        return [
            {**about, "field": name, **(_flat(one) if isinstance(one, Found) else {"value": _plain(one)})}
            for name, found in lists.items()
            for one in found
        ]

    def to_frame(self) -> Any:
        """What was found as a pandas `DataFrame`, one row for each entity, relation or link.

        `id` (and `mention`, of a linker) is the answer's, and `field` the field that it is in, such as "entities"; the
        other columns are its own fields (`label`, `score`, `head.text`). Raises `PartError` if pandas is not installed.
        """
        return frame(self.rows(), self.columns())

    def to_spacy(self, vocab: Any = None) -> Any:
        """The answer as a spaCy `Doc`, with the text, and the answer's tokens (white space between them is a token).

        `doc.spans["mmkit"]` are all spans: entities, heads and tails of relations, and the mention of a linker, whose
        `kb_id_` is the best entity. Their scores are `doc.spans["mmkit"].attrs["scores"]`. `doc.ents` are the same
        without overlaps: of overlapping ones the longest. `doc.user_data["mmkit"]` is `to_dict()`. `vocab` is that of a
        spaCy pipeline. Raises `PartError` if spaCy is not installed.
        """
        offsets = self.offsets or offsets_in(self.text, self.tokens)
        return document(self.text, self.tokens, offsets, self._words(), self.to_dict(), vocab)

    def _repr_html_(self) -> str:
        """For notebooks: the sentence, what was found in it, the photos with boxes, and links; data are escaped."""
        found = self._words()
        marks = []
        for w, score, id in found:
            # of other words, such as the head of a relation, the score is not their own
            own = (f"{w.label} {score:.2f}", f"{w.label} {score:.3f}") if isinstance(w, FoundSpan) else ()
            marks.append(Marked(w.start, w.end, w.label, *(own or (f"{w.label} {id}".strip(),))))
        text = sentence(self.text, self.offsets or offsets_in(self.text, self.tokens), marks)
        photos = drawn_photos(self.images, self.unread_images, [words for words, *_ in found])
        return article([text, self._items(), photos, self._links()], remarks(self))

    def _items(self) -> str:
        """For notebooks, between the sentence and the photos: tables of what is more than labelled words."""
        own = {f.name: getattr(self, f.name) for f in _own_fields(type(self))}
        plain = {name: value for name, value in own.items() if isinstance(value, str | int | float)}
        tables = [table("", [plain] if plain else [])]
        for name, items in own.items():
            if isinstance(items, tuple):
                tables.append(table(name, [_row(one) for one in items if not isinstance(one, Words)]))
        return "".join(tables)

    def _links(self) -> str:
        """For notebooks, below the photos."""
        return ""

    def _words(self) -> list[tuple[Words, float, str]]:
        """All words that the fields show, each once, with their score and their entity's id (empty: not linked)."""
        found: dict[tuple[int, int, str], tuple[Words, float, str]] = {}
        for f in _own_fields(type(self)):
            value = getattr(self, f.name)
            for one in value if isinstance(value, tuple) else (value,):
                score = float(getattr(one, "score", 1.0))
                for words in (one.head, one.tail) if isinstance(one, FoundRelation) else (one,):
                    if isinstance(words, Words):
                        found.setdefault((words.start, words.end, words.label), (words, score, ""))
        return list(found.values())


def _found_in_order(example: Example) -> bool:
    """Whether the text tells where its tokens are."""
    try:
        return offsets_in(example.text, example.tokens) == example.offsets
    except DataError:
        return False


def _is_photo(image: Image) -> bool:
    return image.role == "photo" and image.box is None


def _pictures(example: Example) -> tuple[Any, ...]:
    return tuple(image.to_dict() for image in example.images)


def found_spans(example: Example, prediction: Prediction) -> tuple[FoundSpan, ...]:
    """A prediction's spans with their words."""
    scored = zip(prediction.spans, prediction.span_scores, strict=True)
    return tuple(FoundSpan.of(example, span, score=round(score, DIGITS)) for span, score in scored)


def found_relations(example: Example, prediction: Prediction) -> tuple[FoundRelation, ...]:
    """A prediction's relations with the words of heads and tails."""
    return tuple(
        FoundRelation(
            head=Words.of(example, relation.head),
            tail=Words.of(example, relation.tail),
            label=relation.label,
            score=round(score, DIGITS),
        )
        for relation, score in zip(prediction.relations, prediction.relation_scores, strict=True)
    )


def _own_fields(cls: type[Answer]) -> Iterator[dataclasses.Field[Any]]:
    """The fields of an answer that not all answers have: what its task finds."""
    return (f for f in told_fields(cls) if f.name not in Answer.__dataclass_fields__)


def _flat(found: Found) -> dict[str, Any]:
    """The fields, and those of what is found within it as `head.text`."""
    flat: dict[str, Any] = {}
    for f in told_fields(found):
        value = getattr(found, f.name)
        if isinstance(value, Found):
            flat |= {f"{f.name}.{name}": inner for name, inner in _flat(value).items()}
        else:
            flat[f.name] = _plain(value)
    return flat


def _row(one: Any) -> dict[str, Any]:
    """What a notebook shows of something that was found: words by their text, and no lists."""
    if not isinstance(one, Found):
        return {"value": _plain(one)}
    if isinstance(one, FoundRelation):
        return {"relation": f"{one.label}: {one.head.text} → {one.tail.text}", "score": one.score}
    values = {f.name: getattr(one, f.name) for f in told_fields(one)}
    return {
        name: value.text if isinstance(value, Words) else value
        for name, value in values.items()
        if isinstance(value, Words | str | int | float | None)
    }


def _item(hint: Any) -> Any:
    """What the items of a list are; None for a hint that is not a list."""
    origin, inner = get_origin(hint), get_args(hint)
    listed = origin in (list, Sequence) or (origin is tuple and inner[-1:] == (...,))
    return inner[0] if listed else None


def _columns(hint: Any) -> Iterator[str]:
    """The names that `_flat` gives for the items of a field of an answer."""
    if not (isinstance(hint, type) and issubclass(hint, Found)):
        yield "value"
        return
    hints = get_type_hints(hint)
    for f in told_fields(hint):
        own = hints[f.name]
        nested = isinstance(own, type) and issubclass(own, Found)
        yield from (f"{f.name}.{name}" for name in _columns(own)) if nested else (f.name,)


def _is_default(value: Any, f: dataclasses.Field[Any]) -> bool:
    if f.default is not MISSING:
        return bool(value == f.default)
    return f.default_factory is not MISSING and bool(value == f.default_factory())


def _plain(value: Any) -> Any:
    if type(value) in _PLAIN:  # most values: a look among abstract classes costs far more
        return value
    if isinstance(value, Found):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {key: _plain(v) for key, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value
