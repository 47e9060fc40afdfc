"""Reading text files line by line, so that an error can name file, line and byte."""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Iterator
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from mmkit.data.encodings import advice, guesses
from mmkit.data.regular import open_regular
from mmkit.errors import DataError

MOST = 10_000
"""Files of a folder whose names are compared with that of a missing one."""
ALIKE = 0.8
"""How alike two names must be: `train.txt` and `test.txt` are not."""


def numbered_lines(
    path: Path,
    source: str = "",
    repairs: Counter[str] | None = None,
    file: BinaryIO | None = None,
    unended: list[int] | None = None,
) -> Iterator[tuple[int, str]]:
    """(number from 1, line) of a UTF-8 file. Only `\\n` and `\\r\\n` end a line: tokens may hold U+2028.

    A byte order mark is dropped and counted in `repairs`. `file` is the opened file, if it is not simply `path` (but
    a decompressed one, for example); it is closed at the end. The last line's number is added to `unended` if no line
    end follows: the file may have been cut off within it. Raises `DataError` for a file that is missing
    (`source`, where the dataset comes from, is the hint), cannot be read or is not UTF-8.
    """
    done = 0  # bytes of the lines before this one
    with file or _open(path, source) as opened:
        for number, raw in enumerate(_chunks(opened, path), 1):
            body = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
            if body is not raw and len(body) < len(raw) and repairs is not None:
                repairs["byte order mark dropped"] += 1
            try:
                line = body.decode("utf-8")
            except UnicodeDecodeError as error:
                at = error.start + len(raw) - len(body)
                raise DataError(
                    f"not UTF-8: 0x{raw[at]:02x} at byte {at + 1} of the line, {done + at + 1} of the file",
                    where=f"{path}:{number}",
                    hint=advice(path),
                    code="file.not-utf8",
                ) from None
            if number == 1 and b"\0" in raw and guesses(path):  # UTF-16 of plain English is valid UTF-8
                raise DataError(
                    "not UTF-8: every other byte is 0",
                    where=f"{path}:1",
                    hint=advice(path),
                    code="file.not-utf8",
                )
            done += len(raw)
            if line.endswith("\n"):
                line = line[:-2] if line.endswith("\r\n") else line[:-1]
            elif unended is not None:
                unended.append(number)
            yield number, line


def missing(path: Path | str, source: str = "") -> DataError:
    """The error about a data file that is not there: files with a similar name, or what the path is relative to.

    `source` says where the dataset comes from.
    """
    path, hints = Path(path), [source] if source else []
    try:
        beside = [file.name for file in islice(path.parent.iterdir(), MOST)]
    except (OSError, ValueError):
        beside = []
        if not path.is_absolute():
            hints.insert(
                0, f"mmkit looked for it in {Path.cwd()}: a relative path begins where mmkit is started"
            )
    if near := get_close_matches(path.name, beside, n=1, cutoff=ALIKE):
        hints.insert(0, f"did you mean {str(path.parent / near[0])!r}?")
    return DataError("no such data file", where=path, hint="\n  → ".join(hints), code="file.missing")


def _open(path: Path, source: str) -> BinaryIO:
    try:
        return open_regular(path)
    except FileNotFoundError:
        raise missing(path, source) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"the data file cannot be read: {reason}", where=path, hint=source, code="file.unreadable"
        ) from error


def _chunks(file: BinaryIO, path: Path) -> Iterator[bytes]:
    try:
        yield from file
    except OSError as error:
        raise DataError(
            f"the data file cannot be read: {error}", where=path, code="file.unreadable"
        ) from error
