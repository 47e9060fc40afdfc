"""A value inside a JSON record, read strictly: every error says in which record and which field it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias, TypeVar

from mmkit.errors import DataError, did_you_mean
from mmkit.terminal.notes import NAMED, few

Json: TypeAlias = dict[str, Any]
T = TypeVar("T")


class Node:
    """A value inside a record that knows its own name, so that every error can say which field is wrong."""

    __slots__ = ("name", "value", "where")

    def __init__(self, value: Any, where: str, name: str = "") -> None:
        self.value, self.where, self.name = value, where, name

    def fail(self, expected: str) -> NoReturn:
        try:
            shown = repr(self.value)
        except RecursionError:
            shown = f"a {type(self.value).__name__} nested too deep to show"
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        raise DataError(
            f"`{self.name or 'record'}` must be {expected}, not {shown}",
            where=self.where,
            code="json.wrong-type",
        )

    def fields(self, known: tuple[str, ...], usual: Mapping[str, str] | None = None) -> Node:
        """Itself, after a check that it is an object with only `known` fields; `usual` are other names of these."""
        if unknown := [key for key in self.object() if key not in known]:
            named = few([f"`{self._inside(key)}`" for key in unknown])
            raise DataError(
                f"unknown field{'' if len(unknown) == 1 else 's'} {named}",
                where=self.where,
                hint="\n  → ".join(_meant(unknown, known, usual or {})),
                code="json.unknown-field",
            )
        return self

    def __getitem__(self, key: str) -> Node:
        if key not in self.value:
            raise DataError(
                f"the field `{self._inside(key)}` is missing", where=self.where, code="json.missing-field"
            )
        return Node(self.value[key], self.where, self._inside(key))

    def optional(self, key: str, read: Callable[[Node], T]) -> T | None:
        """The field as `read` gives it; None if it is missing or null."""
        return None if self.value.get(key) is None else read(self[key])

    def list(self, key: str, read: Callable[[Node], T]) -> tuple[T, ...]:
        """The items of a list field as `read` gives them; none if the field is missing."""
        return () if key not in self.value else tuple(read(n) for n in self[key].items())

    def items(self) -> Iterable[Node]:
        if not isinstance(self.value, list):
            self.fail("a list")
        return (Node(v, self.where, f"{self.name}[{i}]") for i, v in enumerate(self.value))

    def id(self, default: str) -> str:
        return default if default and "id" not in self.value else self["id"].text()

    def object(self) -> Json:
        return self.value if isinstance(self.value, dict) else self.fail("an object")

    def path(self) -> str:
        """This value, a file's path."""
        return self.text() if self.text().strip() else self.fail("a path, or null for a blank image")

    def box(self) -> tuple[float, float, float, float]:
        """This value, the box of a region."""
        numbers = tuple(Node.number(n) for n in self.items())
        if len(numbers) != 4:
            self.fail("[left, top, right, bottom]")
        return numbers[0], numbers[1], numbers[2], numbers[3]

    def text(self) -> str:
        return self.value if isinstance(self.value, str) else self.fail("a string")

    def count(self) -> int:
        return (
            self.value if type(self.value) is int and self.value >= 0 else self.fail("a whole number from 0")
        )

    def number(self) -> float:
        if type(self.value) not in (int, float):
            self.fail("a number")
        try:
            return float(self.value)
        except OverflowError:
            self.fail("a number that a float can hold")

    def strings(self) -> tuple[str, ...]:
        if not (isinstance(self.value, list) and all(type(v) is str for v in self.value)):
            self.fail("a list of strings")
        return tuple(self.value)

    def _inside(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key


def _meant(unknown: Sequence[str], known: Sequence[str], usual: Mapping[str, str]) -> Iterator[str]:
    """Hints about fields that are not `known`: those that are probably meant, or all that there are."""
    for key in unknown[:NAMED]:
        near = f"did you mean {usual[key.lower()]!r}?" if key.lower() in usual else did_you_mean(key, known)
        if len(unknown) == 1:
            yield near
        elif near.startswith("did you mean"):
            yield f"`{key}`: {near}"
    if len(unknown) > 1:
        yield f"known: {', '.join(sorted(known))}"


def plain_notes(notes: Mapping[str, Any], id: str) -> Json:
    """The notes as JSON. Raises `DataError` for what JSON cannot hold: tuples, keys that are not strings, NaN."""
    plain = dict(notes)
    try:
        same = not plain or json.loads(json.dumps(plain, allow_nan=False)) == plain
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"its notes are not JSON: {error}", where=id, code="json.notes") from error
    if not same:
        raise DataError(
            "its notes are not JSON: tuples, or keys that are not strings", where=id, code="json.notes"
        )
    return plain


def without_defaults(record: Json, keep: tuple[str, ...] = ()) -> Json:
    """A record without its empty fields, except those in `keep`."""
    return {k: v for k, v in record.items() if k in keep or v not in (None, [], {})}
