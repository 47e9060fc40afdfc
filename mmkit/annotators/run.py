"""Running an annotator: stored results are read, the others are computed and stored, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

from filelock import FileLock

from mmkit.annotators.base import Annotator, Failed
from mmkit.annotators.makers import makers_of
from mmkit.annotators.store import ResultStore
from mmkit.data.types import Entity, Example
from mmkit.errors import DataError, PartError
from mmkit.terminal.notes import capped

T = TypeVar("T", Example, Entity)
Progress = Callable[[int, int], None]
"""Called with (number of results so far, number in the end)."""

Compute = Callable[[Annotator, Mapping[str, Any], str], Iterator[dict[str, Any]]]
"""Called with an annotator, the records by key and the device; gives results, or `Failed`, by key, batch by batch."""

_NAMED = 10
"""The number of failures that an error names one by one."""


def annotate(
    annotator: Annotator,
    records: Sequence[T],
    device: str = "cpu",
    progress: Progress | None = None,
    compute: Compute | None = None,
) -> list[T]:
    """`records` (examples or entities) in order, each with its annotation applied.

    Only results that are not in the store are computed, each distinct key once, and every batch is stored before the
    next begins: a killed run continues where it stopped. Processes that annotate with the same settings at the same
    time wait for one another and share results. Models are loaded only when a result is missing. A record with an
    empty key needs no annotation and stays as it is. `compute` does the work elsewhere (`mmkit.inference.executor`).

    The models that made the results are counted in `annotator.makers`, each distinct result once.

    Records whose result `Failed` also stay as they are, and are listed in `annotator.failures`; nothing is stored for
    them, so that the next run tries them again. Unless the annotator is to keep going, a `DataError` names them when
    all other results are stored. Also raises whatever the annotator raises (earlier results stay stored), and
    `PartError` if the annotator returns another number of results than it got records.
    """
    keys = [annotator.key(record) for record in records]
    report = progress or (lambda done, total: None)
    results = _results(annotator, keys, records, device, report, compute or _compute)
    annotated: list[Any] = []
    failures: dict[str, str] = {}
    for key, record in zip(keys, records, strict=True):
        result = results[key] if key else None
        if isinstance(result, Failed):
            failures[record.id] = result.reason
        pass_over = not key or isinstance(result, Failed)
        annotated.append(record if pass_over else annotator.apply(record, result))
    annotator.failures = failures
    annotator.makers = makers_of(
        annotator.made_by(result) for result in results.values() if not isinstance(result, Failed)
    )
    annotator.finish()
    if not annotator.keep_going:
        refuse(failures)
    return cast(list[T], annotated)


def refuse(failures: Mapping[str, str]) -> None:
    """Raise a `DataError` that names the records without a result (id → reason), if there are any."""
    if not failures:
        return
    named = capped((f"{record}: {reason}" for record, reason in failures.items()), _NAMED)
    count = f"{len(failures)} record{'' if len(failures) == 1 else 's'}"
    raise DataError(
        "\n  ".join([f"{count} could not be annotated; all other results are stored", *named]),
        hint="run this again to retry only these records, or let the annotator skip them (keep_going = true)",
        code="annotator.records-failed",
    )


def _results(
    annotator: Annotator,
    keys: Sequence[str],
    records: Sequence[T],
    device: str,
    report: Progress,
    compute: Compute,
) -> dict[str, Any]:
    """A result, or `Failed`, for each key that is not empty: from the store, else computed and stored."""
    wanted = set(keys) - {""}
    if not wanted:
        return {}
    with ResultStore.of(annotator.fingerprint()) as store:
        results = store.get(wanted)
        if len(results) == len(wanted):
            return results
        with FileLock(f"{store.path}.lock"):
            results = store.get(wanted)  # another process may have filled the gap while this one waited
            report(len(results), len(wanted))
            missing = {k: r for k, r in zip(keys, records, strict=True) if k in wanted and k not in results}
            for fresh in compute(annotator, missing, device):
                store.put({key: result for key, result in fresh.items() if not isinstance(result, Failed)})
                results |= fresh
                report(len(results), len(wanted))
    return results


def _compute(annotator: Annotator, missing: Mapping[str, Any], device: str) -> Iterator[dict[str, Any]]:
    """Results by key, a batch at a time."""
    if missing:
        annotator.prepare(device)
    keys, records = list(missing), list(missing.values())
    for start in range(0, len(keys), annotator.batch_size):
        yield computed(
            annotator,
            keys[start : start + annotator.batch_size],
            records[start : start + annotator.batch_size],
        )


def computed(annotator: Annotator, keys: Sequence[str], batch: Sequence[Any]) -> dict[str, Any]:
    """Results by key of a batch of records, by an annotator that is prepared.

    Raises `PartError` if the annotator returns another number of results.
    """
    results = annotator.annotate(batch)
    if len(results) != len(batch):
        raise PartError(
            f"{type(annotator).__name__} returned {len(results)} results for {len(batch)} records",
            hint="this is a mistake in the annotator: report it to its author",
            code="annotator.result-count",
        )
    return dict(zip(keys, results, strict=True))
