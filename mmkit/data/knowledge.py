"""A knowledge base on disk: entities by row and rows by id. Memory does not grow with its size.

`entities.jsonl` (canonical form) and `ids.txt` with the offsets of their lines, `hashes.npy` and `rows.npy` (hashed ids
in order, and the row of each). Everything except the requested lines stays memory-mapped.
"""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np

from mmkit.data.records import entity_from_json, to_json
from mmkit.data.types import Entity
from mmkit.errors import DataError, one_line
from mmkit.files import kept, read_json, write_json

Rows = np.ndarray[Any, np.dtype[np.int64]]

_NAMED = 5
"""Ids that a message about ids that are not unique names."""

_CHUNK = 10_000
"""Entities that are read together, and the number between two reports of progress."""


class KnowledgeBase(Sequence[Entity]):
    """Entities in a fixed order, read from disk when asked for.

    A row is an entity's position in that order. `fingerprint` is a hash of all records; `repairs` counts what their
    reader skipped or corrected. Raises `DataError` if the folder is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with _read_from(folder):
            self._records = _Lines(folder, "entities.jsonl")
            self._ids = _Lines(folder, "ids.txt")
            self._hashes = _array(folder / "hashes.npy")
            self._rows = _array(folder / "rows.npy")
            facts = read_json(folder / "facts.json")
            self.fingerprint: str = facts["fingerprint"]
            self.repairs: dict[str, int] = facts["repairs"]
            if len(self._rows) != len(self._hashes):
                raise ValueError(f"{len(self._rows)} rows of {len(self._hashes)} entities")

    @classmethod
    def build(
        cls,
        folder: Path,
        entities: Iterable[Entity],
        repairs: Mapping[str, int] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> KnowledgeBase:
        """The knowledge base in `folder`, written from `entities` in constant memory unless it exists, undamaged.

        `repairs` is read after the last entity; `progress` is called with the number of entities so far.
        Raises `DuplicateIdsError` if entities have the same id, and `DataError` if there is no entity, or if the disk
        refuses.
        """
        return cls(kept(folder, lambda target: _write(target, entities, repairs or {}, progress)))

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, row: int) -> Entity: ...
    @overload
    def __getitem__(self, row: slice) -> list[Entity]: ...
    def __getitem__(self, row: int | slice) -> Entity | list[Entity]:
        """The entity, or entities, of a row or a slice of rows."""
        if isinstance(row, slice):
            start, stop, step = row.indices(len(self))
            if step != 1:
                return [self[i] for i in range(start, stop, step)]
            with _read_from(self.folder):
                return [_entity(line) for line in self._records.read(start, stop)]
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of a knowledge base of {len(self)} entities")
        row %= len(self)
        with _read_from(self.folder):
            return _entity(self._records.read(row, row + 1)[0])

    def __iter__(self) -> Iterator[Entity]:
        for start in range(0, len(self), _CHUNK):
            yield from self[start : start + _CHUNK]

    def rows(self, ids: Iterable[str]) -> Rows:
        """The row of each id, -1 if no entity has it."""
        hashes = hashed(ids)
        at = np.minimum(np.searchsorted(self._hashes, hashes), len(self) - 1)
        return np.where(self._hashes[at] == hashes, self._rows[at], -1).astype(np.int64)

    def ids(self, rows: Iterable[int]) -> list[str]:
        """The ids of rows."""
        with _read_from(self.folder):
            return [json.loads(self._ids.read(row, row + 1)[0]) for row in rows]

    def __contains__(self, x: object) -> bool:
        return bool(self.rows([x.id if isinstance(x, Entity) else str(x)])[0] >= 0)


@contextmanager
def _read_from(folder: Path) -> Iterator[None]:
    """Raise `DataError` for what reading damaged files ends in."""
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, RecursionError, OverflowError) as error:
        raise DataError(
            f"the stored knowledge base is damaged: {one_line(error)}",
            where=folder,
            hint="delete this folder",
            code="knowledge.damaged",
        ) from error


def _array(path: Path) -> Any:
    """The numbers of a file, memory-mapped. Raises `OSError`, and `ValueError` for a damaged file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is missing, or no file")
    try:
        found = np.load(path, mmap_mode="r")
    except OSError:
        raise
    except Exception as error:  # a damaged header is parsed as Python, and may raise almost anything
        raise ValueError(f"{path.name}: {one_line(error)}") from error
    if found.ndim != 1 or found.dtype.kind not in "iu" or not len(found):
        raise ValueError(f"{path.name} holds no row of whole numbers")
    return found


