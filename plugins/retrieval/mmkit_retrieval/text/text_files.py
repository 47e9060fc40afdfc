"""The files of a text index: which there are, whether they are complete, and a name for their contents.

tantivy writes each file of a segment once, and ends it with a footer. The footer is JSON with the CRC-32 of the bytes
before it, then the length of this JSON and a magic number (both little-endian, 32 bits). tantivy's Python package
cannot check these sums, so this module does. `meta.json` lists the segments that belong to the index.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mmkit.data.regular import open_regular
from mmkit.errors import DataError
from mmkit.files import parsed_json, read_json, write_json
from mmkit.files.temporary import remove_leftovers
from mmkit_retrieval.checksums import checksum, odd_file

FORMAT = 1
"""Raised when the fields change, or the way in which text is split into words."""

REBUILD = "build the index again with `mmkit retrieval build-index`, into a new folder"
"""The hint for a damaged index."""

_OURS, _META = "format.json", "meta.json"
_PARTS = ("idx", "pos", "store", "term", "fast", "fieldnorm")
_TAIL = struct.Struct("<II")
_MAGIC = 1337


def is_index(folder: Path) -> bool:
    """Whether a text index was started in `folder`."""
    return (folder / _OURS).exists()


def is_written(folder: Path) -> bool:
    """Whether tantivy has written files there. If the process was killed early, it has not."""
    return (folder / _META).exists() or any(folder.glob("*.store"))


def write_format(folder: Path) -> None:
    """Mark `folder` as a text index of this format."""
    write_json(folder / _OURS, {"what": "mmkit-retrieval text index", "format": FORMAT})


def let_others_read(folder: Path) -> None:
    """Give tantivy's lists the permissions of other new files; tantivy lets only the user read them."""
    mode = (folder / _OURS).stat().st_mode
    for name in (_META, ".managed.json"):
        (folder / name).chmod(mode)


def remove_unfinished(folder: Path) -> None:
    """Remove unfinished lists of a killed process. The caller must hold the writer's lock."""
    for path in folder.glob(".tmp*"):
        path.unlink(missing_ok=True)
    remove_leftovers(folder.iterdir())


def check_format(folder: Path) -> None:
    """Raise `DataError` unless `folder` contains a text index of this format."""
    if not is_index(folder):
        hint = "give the folder that `mmkit retrieval build-index` wrote, or build one with it"
        raise DataError("there is no text index here", where=folder, hint=hint, code="retrieval.no-index")
    if odd := odd_file(folder):
        raise _damage(odd, "is not a regular file")
    found = _read_json(folder / _OURS).get("format")
    if found != FORMAT:
        what = (
            f"this text index has format {found!r}, and this version of mmkit-retrieval reads format {FORMAT}"
        )
        raise DataError(
            what,
            where=folder,
            hint=f"use the version that wrote it, or {REBUILD}",
            code="retrieval.index-format",
        )


def identity(folder: Path) -> str:
    """A name for the contents of the index. Every addition and removal changes it; the index is not opened.

    It is a hash of the names of tantivy's segments and of what is deleted in them. These names are random, and the
    files of a segment never change. So two indexes of the same corpus have different identities. Raises `DataError` as
    `check_format` does.
    """
    check_format(folder)
    segments = sorted((s["segment_id"], s["max_doc"], str(s["deletes"])) for s in _segments(folder))
    return hashlib.sha256(json.dumps([FORMAT, segments]).encode()).hexdigest()[:32]


def commit_stamp(folder: Path) -> int:
    """The number of the last commit with changes. It does not change when segments are merged."""
    stamp = _read_json(folder / _META).get("opstamp", 0)
    if not isinstance(stamp, int):
        raise _damage(folder / _META, "is damaged: it contains no commit number")
    return stamp


def check_files(folder: Path, contents: bool = True) -> None:
    """Raise `DataError` if a file is missing or truncated or, with `contents`, if its checksum is wrong."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for _ in pool.map(lambda path: _check_file(path, contents), list(_files(folder))):
            pass


def _files(folder: Path) -> Iterator[Path]:
    for segment in _segments(folder):
        name = segment["segment_id"].replace("-", "")
        yield from (folder / f"{name}.{part}" for part in _PARTS)
        if segment["deletes"]:
            yield folder / f"{name}.{segment['deletes']['opstamp']}.del"


def _check_file(path: Path, contents: bool) -> None:
    try:
        size, crc = _footer(path)
        if contents and checksum(path, size) != crc:
            raise _damage(path, "is damaged: its checksum is wrong")
    except FileNotFoundError as error:
        raise _damage(path, "is missing") from error
    except OSError as error:
        raise _damage(path, f"cannot be read ({error.strerror})") from error


def _footer(path: Path) -> tuple[int, int]:
    """How many bytes come before the footer, and their checksum as noted in it."""
    with open_regular(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 4096))
        end = file.read()
    try:
        length, magic = _TAIL.unpack(end[-_TAIL.size :])
        footer = parsed_json(end[-_TAIL.size - length : -_TAIL.size])
        if magic == _MAGIC:
            return size - _TAIL.size - length, int(footer["crc"])
    except (struct.error, ValueError, KeyError, TypeError):
        pass
    raise _damage(path, "is truncated or damaged: its end is not that of a tantivy file")


def _segments(folder: Path) -> list[dict[str, Any]]:
    segments = _read_json(folder / _META).get("segments")
    if not (isinstance(segments, list) and all(_is_segment(segment) for segment in segments)):
        raise _damage(folder / _META, "is damaged: it lists no segments")
    return segments


def _is_segment(segment: Any) -> bool:
    """Whether an entry has what the names of a segment's files are made of. (`deletes` None: nothing is deleted.)"""
    if not isinstance(segment, dict) or not isinstance(segment.get("segment_id"), str):
        return False
    deletes = segment.get("deletes", "")
    stamped = isinstance(deletes, dict) and isinstance(deletes.get("opstamp"), int)
    plain = segment["segment_id"].replace("-", "").isalnum()
    return plain and isinstance(segment.get("max_doc"), int) and (deletes is None or stamped)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = read_json(path)
    except FileNotFoundError as error:
        raise _damage(path, "is missing") from error
    except OSError as error:
        raise _damage(path, f"cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise _damage(path, "is damaged: it is not JSON") from error
    return value if isinstance(value, dict) else {}


def _damage(path: Path, how: str) -> DataError:
    return DataError(
        f"the text index is incomplete or damaged: {path.name} {how}",
        where=path.parent,
        hint=REBUILD,
        code="retrieval.index-damaged",
    )
