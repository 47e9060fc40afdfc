"""The data model: frozen records without tensors, used by all stations.

Each has a JSON form: `to_dict` writes it, without fields at their default; `read` reads it from a `Node`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mmkit.data.node import Json, Node, plain_notes, without_defaults
from mmkit.data.tokenize import joined_bounds, token_bounds, tokenize
from mmkit.data.usual_names import MEANT_OF_RELATIONS, MEANT_OF_SPANS
from mmkit.errors import DataError

Role = Literal["photo", "object"]
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels of the image file

ORPHANS = "mmkit.orphan_spans"
"""Note key: [[start, end], ...] of spans that an `I-` tag opened without a `B-` (strict scoring drops them)."""

SOURCES = "mmkit.sources"
"""Note key: the sources that an annotator used for an example, best first; `mmkit predict` shows them.

Each is `{"by": part, "id": ..., "title": ..., "score": ..., "text": ...}`, and may have further keys.
"""

SCORES = "mmkit.scores"
"""Note key: the scores of annotations that a model made: `{"spans": [0.9, ...], "relations": [...]}`.

They have the order of the example's `spans` and `relations`; "links" has that of its `candidates`. See
`mmkit.data.answers`.
"""


CUT = "mmkit.cut"
"""Note key of a prediction: what the model did not read of the example, because a text is longer than an encoder takes.

