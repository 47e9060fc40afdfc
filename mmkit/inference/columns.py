"""Requests from columns: texts, their images, and a task's further inputs, one value a text, read lazily."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from mmkit.errors import DataError
from mmkit.inference.given_images import check_several
from mmkit.tasks.sentence import is_missing


class Request(NamedTuple):
    """What is asked about one text. Values of columns are as the columns gave them."""

    id: str
    text: Any
    images: Any
    given: dict[str, Any]


def requests(texts: object, images: object, given: Mapping[str, object]) -> Iterator[Request]:
    """The rows of columns, with the ids `input-0`, `input-1`, ...

    A column is anything that can be iterated over: a list, a generator, a column of pandas, polars, pyarrow or
    Hugging Face datasets. Columns are checked at once, and read as the rows are taken. Raises `DataError`: at once
    for what is no column, and for columns of different lengths if they say their length; else at the row where
    a text is missing or one column ends before another.
    """
    _check_texts(texts)
    columns: dict[str, Any] = {"texts": texts}
    if images is not None:
        _check_column("images", images)
        check_several(images, "images")
        columns["images"] = images
    for name, column in given.items():
        if column is not None:
            _check_column(name, column)
            columns[name] = column
    _check_lengths(columns)
    return _rows(columns)


_END = object()


def _rows(columns: Mapping[str, Iterable[Any]]) -> Iterator[Request]:
    for number, values in enumerate(itertools.zip_longest(*columns.values(), fillvalue=_END)):
        row = dict(zip(columns, values, strict=True))
        ended = [name for name, value in row.items() if value is _END]
        if ended:
            longer = next(name for name in row if name not in ended)
            raise _lengths(f"{ended[0]} ends after {number:,} values, and {longer} goes on")
        row = {name: _plain(value) for name, value in row.items()}
        text, images = row.pop("texts"), row.pop("images", None)
        id = f"input-{number}"
        if is_missing(text):
            raise DataError(
                f"the text is missing: {text!r}",
                where=id,
                hint="leave out rows without a text",
                code="input.text",
            )
        yield Request(id, text, images, {name: v for name, v in row.items() if not is_missing(v)})


def _plain(value: Any) -> Any:
    """The Python value of pyarrow's scalars, which iterating over its columns gives."""
    return value.as_py() if hasattr(value, "as_py") else value


def _check_texts(texts: object) -> None:
    if isinstance(texts, str):
        raise DataError(
            "texts is one sentence, not several",
            where="texts",
            hint=f"predict_many([{texts[:30]!r}]), or predict() for one",
            code="input.text",
        )
    _check_column("texts", texts)


def _check_column(name: str, column: object) -> None:
    """Refuse what gives no values, or not those that are meant: iterating over a table gives its columns' names."""
    if hasattr(column, "columns") or hasattr(column, "column_names") or isinstance(column, Mapping):
        raise DataError(
            f"{name} is a table or a dictionary ({type(column).__name__}), not one of its columns",
            where=name,
            hint=f'give the column: {name}=table["NAME"]',
            code="input.column",
        )
    if isinstance(column, str) and name != "images":
        raise DataError(
            f"{name} is one value, and predict_many takes one for each text",
            where=name,
            hint=f"for the same one everywhere: {name}=[{column!r}] * len(texts)",
            code="input.column",
        )
    if not isinstance(column, Iterable):
        raise DataError(
            f"{name} must be a list or a column, not a {type(column).__name__}",
            where=name,
            hint="give one value for each text",
            code="input.column",
        )


def _check_lengths(columns: Mapping[str, Any]) -> None:
    lengths = {name: len(column) for name, column in columns.items() if hasattr(column, "__len__")}
    if len(set(lengths.values())) > 1:
        raise _lengths(" and ".join(f"{name} has {length:,} values" for name, length in lengths.items()))


def _lengths(what: str) -> DataError:
    return DataError(
        what,
        where="predict_many",
        hint="give one value for each text; None means no image, and a list several",
        code="input.column",
    )
