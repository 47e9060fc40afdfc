"""Check whether the results that annotators still lack can be computed, without loading a model or asking a server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

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
    split, as they are before annotation.
    """
    found = []
    for section, annotator in annotators.items():
        annotator.entities = entities
        try:
            annotator.check_computable()
        except MMKitError as error:
            records: Iterable[Example | Entity] = (
                islice(entities, LOOKED_AT)
                if annotator.over == "entities"
                else (x for split in examples for x in split[:LOOKED_AT])
            )
            if _is_asked(annotator, records):
                found += [f"[{section}] {each}" for each in error.each or (error,)]
    return found


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