A list of `{"encoder": name, "limit": subwords, "token": first of the sentence's that was not read, "mention": true if
words of the mention were not, "context": true if the end of a further text was not}`; what does not apply is left out.
"""


@dataclass(frozen=True, slots=True)
class Region:
    """A place in an image: `box` is in pixels of the file of the example's `images[image]`."""

    image: int
    box: Box

    def __post_init__(self) -> None:
        if self.image < 0:
            raise DataError(f"a region's image counts from 0, it cannot be {self.image}", code="data.region")
        if len(self.box) != 4:
            raise DataError(
                f"a region's box is (left, top, right, bottom), not {self.box}", code="data.region"
            )

    def to_dict(self) -> Json:
        """As JSON."""
        return {"image": self.image, "box": list(self.box)}

    @classmethod
    def read(cls, node: Node) -> Region:
        """From JSON. Raises `DataError`."""
        node.fields(("image", "box"))
        return cls(node["image"].count(), node["box"].box())


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A labelled range of tokens, `end` exclusive, and the places in the images that show what it names.

    `regions` do not matter for whether two spans are equal, or which comes first. A thing may be shown at several
    places, each of which is right. Metrics of spans compare bounds and labels; a metric of regions reads `regions`
    itself.
    """

    start: int
    end: int
    label: str
    regions: tuple[Region, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise DataError(
                f"a span must have 0 <= start < end, not [{self.start}, {self.end})", code="data.span-bounds"
            )

    def to_dict(self) -> Json:
        """As JSON."""
        bounds = {"start": self.start, "end": self.end, "label": self.label}
        return bounds | ({"regions": [r.to_dict() for r in self.regions]} if self.regions else {})

    @classmethod
    def read(cls, node: Node) -> Span:
        """From JSON. Raises `DataError`."""
        node.fields(("start", "end", "label", "regions"), MEANT_OF_SPANS)
        start, end = node["start"].count(), node["end"].count()
        if start >= end:
            node.fail("a span with start < end")
        return cls(start, end, node["label"].text(), node.list("regions", Region.read))


@dataclass(frozen=True, slots=True)
class Relation:
    """A directed relation between two spans; `label` is None for a pair that is still to be classified."""

    head: Span
    tail: Span
    label: str | None = None

    def to_dict(self) -> Json:
        """As JSON."""
        label = {} if self.label is None else {"label": self.label}
        return {"head": self.head.to_dict(), "tail": self.tail.to_dict(), **label}

    @classmethod
    def read(cls, node: Node) -> Relation:
        """From JSON. Raises `DataError`."""
        node.fields(("head", "tail", "label"), MEANT_OF_RELATIONS)
        return cls(Span.read(node["head"]), Span.read(node["tail"]), node.optional("label", Node.text))


@dataclass(frozen=True, slots=True)
class Image:
    """An image of an example. `path` None is a blank image: for an encoder it is the mean colour, or no image.

    `box` cuts a crop out of the file. Roles: the post's `photo`, or an `object` in it. Raises `DataError` for an empty
    path.
    """

    path: str | None
    role: Role = "photo"
    box: Box | None = None

    def __post_init__(self) -> None:
        if self.path is not None and not self.path.strip():
            raise DataError("an image's path is empty", hint="None is a blank image", code="data.image-path")

    def to_dict(self) -> Json:
        """As JSON."""
        return {"path": self.path, "role": self.role} | ({} if self.box is None else {"box": list(self.box)})

    @classmethod
    def read(cls, node: Node) -> Image:
        """From JSON, or from a plain path. Raises `DataError`."""
        if isinstance(node.value, str):
            return cls(node.path())
        node.fields(("path", "role", "box"))
        path = node.optional("path", Node.path)
        role = node.optional("role", Node.text) or "photo"
        if role not in ("photo", "object"):
            node["role"].fail("'photo' or 'object'")
        return cls(path, role, node.optional("box", Node.box))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Media:
    """A file that is not an image (`kind` is "audio", for example), for parts that know this kind.

    `role` distinguishes several files of one kind; reader and encoder choose it. Images are `Image`s, in `images`.
    """

    path: str
    kind: str
    role: str = ""

    def __post_init__(self) -> None:
        if not self.kind or self.kind == "image":
            raise DataError(
                f"media are not images, so their kind cannot be {self.kind!r}",
                where=self.path,
                hint="images go into `images`",
                code="data.media-kind",
            )

    def to_dict(self) -> Json:
        """As JSON."""
        return {"path": self.path, "kind": self.kind} | ({"role": self.role} if self.role else {})

    @classmethod
    def read(cls, node: Node) -> Media:
        """From JSON. Raises `DataError`."""
        node.fields(("path", "kind", "role"))
        kind = node["kind"].text()
        if kind in ("", "image"):
            node["kind"].fail("a kind of media such as 'audio' (images go into `images`)")
        return cls(node["path"].text(), kind, node.optional("role", Node.text) or "")


@dataclass(frozen=True, slots=True)
class Mention:
    """The words to link to an entity; `span` is None if they do not occur in the sentence."""

    text: str
    span: Span | None = None

    def to_dict(self) -> Json:
        """As JSON."""
        return {"text": self.text} | ({} if self.span is None else {"span": self.span.to_dict()})

    @classmethod
    def read(cls, node: Node) -> Mention:
        """From JSON. Raises `DataError`."""
        node.fields(("text", "span"))
        return cls(node["text"].text(), node.optional("span", Span.read))


@dataclass(frozen=True, slots=True)
class Example:
    """One sentence with its images and, if known, its annotations.

    `offsets[i]` are the character bounds of `tokens[i]` in `text`. `notes` is JSON; each key begins with the name of
    the part that wrote it. `media` are files that are not images. Raises `DataError` if spans or offsets do not fit
    the tokens, or regions the images.
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
    media: tuple[Media, ...] = ()

    def __post_init__(self) -> None:
        if len(self.offsets) != len(self.tokens):
            raise DataError(
                f"{len(self.tokens)} tokens but {len(self.offsets)} offsets",
                where=self.id,
                code="data.offset-count",
            )
        ends = [s.end for s in self.spans]
        if self.relations:
            ends += [s.end for r in self.relations for s in (r.head, r.tail)]
        if self.mention is not None and self.mention.span is not None:
            ends.append(self.mention.span.end)
        if ends and max(ends) > len(self.tokens):
            raise DataError(
                f"a span ends at token {max(ends)} of a sentence of {len(self.tokens)} tokens",
                where=self.id,
                hint="start and end count tokens; if they count characters, jsonlines call them start_char and "
                'end_char, or the setting bounds = "characters" of mmkit.jsonl.v1 says it'
                if max(ends) <= len(self.text)
                else "",
                code="data.span-outside",
            )
        shown = [region.image for span in self.spans if span.regions for region in span.regions]
        if shown and max(shown) >= len(self.images):
            raise DataError(
                f"a region is in images[{max(shown)}] of an example with {len(self.images)} images",
                where=self.id,
                code="data.region-image",
            )

    @classmethod
    def from_tokens(cls, id: str, tokens: Sequence[str], **fields: Any) -> Example:
        """An example whose text is its tokens joined by single spaces."""
        return cls(id, " ".join(tokens), tuple(tokens), joined_bounds(tokens), **fields)

    @classmethod
    def from_text(
        cls, id: str, text: str, chars: Iterable[tuple[int, int, str]] = (), **fields: Any
    ) -> Example:
        """An example of a text, cut into tokens as `mmkit predict` cuts it.

        `chars` are spans in characters, `(start, end, label)` with `end` exclusive, instead of the field `spans`.
        Raises `DataError` for one that does not begin and end with a token.
        """
        tokens, offsets = tokenize(text)
        if chars := list(chars):
            fields["spans"] = tuple(
                Span(*token_bounds(text, offsets, s, e, id), label) for s, e, label in chars
            )
        return cls(id=id, text=text, tokens=tokens, offsets=offsets, **fields)


