"""What the parts of a model computed of each example, as the page shows it: tables, and their means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkit import Example
from mmkit.inspection import Inspection, Table

DIGITS = 4
OTHER = "no label"
"""The group of the words that are in no gold span."""


def shown_record(tables: Inspection) -> dict[str, Any]:
    """Tables as JSON, by name, with rounded numbers."""
    return {name: _rounded(table.to_dict()) for name, table in tables.items()}


def means(examples: Sequence[Example], shown: Sequence[Inspection]) -> list[dict[str, Any]]:
    """The mean of each table over all examples, and over those with each gold label; of words, over words.

    As JSON. Tables whose rows or columns have other names in some examples have no mean.
    """
    found = []
    for name in dict.fromkeys(name for tables in shown for name in tables):
        own = [
            (example, tables[name]) for example, tables in zip(examples, shown, strict=True) if name in tables
        ]
        first = own[0][1]
        alike = all(
            table.by_token == first.by_token
            and list(table.columns) == list(first.columns)
            and (first.by_token or list(table.rows) == list(first.rows))
            for _, table in own
        )
        if not alike:
            continue
        groups = (
            _grouped(_words(own), "all words") if first.by_token else _grouped(_examples(own), "all examples")
        )
        tables = [
            {
                "group": group,
                "count": len(values),
                "rows": ["mean"] if first.by_token else list(first.rows),
                "columns": list(first.columns),
                "values": _mean(np.stack(values)),
            }
            for group, values in groups.items()
        ]
        found.append({"name": name, "tables": [_rounded(table) for table in tables]})
    return found


Row = tuple[Iterable[str], NDArray[np.float64]]
"""The labels of an example or of a word, and its numbers `[rows, columns]`."""


def _examples(own: Sequence[tuple[Example, Table]]) -> Iterator[Row]:
    for example, table in own:
        labels = {span.label for span in example.spans} | {x.label for x in example.relations}
        yield (
            {label for label in labels if label},
            np.array(table.values, dtype=np.float64).reshape(len(table.rows), len(table.columns)),
        )


def _words(own: Sequence[tuple[Example, Table]]) -> Iterator[Row]:
    for example, table in own:
        for i, values in enumerate(table.values):
            labels = {span.label for span in example.spans if span.start <= i < span.end and span.label}
            yield labels or {OTHER}, np.array([values], dtype=np.float64)


def _grouped(rows: Iterable[Row], everything: str) -> dict[str, list[NDArray[np.float64]]]:
    """The numbers of everything, then those of each label, in the order of the labels."""
    groups: dict[str, list[NDArray[np.float64]]] = {}
    whole = []
    for labels, values in rows:
        whole.append(values)
        for label in labels:
            groups.setdefault(label, []).append(values)
    order = sorted(groups, key=lambda label: (label == OTHER, label))
    return {everything: whole, **{label: groups[label] for label in order}}


def _mean(values: NDArray[np.float64]) -> list[list[float | None]]:
    """The mean `[rows, columns]` of `[N, rows, columns]`, without what is not a number; None where nothing is."""
    there = np.isfinite(values)
    number = there.sum(0)
    sums = np.where(there, values, 0.0).sum(0)
    return [
        [float(total / count) if count else None for total, count in zip(*row, strict=True)]
        for row in zip(sums, number, strict=True)
    ]


def _rounded(table: Mapping[str, Any]) -> dict[str, Any]:
    values = [[None if value is None else round(value, DIGITS) for value in row] for row in table["values"]]
    return {**table, "values": values}
