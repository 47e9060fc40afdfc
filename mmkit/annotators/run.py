"""Running an annotator: what is in its store is read, the rest is computed and stored, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

from filelock import FileLock

from mmkit.annotators.base import Annotator
from mmkit.annotators.store import ResultStore
from mmkit.data.types import Entity, Example
from mmkit.errors import PartError

T = TypeVar("T", Example, Entity)
Progress = Callable[[int, int], None]
"""Called with (results there are, results there will be)."""


def annotate(
    annotator: Annotator, records: Sequence[T], device: str = "cpu", progress: Progress | None = None
) -> list[T]:
    """`records` (examples or entities) in order, each with its annotation applied.

    Only results that the store lacks are computed, each distinct key once, and every batch is stored before
    the next begins: a killed run goes on where it stopped. Processes that annotate with the same settings at
    the same time wait for one another and share results. Models are loaded only when a result is missing.

    Raises whatever the annotator raises (what was computed before stays stored), and `PartError` for an
    annotator that returns another number of results than it was given records.
    """
    report = progress or (lambda done, total: None)
    keys = [annotator.key(record) for record in records]
    total = len(set(keys))
    with ResultStore.of(annotator.fingerprint()) as store:
        results = store.get(set(keys))
        if len(results) < total:
            with FileLock(f"{store.path}.lock"):
                results = store.get(
                    set(keys)
                )  # another process may have filled the gap while this one waited
                report(len(results), total)
                missing = {k: record for k, record in zip(keys, records, strict=True) if k not in results}
                for fresh in _compute(annotator, missing, device):
                    store.put(fresh)
                    results |= fresh
                    report(len(results), total)
    annotated = [annotator.apply(record, results[key]) for key, record in zip(keys, records, strict=True)]
    annotator.finish()
    return cast(list[T], annotated)


def _compute(annotator: Annotator, missing: Mapping[str, T], device: str) -> Iterator[dict[str, Any]]:
    """Results by key, a batch at a time."""
    if missing:
        annotator.prepare(device)
    keys, records = list(missing), list(missing.values())
    for start in range(0, len(keys), annotator.batch_size):
        batch = records[start : start + annotator.batch_size]
        results = annotator.annotate(batch)
        if len(results) != len(batch):
            raise PartError(
                f"{type(annotator).__name__} returned {len(results)} results for {len(batch)} records",
                hint="this is a mistake in the annotator: report it to its author",
            )
        yield dict(zip(keys[start : start + len(batch)], results, strict=True))