@dataclass(frozen=True, slots=True)
class Entity:
    """An entry of a knowledge base, to which mentions are linked."""

    id: str
    name: str
    aliases: tuple[str, ...] = ()
    description: str = ""
    images: tuple[Image, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    media: tuple[Media, ...] = ()


@dataclass(frozen=True, slots=True)
class Prediction:
    """A decoder's answer for the example with the same id; each item has a score in [0, 1].

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

    def to_dict(self) -> Json:
        """As JSON, the record of a predictions file. Raises `DataError` for notes that cannot be JSON."""
        record: Json = {
            "id": self.id,
            "spans": [s.to_dict() for s in self.spans],
            "span_scores": list(self.span_scores),
            "relations": [r.to_dict() for r in self.relations],
            "relation_scores": list(self.relation_scores),
            "links": list(self.links),
            "link_scores": list(self.link_scores),
            "notes": plain_notes(self.notes, self.id),
        }
        return without_defaults(record)

    @classmethod
    def from_dict(cls, record: object, where: str = "", id: str = "") -> Prediction:
        """From JSON; `id` is used if the record has none. Raises `DataError` that says `where`, and the field."""
        node = Node(record, where).fields(tuple(cls.__dataclass_fields__))
        return cls(
            id=node.id(id),
            spans=node.list("spans", Span.read),
            span_scores=node.list("span_scores", Node.number),
            relations=node.list("relations", Relation.read),
            relation_scores=node.list("relation_scores", Node.number),
            links=node.list("links", Node.text),
            link_scores=node.list("link_scores", Node.number),
            notes=node.optional("notes", Node.object) or {},
        )


@dataclass(frozen=True, slots=True)
class GoldRank:
    """The rank of an example's gold entity in a model's ranking. It is used to evaluate, never to predict.

    A rank is 1 + the number of *other* entities that score at least as high, so ties count against the model. It is
    None if there is no gold entity, or if it is not in the knowledge base. Raises `DataError` for a rank below 1.
    """

    among: int | None
    """Among the example's candidates, to which the gold entity is added if it is missing. If the example lists none,
    among the whole knowledge base."""
    listed: bool
    """Whether the gold entity is one of those candidates (or in the knowledge base, if none are listed)."""
    overall: int | None
    """Among the whole knowledge base."""

    def __post_init__(self) -> None:
        if min(self.among or 1, self.overall or 1) < 1 or 0 in (self.among, self.overall):
            raise DataError(f"ranks begin at 1, not {self.among} and {self.overall}", code="data.rank")


@dataclass(frozen=True, slots=True)
class TextView:
    """The words that a text encoder encodes for one example.

    `words[i]` is the example's token `index[i]`; -1 is a word that is not a token (an entity marker). `markers` are
    positions in `words` whose subword the decoder needs, in its own order. `second` is an optional second text
    (context); if the input is too long, it is cut first, and `words` only when nothing of it is left.
    """

    words: tuple[str, ...]
    index: tuple[int, ...]
    markers: tuple[int, ...] = ()
    second: tuple[str, ...] = ()

    @classmethod
    def of(cls, example: Example) -> TextView:
        """The plain view: the example's tokens and nothing else."""
        return cls(words=example.tokens, index=tuple(range(len(example.tokens))))
