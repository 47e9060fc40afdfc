"""Canonical jsonlines: the one file format that can hold the whole data model.

The first line is a header, `{"format": 2, "kind": "examples"}` (or "entities", "predictions"); each further
line is one record in the form of `mmkit.data.records`. Strings are Unicode text without unpaired surrogates.
Format 2 added `media` and spans' `regions`; files of format 1 are read like it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from mmkit.data.json_text import parse_line, surrogates
from mmkit.data.lines import numbered_lines
from mmkit.data.records import (
    entity_from_json,
    example_from_json,
    prediction_from_json,
    to_json,
)
from mmkit.data.types import Entity, Example, Prediction
from mmkit.errors import DataError, did_you_mean
from mmkit.files import atomic

FORMAT = 2
Kind = Literal["examples", "entities", "predictions"]
Record = Example | Entity | Prediction

_KINDS: dict[str, tuple[type, Callable[..., Record]]] = {
    "examples": (Example, example_from_json),
    "entities": (Entity, entity_from_json),
    "predictions": (Prediction, prediction_from_json),
}
_HEADER_HINT = (
    'the first line of a jsonlines file is {"format": 2, "kind": "examples"} (or entities, predictions)'
)


def read_jsonl(path: Path | str, kind: Kind | None = None, root: str = "") -> Iterator[Record]:
    """Stream the records of a file. `kind`, if given, is the one expected.

    Relative image paths are relative to `root`. Raises `DataError` naming file, line and field.
    """
    return (x for _, x in located_records(Path(path), kind, root))


def write_jsonl(path: Path | str, records: Iterable[Record], kind: Kind) -> int:
    """Stream `records` into a file that appears complete or not at all; return how many there were.

    Raises `DataError` for a record of another kind, or one that cannot be written without loss, or if the disk refuses.
    """
    path, count = Path(path), 0
    expected = _KINDS[kind][0]
    with atomic(path, "wb", DataError) as file:
        file.write(_encoded({"format": FORMAT, "kind": kind}, ""))
        for x in records:
            if not isinstance(x, expected):
                raise DataError(
                    f"a file of {kind} cannot hold a {type(x).__name__}",
                    where=path,
                    code="jsonl.wrong-record",
                )
            file.write(_encoded(to_json(x), x.id))
            count += 1
    return count


_CONTROLS = re.compile(r"[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What controls a terminal and is no escape in JSON by itself: a file may be shown on one."""


def _encoded(record: dict[str, Any], id: str) -> bytes:
    try:
        text = json.dumps(record, ensure_ascii=False, allow_nan=False)
        return _CONTROLS.sub(lambda m: f"\\u{ord(m[0]):04x}", text).encode() + b"\n"
    except UnicodeEncodeError:
        raise surrogates(record, repr(id)) from None
    except (TypeError, ValueError) as error:
        raise DataError(f"it cannot be written as JSON: {error}", where=id, code="json.unwritable") from error


def located_records(
    path: Path,
    kind: Kind | None,
    root: str,
    repairs: Counter[str] | None = None,
    refuse: Callable[[DataError], None] | None = None,
) -> Iterator[tuple[str, Record]]:
    """("file:line", record) of each line after the header; `refuse` is told of records that cannot be read."""
    lines = numbered_lines(path, repairs=repairs)
    first = next(lines, None)
    if first is None:
        raise DataError("the file is empty", where=path, hint=_HEADER_HINT, code="file.empty")
    read = _KINDS[check_header(parse_line(first[1], f"{path}:1"), f"{path}:1", kind)][1]
    for number, line in lines:
        where = f"{path}:{number}"
        if line.strip():
            try:
                record = read(parse_line(line, where), where=where, root=root, id=f"{path.stem}:{number}")
            except DataError as error:
                if refuse is None:
                    raise
                refuse(error)
                continue
            yield where, record
        elif repairs is not None:
            repairs["empty line skipped"] += 1


def check_header(header: Any, where: str, expected: Kind | None) -> str:
    """The kind of records that a file's first line announces. Raises `DataError` if it is not a header."""
    if not isinstance(header, dict) or "format" not in header:
        raise DataError("the header is missing", where=where, hint=_HEADER_HINT, code="jsonl.no-header")
    version, kind = header["format"], header.get("kind")
    if type(version) is not int or version < 1:
        raise DataError(
            f"`format` must be a whole number from 1, not {version!r}",
            where=where,
            hint=_HEADER_HINT,
            code="jsonl.format",
        )
    if version > FORMAT:
        raise DataError(
            f"the file has format {version}; this version of mmkit reads up to {FORMAT}",
            where=where,
            hint="update mmkit: pip install --upgrade mmkit-core",
            code="jsonl.newer-format",
        )
    if not isinstance(kind, str) or kind not in _KINDS:
        raise DataError(
            f"unknown kind {kind!r}",
            where=where,
            hint=did_you_mean(str(kind), _KINDS),
            code="jsonl.unknown-kind",
        )
    if expected not in (None, kind):
        raise DataError(f"the file holds {kind}, not {expected}", where=where, code="file.wrong-kind")
    return kind
