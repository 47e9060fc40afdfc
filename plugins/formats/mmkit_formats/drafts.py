"""From a record of any format to an example: offsets become tokens, and what only its format knows becomes a note."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmkit import DataError, Example, Image, Reader, Relation, Span
from mmkit.data.alignment import Aligner, CharSpan, Misaligned, Units, Words
from mmkit.data.crops import blanked, found
from mmkit.data.json_text import parse_line
from mmkit.data.lines import numbered_lines
from mmkit.data.problems import Place
from mmkit.data.tokenize import tokenize

CHOICES = "formats.choices"
"""Note key: labels of the whole sentence, `{question: [answer, ...]}`; annotation tools call them choices."""
OF_RELATION = "of_relation"
"""What is said of a mark that only a relation names: it is no span of the example."""


@dataclass(slots=True)
class Mark:
    """A span of a record, with everything else that its format says about it."""

    span: CharSpan
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Link:
    """A relation of a record: the indices of its head and tail in the marks, and what else the format says about it."""

    head: int
    tail: int
    label: str | None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Draft:
    """A record as its file has it, with spans in characters; `extra` is what else its format says about it."""

    where: str
    id: str
    text: str
    marks: list[Mark] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    words: Words | None = None
    images: tuple[Image, ...] = ()
    choices: Mapping[str, list[str]] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)


class FormatReader(Reader):
    """A reader of records whose spans count characters.

    `misaligned` says what happens to a span that begins or ends inside a token: "error" stops, "expand" widens it to
    whole tokens, "drop" leaves it out, "split" splits the token. `offsets` says what offsets count: "characters",
    "utf-16" or "bytes". What only the format knows becomes the example's note `note`; its writer writes it again.
    """

    note: str

    def __init__(
        self,
        root: str,
        file: str,
        blank_images: bool = False,
        *,
        misaligned: Misaligned = "error",
        offsets: Units = "characters",
    ) -> None:
        super().__init__(root, file, blank_images)
        self.misaligned, self.offsets = misaligned, offsets

    @abstractmethod
    def drafts(self) -> Iterator[Draft]:
        """The records, in order. Raises `DataError`."""

    def json_lines(self) -> Iterator[tuple[Any, str, str]]:
        """The JSON value of each line, its place, and an id; empty lines are skipped and counted."""
        for number, line in numbered_lines(self.path, self.source, self.repairs):
            where = f"{self.path}:{number}"
            if line.strip():
                yield parse_line(line, where), where, f"{self.path.stem}:{number}"
            else:
                self.repairs["empty line skipped"] += 1

    def __iter__(self) -> Iterator[Example]:
        self.repairs.clear()
        aligner = Aligner(self.misaligned, self.offsets, self.repairs)
        seen: set[str] = set()
        for draft in self.drafts():
            if draft.id in seen:
                what = f"the id {draft.id!r} occurs twice"
                self.refuse(DataError(what, where=draft.where, code="data.duplicate-id"))
                continue
            seen.add(draft.id)
            try:
                example = self.example(draft, aligner)
            except DataError as error:
                self.refuse(error)
                continue
            self.place = Place(draft.where)
            yield blanked(example) if self.blank_images else found(example, self.repairs)

    def example(self, draft: Draft, aligner: Aligner) -> Example:
        """The example of a record. Raises `DataError`."""
        words, spans = aligner.align(draft.text, [m.span for m in draft.marks], draft.where, draft.words)
        if not words.tokens:
            raise DataError(
                "an empty sentence",
                where=draft.where,
                hint="remove the record or give it some text",
                code="data.empty-sentence",
            )
        extra = dict(draft.extra)
        kept, more = [], []
        for span, mark in zip(spans, draft.marks, strict=True):
            if span is None or mark.extra.get(OF_RELATION):
                continue
            kept.append(span)
            if mark.extra:
                more.append([span.start, span.end, span.label, mark.extra])
        relations = []
        of_relations = []
        for link in draft.links:
            head, tail = spans[link.head], spans[link.tail]
            if head is None or tail is None:
                self.repairs["relation left out with a span that is"] += 1
                continue
            relations.append(Relation(head, tail, link.label))
            if link.extra:
                of_relations.append([head.start, head.end, tail.start, tail.end, link.label, link.extra])
        if more:
            extra["spans"] = more
        if of_relations:
            extra["relations"] = of_relations
        notes = dict(draft.notes)
        if draft.choices:
            notes[CHOICES] = {name: list(chosen) for name, chosen in draft.choices.items()}
        if extra:
            notes[self.note] = extra
        try:
            return Example(
                draft.id,
                draft.text,
                *words,
                images=draft.images,
                spans=tuple(kept),
                relations=tuple(relations),
                notes=notes,
            )
        except DataError as error:
            raise error.at(draft.where) from None


class Extras:
    """What a format's note says about an example's spans and relations, for its writer."""

    def __init__(self, note: Mapping[str, Any]) -> None:
        self._spans: defaultdict[tuple[Any, ...], list[Any]] = defaultdict(list)
        self._relations: defaultdict[tuple[Any, ...], list[Any]] = defaultdict(list)
        for *key, extra in note.get("spans", ()):
            self._spans[tuple(key)].append(extra)
        for *key, extra in note.get("relations", ()):
            self._relations[tuple(key)].append(extra)

    def of_span(self, span: Span) -> dict[str, Any]:
        """What the note says about a span; for equal spans, about each in turn."""
        return _next(self._spans.get((span.start, span.end, span.label)))

    def of_relation(self, relation: Relation) -> dict[str, Any]:
        """What the note says about a relation."""
        head, tail = relation.head, relation.tail
        return _next(self._relations.get((head.start, head.end, tail.start, tail.end, relation.label)))


def _next(waiting: list[Any] | None) -> dict[str, Any]:
    return dict(waiting.pop(0)) if waiting else {}


def characters(example: Example, span: Span) -> tuple[int, int]:
    """The character bounds of a span, end exclusive."""
    return example.offsets[span.start][0], example.offsets[span.end - 1][1]


def all_spans(example: Example, losses: Counter[str]) -> list[Span]:
    """The spans of an example, and those that only its relations name, each once (equal ones of `spans` are kept).

    The latter are counted in `losses`: whoever reads the file takes them for spans of the example.
    """
    spans = list(example.spans)
    for relation in example.relations:
        spans += [end for end in (relation.head, relation.tail) if end not in spans]
    if more := len(spans) - len(example.spans):
        losses["end of a relation that is no span of the sentence, written as one"] += more
    return spans


def note_of(example: Example, note: str) -> dict[str, Any]:
    """What a format's reader noted about an example; empty if the example has another origin."""
    said = example.notes.get(note)
    return dict(said) if isinstance(said, dict) else {}


def count_rest(example: Example, losses: Counter[str], known: Sequence[str], *, tokens: bool = True) -> None:
    """Count in `losses` what no format of this package but WebDataset has a place for.

    Notes of the keys `known` are written; so are tokens, if `tokens` is true.
    """
    for key in example.notes:
        if key not in known:
            losses["choice" if key == CHOICES else f"note {key}"] += 1
    if example.mention is not None:
        losses["mention"] += 1
    if example.entity is not None:
        losses["entity of a mention"] += 1
    if example.candidates:
        losses["list of candidates"] += 1
    if example.media:
        losses["file that is not an image"] += len(example.media)
    if regions := sum(len(span.regions) for span in example.spans):
        losses["region of a span in an image"] += regions
    if not tokens and tuple(tokenize(example.text)[0]) != tuple(example.tokens):
        losses["sentence's own tokens (a reader cuts the text by mmkit's rules)"] += 1
