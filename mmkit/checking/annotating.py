"""Check whether the results that annotators still lack can be computed, without loading a model or asking a server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from mmkit.annotators.base import Annotator
from mmkit.annotators.store import ResultStore
from mmkit.data.types import Entity, Example
from mmkit.errors import MMKitError

LOOKED_AT = 1000
"""Records that are looked at, of each kind: a key may be a hash of an image."""


def not_computable(
    annotators: Mapping[str, Annotator], examples: Sequence[Sequence[Example]], entities: Sequence[Entity]
) -> list[str]:
    """Why annotators, by section of the recipe, cannot compute what they will be asked for.

    Nothing is said of an annotator whose results are stored, or that has nothing to do. `examples` are those of each
    split, as they are before annotation. An annotator may read notes of those before it, so it is given the examples
    with the results of these, as far as they are stored.
    """
    found = []
    looked_at = [x for split in examples for x in split[:LOOKED_AT]]
    before: list[Annotator] = []
    for section, annotator in annotators.items():
        annotator.entities = entities
        try:
            annotator.check_computable()
        except MMKitError as error:
            records: Iterable[Example | Entity] = islice(entities, LOOKED_AT)
            if annotator.over == "examples":
                looked_at, before = _with_stored(before, looked_at), []
                records = looked_at
            if _is_asked(annotator, records):
                found += [f"[{section}] {each}" for each in error.each or (error,)]
        if annotator.over == "examples":
            before.append(annotator)
    return found


def _with_stored(annotators: Sequence[Annotator], examples: Sequence[Example]) -> list[Example]:
    """The examples with those results of the annotators that are stored."""
    records: list[Any] = list(examples)
    for annotator in annotators:
        try:
            keys = [annotator.key(record) for record in records]
            with ResultStore.of(annotator.fingerprint()) as store:
                results = store.get(set(keys) - {""})
            pairs = list(zip(records, keys, strict=True))
            records = [annotator.apply(x, results[key]) if key in results else x for x, key in pairs]
        except MMKitError:  # it is said of that annotator, or found by training
            continue
    return records


def _is_asked(annotator: Annotator, records: Iterable[Example | Entity]) -> bool:
    """Whether a result for one of these records is not stored."""
    try:
        keys = [key for record in records if (key := annotator.key(record))]
        if not keys:
            return False
        with ResultStore.of(annotator.fingerprint()) as store:
            return len(store.get(keys)) < len(set(keys))
    except MMKitError:
        return True
