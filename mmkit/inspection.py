"""What a part computed on the way to a prediction, to be looked at: gates, weights of a mixture, attention."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

from torch import Tensor

from mmkit.batch import Batch, States
from mmkit.errors import PartError


@dataclass(frozen=True, slots=True)
class Table:
    """Numbers with the names of their rows and columns: `values[row][column]`, NaN where there is none.

    With `by_token`, the rows are the tokens of the example, in order. Raises `ValueError` if the names do not fit.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float]]
    by_token: bool = False

    def __post_init__(self) -> None:
        shape = [len(row) for row in self.values]
        if shape != [len(self.columns)] * len(self.rows):
            raise ValueError(
                f"a table of {len(self.rows)} rows and {len(self.columns)} columns cannot have rows of {shape} values"
            )

    def to_dict(self) -> dict[str, Any]:
        """As JSON; a value that is not a number is None."""
        values = [[value if math.isfinite(value) else None for value in row] for row in self.values]
        told = {"rows": list(self.rows), "columns": list(self.columns), "values": values}
        return {**told, "by_token": True} if self.by_token else told


Inspection: TypeAlias = Mapping[str, Table]
"""Tables of one example by name, which people read: `{"gates, image 1": Table(...)}`."""


@runtime_checkable
class Inspects(Protocol):
    """A fuser, a decoder or a scorer that shows what it computed of each example.

    The tables come from the same forward pass as the predictions. A fuser gives what it needs for them as further
    states, but only if `batch.inspecting`; so nothing is computed or kept in training and ordinary prediction.
    """

    def inspect(self, states: States, batch: Batch) -> Sequence[Inspection]:
        """Tables for each of `batch.examples`, in order; an example may have none (`{}`). After `decode`."""
        ...


def tables(values: Tensor, rows: Sequence[str], columns: Sequence[str]) -> list[Table]:
    """`values [B, rows, columns]` as a table for each example. The device is waited for once."""
    return [Table(rows, columns, each) for each in values.detach().float().cpu().tolist()]


def inspected(parts: Iterable[object], states: States, batch: Batch) -> list[dict[str, Table]]:
    """The tables of all parts that have some, for each example of a batch.

    Raises `PartError` for a part that gives another number of examples, or the name of another part's table.
    """
    found: list[dict[str, Table]] = [{} for _ in batch.examples]
    for part in parts:
        if not isinstance(part, Inspects):
            continue
        own = list(part.inspect(states, batch))
        if len(own) != len(found):
            raise _wrong(part, f"gives tables for {len(own)} examples of {len(found)}")
        for mine, each in zip(own, found, strict=True):
            if twice := sorted(mine.keys() & each.keys()):
                raise _wrong(part, f"names a table as another part does: {', '.join(twice)}")
            each.update(mine)
    return found


def _wrong(part: object, what: str) -> PartError:
    return PartError(
        f"`inspect` of {type(part).__qualname__} {what}",
        hint="the author of the part must correct `inspect`",
        code="part.not-as-said",
    )