class _Lines:
    """The lines of a file by number, through offsets in a file beside it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / name
        self._offsets = _array(folder / f"{name}.npy")
        if self.path.stat().st_size != self._offsets[-1]:
            raise ValueError(f"{name} has {self.path.stat().st_size} bytes, not {self._offsets[-1]}")
        self._file: BinaryIO | None = None

    def read(self, start: int, stop: int) -> list[bytes]:
        """Lines `start` to `stop`."""
        if stop <= start:
            return []
        if self._file is None:
            self._file = self.path.open("rb")
        first, last = int(self._offsets[start]), int(self._offsets[stop])
        return os.pread(self._file.fileno(), last - first, first).split(b"\n")[:-1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}  # an open file cannot be sent to another process


def hashed(ids: Iterable[str]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """64-bit hashes of ids. When a knowledge base is written, mmkit checks that no two collide."""
    digest = b"".join(
        hashlib.blake2b(i.encode("utf-8", "surrogatepass"), digest_size=8).digest() for i in ids
    )
    return np.frombuffer(digest, dtype="<u8")


def _write(
    folder: Path,
    entities: Iterable[Entity],
    repairs: Mapping[str, int],
    progress: Callable[[int], None] | None,
) -> None:
    hashes, digest = array("Q"), hashlib.blake2b(digest_size=16)
    records, ids = _Writer(folder, "entities.jsonl"), _Writer(folder, "ids.txt")
    with records, ids:
        for count, entity in enumerate(entities, 1):
            line = json.dumps(to_json(entity)).encode() + b"\n"
            records.add(line)
            ids.add(json.dumps(entity.id).encode() + b"\n")
            digest.update(line)
            hashes.append(int(hashed([entity.id])[0]))
            if progress is not None and count % _CHUNK == 0:
                progress(count)
    if not hashes:
        raise DataError("there is no entity in it", code="knowledge.no-entity")
    values = np.frombuffer(hashes, dtype=np.uint64)
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    np.save(folder / "hashes.npy", ordered)
    np.save(folder / "rows.npy", order.astype(np.int64))
    write_json(folder / "facts.json", {"fingerprint": digest.hexdigest(), "repairs": dict(repairs)})
    same = np.flatnonzero(ordered[1:] == ordered[:-1])
    if len(same):
        base = KnowledgeBase(folder)
        pairs = (base.ids(order[at : at + 2].tolist()) for at in same[:100].tolist())
        named = islice(dict.fromkeys(id for pair in pairs for id in pair), _NAMED)
        raise DuplicateIdsError.of(len(same), dict.fromkeys(named, ()))


class DuplicateIdsError(DataError):
    """Entities that have the id of another one: their number, and some of the ids."""

    count = 0
    ids: frozenset[str] = frozenset()

    @classmethod
    def of(cls, count: int, told: Mapping[str, Sequence[str]], where: object = "") -> DuplicateIdsError:
        """The error for `count` entities; `told` has some of their ids, and the places of each if they are known."""
        have = "1 entity has" if count == 1 else f"{count:,} entities have"
        named = ", ".join(f"{id!r} ({', '.join(at)})" if at else repr(id) for id, at in told.items())
        more = " ..." if count > len(told) else ""
        error = cls(
            f"{have} the id of another one: {named}{more}",
            where=where,
            hint="make ids unique",
            code="knowledge.duplicate-id",
        )
        error.count, error.ids = count, frozenset(told)
        return error


class _Writer:
    """Writes lines, and their offsets at the end."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / name
        self._offsets = array("q", [0])

    def __enter__(self) -> _Writer:
        self._file = self.path.open("wb", buffering=1 << 20)
        return self

    def add(self, line: bytes) -> None:
        self._file.write(line)
        self._offsets.append(self._offsets[-1] + len(line))

    def __exit__(self, *_: object) -> None:
        self._file.close()
        np.save(self.path.with_name(f"{self.path.name}.npy"), np.frombuffer(self._offsets, dtype=np.int64))


def _entity(line: bytes) -> Entity:
    return entity_from_json(json.loads(line))
