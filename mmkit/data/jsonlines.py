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
from functools import partial
from pathlib import Path
from typing import Any, Literal

from mmkit.data.alignment import Aligner
from mmkit.data.answers import example_from_answer, is_answer
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


def write_jsonl(path: Path | str, records: Iterable[Record], kind: Kind, header: bool = True) -> int:
    """Stream `records` into a file that appears complete or not at all; return how many there were.

    Without its `header` line, a file of examples can be read by `mmkit.jsonl.v1` and one of entities by
    `mmkit.kb_jsonl.v1`.
    Raises `DataError` for a record of another kind, or one that cannot be written without loss, or if the disk refuses.
    """
    path, count = Path(path), 0
    expected = _KINDS[kind][0]
    with atomic(path, "wb", DataError) as file:
        if header:
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
        raise _empty(path)
    make = _KINDS[check_header(parse_line(first[1], f"{path}:1"), f"{path}:1", kind)][1]

    def read(line: str, where: str, id: str) -> Record:
        return make(parse_line(line, where), where=where, root=root, id=id)

    yield from _located(lines, path, repairs, refuse, read)


def located_examples(
    path: Path,
    root: str,
    aligner: Aligner,
    refuse: Callable[[DataError], None] | None = None,
    lines: Iterator[tuple[int, str]] | None = None,
) -> Iterator[tuple[str, Record]]:
    """("file:line", record) of each line of a user's file, with a header or without; `refuse` as above.

    `lines` are the numbered lines, if they are not those of the whole file. Without a header, lines are examples, or
    answers as `mmkit predict` writes them. What `aligner` changes is counted in its `repairs`, together with lines that
    are skipped.
    """
    make: Callable[..., Record] = partial(_example_or_answer, aligner=aligner)
    begun = False

    def read(line: str, where: str, id: str) -> Record | None:
        nonlocal begun, make
        value, first, begun = parse_line(line, where), not begun, True
        if first and isinstance(value, dict) and "format" in value:
            kind = check_header(value, where, None)
            make = partial(example_from_json, aligner=aligner) if kind == "examples" else _KINDS[kind][1]
            return None
        return make(value, where=where, root=root, id=id)

    if lines is None:
        lines = numbered_lines(path, repairs=aligner.repairs)
    yield from _located(lines, path, aligner.repairs, refuse, read)
    if not begun:
        raise _empty(path)


def _located(
    lines: Iterator[tuple[int, str]],
    path: Path,
    repairs: Counter[str] | None,
    refuse: Callable[[DataError], None] | None,
    read: Callable[[str, str, str], Record | None],
) -> Iterator[tuple[str, Record]]:
    """("file:line", what `read` makes of the line, its place and an id) of each line that is not empty."""
    for number, line in lines:
        where = f"{path}:{number}"
        if line.strip():
            try:
                record = read(line, where, f"{path.stem}:{number}")
            except DataError as error:
                if refuse is None or error.code in WHOLE_FILE:
                    raise
                refuse(error)
                continue
            if record is not None:
                yield where, record
        elif repairs is not None:
            repairs["empty line skipped"] += 1


WHOLE_FILE = frozenset(
    {
        *("jsonl.format", "jsonl.newer-format", "jsonl.unknown-kind", "jsonl.no-header", "jsonl.list"),
        "file.wrong-kind",
    }
)
"""Codes of errors that are about the file, not about one of its records."""


def _example_or_answer(value: Any, where: str, root: str, id: str, aligner: Aligner) -> Example:
    if is_answer(value):
        return example_from_answer(value, where, root)
    if isinstance(value, list):
        raise DataError(
            "a list, where each line has to be one record",
            where=where,
            hint="jsonlines have an object a line; for JSON that another tool wrote, name its reader",
            code="jsonl.list",
        )
    if isinstance(value, dict) and "name" in value and not {"text", "tokens"} & value.keys():
        raise DataError(
            "this looks like an entity, in a file without a header",
            where=where,
            hint='begin the file with {"format": 2, "kind": "entities"}, or read it with mmkit.kb_jsonl.v1',
            code="jsonl.no-header",
        )
    return example_from_json(value, where, root, id, aligner)


def _empty(path: Path) -> DataError:
    return DataError("the file is empty", where=path, hint=_HEADER_HINT, code="file.empty")


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
