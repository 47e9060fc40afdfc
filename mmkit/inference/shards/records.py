"""Reading a shard, or a part of one: its records, and its broken records, in their order."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmkit.data.alignment import Aligner
from mmkit.data.expected import of_another_kind
from mmkit.data.jsonl import JsonlReader, Record
from mmkit.data.jsonlines import located_examples
from mmkit.data.reader import Reader
from mmkit.data.records import to_json
from mmkit.data.regular import open_regular
from mmkit.data.types import Example
from mmkit.errors import DataError
from mmkit.inference.shards.plan import Part, Shard
from mmkit.registry import build_part

RAW = 2000
"""Characters of a broken record that are written with its error."""


class UnreadableError(Exception):
    """A file that cannot be read to its end: none of its predictions are put in place."""

    def __init__(self, error: DataError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True, slots=True)
class Item:
    """A record that was read, or the error of one that is broken. `raw` is its line, if it has one."""

    where: str
    raw: str | None = None
    example: Example | None = None
    error: DataError | None = None

    def broken(self, error: DataError) -> dict[str, Any]:
        """The error as a line of `errors.jsonl`; the record is cut after `RAW` characters."""
        raw = self.raw
        if raw is None and self.example is not None:
            raw = json.dumps(to_json(self.example), ensure_ascii=False)
        file, _, line = self.where.rpartition(":")
        numbered = bool(file) and line.isdecimal()
        return {
            "file": file if numbered else self.where,
            "line": int(line) if numbered else None,
            "message": error.what,
            "hint": error.hint,
            "code": error.code,
            "raw": raw if raw is None or len(raw) <= RAW else f"{raw[:RAW]}... ({len(raw):,} characters)",
        }


class PartReader(JsonlReader):
    """Reads a part of a file of jsonlines. Ids are not compared: the file may be of any length."""

    unique = False

    def of(self, part: Part) -> PartReader:
        """The reader, for this part."""
        self.part, self.raw = part, ""
        self.refused: list[str] = []
        return self

    def refuse(self, error: DataError) -> None:
        """As any reader, but only the first part of a file shows that the file is of another kind."""
        self.refused.append(self.raw)
        if self.part.start and self.errors is not None:
            self.errors.append(error)
        else:
            super().refuse(error)

    def _located(self, aligner: Aligner) -> Iterator[tuple[str, Record]]:
        try:
            yield from located_examples(self.path, self.root, aligner, self.refuse, self._lines())
        except DataError as error:
            if (
                error.code != "file.empty"
            ):  # this part has no record that can be read, and others may have some
                raise

    def _lines(self) -> Iterator[tuple[int, str]]:
        """The part's numbered lines, after the header of its file. A line that is not UTF-8 is refused alone."""
        part = self.part
        with open_regular(self.path) as file:
            if part.start and (header := _header(file.readline())) is not None:
                yield 1, header
            file.seek(part.start)
            for number in range(part.line, part.line + part.lines):
                raw = file.readline()
                if number == 1 and raw.startswith(codecs.BOM_UTF8):
                    raw = raw.removeprefix(codecs.BOM_UTF8)
                    self.repairs["byte order mark dropped"] += 1
                raw = raw.removesuffix(b"\n").removesuffix(b"\r")
                self.raw = raw.decode("utf-8", "replace")
                try:
                    yield number, raw.decode("utf-8")
                except UnicodeDecodeError as error:
                    what = f"not UTF-8: 0x{raw[error.start]:02x} at byte {error.start + 1} of the line"
                    self.refuse(DataError(what, where=f"{self.path}:{number}", code="file.not-utf8"))


def _header(line: bytes) -> str | None:
    """The first line of a file if it is a header."""
    try:
        text = line.decode("utf-8-sig")
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return text if isinstance(value, dict) and "format" in value else None


def reader_of(shard: Shard, part: Part | None = None) -> Reader:
    """The reader of a shard, or of a part of it."""
    path = Path(shard.path)
    settings = {"root": str(path.parent), "file": path.name, **shard.settings}
    if part is not None:
        return PartReader(**settings).of(part)
    reader: Reader = build_part("readers", shard.reader, settings)
    return reader


def items(reader: Reader) -> Iterator[Item]:
    """What a reader reads, and what it refuses, in order. Raises `UnreadableError` if it cannot go on."""
    reader.errors = errors = list[DataError]()
    told = 0
    records = iter(reader)
    while True:
        try:
            record = next(records, None)
            if record is not None and not isinstance(record, Example):
                raise DataError(
                    "the file holds entities, not examples",
                    where=reader.path,
                    hint="to link to these entities, give the file as --entities",
                    code="file.wrong-kind",
                )
        except DataError as error:
            raise UnreadableError(
                of_another_kind(error, reader.path, reader.kinds, reader.form, reader.symptoms)
            ) from error
        except OSError as error:
            unreadable = DataError(
                f"the data file cannot be read: {error}", where=reader.path, code="file.unreadable"
            )
            raise UnreadableError(unreadable) from error
        raw = reader.raw if isinstance(reader, PartReader) else None
        of_lines = reader.refused if isinstance(reader, PartReader) else [None] * len(errors)
        for refused, line in zip(errors[told:], of_lines[told:], strict=True):
            yield Item(refused.where, line, error=refused)
        told = len(errors)
        if record is None:
            return
        if reader.place is not None:  # the errors are counted only before the first record
            errors.clear()
            of_lines.clear()
            told = 0
        yield Item(reader.place.where if reader.place else record.id, raw, record)
