"""Problems of the records of a split: one message for each kind, with the number of records and their places."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mmkit.files import tidy

if TYPE_CHECKING:
    from mmkit.data.types import Example

SHOWN = 3
"""Number of places that a message names."""


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a record: `file:line`, or `file, record 7`.

    `line` is the line of the record's first token, if its tokens are on consecutive lines (CoNLL).
    """

    where: str
    line: int | None = None

    def of(self, token: int | None = None) -> str:
        """The place of the record, or of one of its tokens if tokens have their own lines."""
        if token is None or self.line is None:
            return tidy(self.where)
        return f"{tidy(self.where.rpartition(':')[0])}:{self.line + token}"


At = tuple[str, int | None]
"""A record by its id and, if it matters, one of its tokens."""


@dataclass(frozen=True)
class Problem:
    """A problem of some records of a split.

    `what` describes it with its number ("3 spans overlap"), `at` has each record with the problem, `hint` says what
    to do. `code` is the code of the error that ends training. A "warning" does not stop training.
    """

    what: str
    at: Sequence[At] = ()
    hint: str = ""
    code: str = "data"
    level: Literal["error", "warning"] = "error"
    rename: Mapping[str, str] | None = None
    """Labels that a reader's setting `rename` could correct: label → the label that is probably meant, or ""."""

    def __str__(self) -> str:
        return self.what

    def said(self, places: Mapping[str, Place], shown: int = SHOWN) -> str:
        """The message: the problem, the first places, and the hint."""
        whole = list(dict.fromkeys(place_of(id, token, places) for id, token in self.at))  # each place once
        named = whole[:shown]
        rest = len(whole) - len(named)
        folder = os.path.commonprefix(named).rpartition(os.sep)[0]  # noqa: RUF071 - said once
        named = [name.removeprefix(f"{folder}{os.sep}") if i else name for i, name in enumerate(named)]
        where = ", ".join(named) + (f" and {rest} more" if rest else "")
        said = f"{self.what}: {where}" if named else self.what
        return f"{said}\n  → {self.hint}" if self.hint else said

    def listed(self, places: Mapping[str, Place]) -> Iterator[str]:
        """One line for each place, for a file that lists all of them."""
        for id, token in self.at:
            yield f"{place_of(id, token, places)}\t{self.what}"


def place_of(id: str, token: int | None, places: Mapping[str, Place]) -> str:
    """A record in a message: its file and line, and its id if that is different."""
    place = places.get(id)
    return f"{place.of(token)} ({id})" if place is not None else id


def unlabelled(examples: Iterable[Example]) -> list[Problem]:
    """Relations without a label. They can be classified, but not trained on or scored."""
    at = [(x.id, r.head.start) for x in examples for r in x.relations if r.label is None]
    said = counted(len(at), "relation has", "relations have")
    return [Problem(f"{said} no label", at, "give each a label", code="task.no-label")] if at else []


def counted(number: int, one: str, many: str = "") -> str:
    """A number and a noun: "1 span", "1,204 spans"."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
