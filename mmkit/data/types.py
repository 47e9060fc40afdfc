"""The data model: frozen records without tensors, shared by every station."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mmkit.errors import DataError

Role = Literal["photo", "object"]
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels of the picture file

ORPHANS = "mmkit.orphan_spans"
"""Note key: [[start, end], ...] of spans that an `I-` tag opened without a `B-` (strict scoring drops them)."""

SOURCES = "mmkit.sources"
"""Note key: what an annotator put to use for an example, the best first; `mmkit predict` shows it.

Each is `{"by": part, "id": ..., "title": ..., "score": ..., "text": ...}`, and may say more.
"""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A labelled stretch of tokens, `end` exclusive."""

    start: int
    end: int
    label: str

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise DataError(f"a span must have 0 <= start < end, not [{self.start}, {self.end})")


@dataclass(frozen=True, slots=True)
class Relation:
    """A directed relation between two spans; `label` is None for a pair still to be classified."""

    head: Span
    tail: Span
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """A picture of an example. `path` None is a blank one: an encoder takes it as the mean colour, or for none.

    `box` cuts a crop out of the file. Roles: the post's `photo`, or an `object` in it.
    """

    path: str | None
    role: Role = "photo"
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class Mention:
    """The words to link to an entity; `span` is None where they do not occur in the sentence."""

    text: str
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """One sentence with its pictures and, where known, its annotations.

    `offsets[i]` are the character bounds of `tokens[i]` in `text`. `notes` is JSON, its keys namespaced by the
    part that wrote them. Raises `DataError` where spans or offsets do not fit the tokens.
    """

    id: str
    text: str
    tokens: tuple[str, ...]
    offsets: tuple[tuple[int, int], ...]
    images: tuple[Image, ...] = ()
    spans: tuple[Span, ...] = ()
    relations: tuple[Relation, ...] = ()
    mention: Mention | None = None
    entity: str | None = None
    candidates: tuple[str, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.offsets) != len(self.tokens):
            raise DataError(f"{len(self.tokens)} tokens but {len(self.offsets)} offsets", where=self.id)
        ends = [s.end for s in self.spans] + [s.end for r in self.relations for s in (r.head, r.tail)]
        if self.mention is not None and self.mention.span is not None:
            ends.append(self.mention.span.end)
        if ends and max(ends) > len(self.tokens):
            raise DataError(
                f"a span ends at token {max(ends)} of a sentence of {len(self.tokens)} tokens", where=self.id
            )

    @classmethod
    def from_tokens(cls, id: str, tokens: Sequence[str], **fields: Any) -> Example:
        """An example whose text is its tokens joined by single spaces."""
        offsets, at = [], 0
        for token in tokens:
            offsets.append((at, at + len(token)))
            at += len(token) + 1
        return cls(id=id, text=" ".join(tokens), tokens=tuple(tokens), offsets=tuple(offsets), **fields)


@dataclass(frozen=True, slots=True)
class Entity:
    """A knowledge-base entry that mentions are linked to."""

    id: str
    name: str
    aliases: tuple[str, ...] = ()
    description: str = ""
    images: tuple[Image, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a decoder says of the example with the same id; scores in [0, 1] run beside their items.

    `links` are entity ids, best first.
    """

    id: str
    spans: tuple[Span, ...] = ()
    span_scores: tuple[float, ...] = ()
    relations: tuple[Relation, ...] = ()
    relation_scores: tuple[float, ...] = ()
    links: tuple[str, ...] = ()
    link_scores: tuple[float, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, example: Example) -> Prediction:
        """What a model that is always right would predict: the example's own annotations, with score 1."""
        ones = (1.0,)
        links = (example.entity,) if example.entity is not None else ()
        return cls(
            example.id,
            example.spans,
            ones * len(example.spans),
            example.relations,
            ones * len(example.relations),
            links,
            ones * len(links),
            {ORPHANS: example.notes[ORPHANS]} if ORPHANS in example.notes else {},
        )


@dataclass(frozen=True, slots=True)
class TextView:
    """The words a text encoder is asked to encode for one example.

    `words[i]` stands for the example's token `index[i]`; -1 marks a word that is none (an entity marker).
    `markers` are positions in `words` whose subword the decoder wants to find again, in its own order.
    `second` is an optional second text (context); it may be cut, `words` only after all of it is gone.
    """

    words: tuple[str, ...]
    index: tuple[int, ...]
    markers: tuple[int, ...] = ()
    second: tuple[str, ...] = ()

    @classmethod
    def of(cls, example: Example) -> TextView:
        """The plain view: the example's tokens and nothing else."""
        return cls(words=example.tokens, index=tuple(range(len(example.tokens))))
