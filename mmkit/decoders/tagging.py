"""Spans and tags: BIO and BIOES vocabularies, encoding, lenient decoding and constraints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmkit.data.types import Example
from mmkit.errors import DataError, did_you_mean

Scheme = Literal["bio", "bioes"]
Ids = NDArray[np.int64]

OUTSIDE = "O"
PREFIXES: dict[Scheme, str] = {"bio": "BI", "bioes": "BIES"}


class Chunks(NamedTuple):
    """Spans found in a batch of tag sequences, N of them, row by row and from left to right."""

    row: Ids
    start: Ids
    end: Ids  # exclusive
    type: Ids
    orphan: NDArray[np.bool_]  # opened by a tag that only continues (I-, E-)


class TagSet:
    """The tags of a scheme over entity types; a tag's id is its index in `names`.

    `before` and `after` are names of further tags around them; they count as outside of every span.
    """

    def __init__(
        self, types: Sequence[str], scheme: Scheme, before: Sequence[str] = (), after: Sequence[str] = ()
    ) -> None:
        self.types = tuple(types)
        prefixes = PREFIXES[scheme]
        self.names = (*before, OUTSIDE, *(f"{p}-{t}" for t in types for p in prefixes), *after)
        self.ids = {name: i for i, name in enumerate(self.names)}
        self.outside = len(before)

        # The meaning of a tag, by its id; the last entry is for -1, no tag.
        self._type = np.full(len(self.names) + 1, -1)
        self._opens = np.zeros(len(self.names) + 1, dtype=bool)
        self._closes = np.zeros(len(self.names) + 1, dtype=bool)
        first = self.outside + 1
        inner = slice(first, first + len(types) * len(prefixes))
        self._type[inner] = np.repeat(np.arange(len(types)), len(prefixes))
        self._opens[inner] = [p in "BS" for p in prefixes] * len(types)
        self._closes[inner] = [p in "ES" for p in prefixes] * len(types)

    def __len__(self) -> int:
        return len(self.names)

    def encode(self, example: Example) -> Ids:
        """The tag of each token `[W]`.

        A span that is given twice counts once. Raises `DataError` for a span of an unknown type, and for spans that
        overlap.
        """
        ids = np.full(len(example.tokens), self.outside)
        for span in dict.fromkeys(example.spans):
            label, covered = span.label, slice(span.start, span.end)
            if label not in self.types:
                raise unknown_type(label, self.types, example)
            if (ids[covered] != self.outside).any():
                raise DataError(
                    f"the span [{span.start}, {span.end}) overlaps another one; tags cannot express that",
                    where=example.id,
                    hint="remove nested and overlapping spans from the data",
                    code="task.span-overlap",
                )
            begin, inside = self.ids[f"B-{label}"], self.ids[f"I-{label}"]
            ids[covered] = inside
            ids[span.end - 1] = self.ids.get(f"E-{label}", inside)
            ids[span.start] = begin if span.end - span.start > 1 else self.ids.get(f"S-{label}", begin)
        return ids

    def chunks(self, ids: Ids) -> Chunks:
        """The spans in tag ids `[B, W]`, read leniently, as conlleval does; -1 is outside.

        A tag (I-, E-) that does not continue a span of its own type opens a new span.
        """
        padded = np.pad(ids, ((0, 0), (1, 1)), constant_values=-1)
        type_, opens, closes = self._type[padded], self._opens[padded], self._closes[padded]
        inside = type_ >= 0
        edge = (type_[:, 1:] != type_[:, :-1]) | opens[:, 1:] | closes[:, :-1]
        row, start = np.nonzero(edge & inside[:, 1:])
        _, end = np.nonzero(edge & inside[:, :-1])
        return Chunks(row, start, end, type_[row, start + 1], ~opens[row, start + 1])


def bio_constraints(tags: Sequence[str], scheme: Scheme) -> Tensor:
    """Which tag may follow which, bool `[K + 1, K + 1]`, for `LinearChainCRF`.

    The last row is the start, the last column the end. Raises `ValueError` for a tag that is
    neither O nor of the scheme.
    """
    parts = [tuple(tag.partition("-")[::2]) for tag in tags]
    for tag, (prefix, type_) in zip(tags, parts, strict=True):
        if tag != OUTSIDE and not (type_ and len(prefix) == 1 and prefix in PREFIXES[scheme]):
            raise ValueError(f"{tag!r} is not a tag of the scheme {scheme!r}")

    def may_follow(before: tuple[str, ...], after: tuple[str, ...]) -> bool:
        same_span = before[0] in ("B", "I") and after[0] in ("I", "E") and before[1] == after[1]
        must_go_on = scheme == "bioes" and before[0] in ("B", "I")
        return same_span or not (must_go_on or after[0] in ("I", "E"))

    edge = (OUTSIDE, "")  # start and end behave as O does
    rows = [*parts, edge]
    return torch.tensor([[may_follow(before, after) for after in rows] for before in rows])


def learn_types(examples: Iterable[Example], given: Sequence[str] | None) -> list[str]:
    """The span types of training examples, sorted by name; or `given`, after a check that it covers them.

    Raises `DataError` for a type that is not among the given ones, and if nothing is annotated.
    """
    found: set[str] = set()
    for example in examples:
        for span in example.spans:
            if given is not None and span.label not in given:
                raise unknown_type(span.label, given, example)
            found.add(span.label)
    if not found:
        raise DataError(
            "no training example has a span",
            hint="is this the right file, with its labels?",
            code="task.no-spans",
        )
    return list(given) if given is not None else sorted(found)


def unknown_type(label: str, known: Iterable[str], example: Example) -> DataError:
    """The error for a span whose type the decoder does not know."""
    return DataError(
        f"the span type {label!r} is unknown",
        where=example.id,
        hint=did_you_mean(label, known),
        code="task.unknown-span-type",
    )


def padded(rows: Sequence[Ids], width: int) -> NDArray[Any]:
    """`[B, width]`, each row from the left and -1 after it."""
    out = np.full((len(rows), width), -1)
    for target, row in zip(out, rows, strict=True):
        target[: len(row)] = row
    return out
