"""A knowledge base on disk: entities by row and rows by id, in memory that does not grow with it.

`entities.jsonl` (canonical form), `offsets.npy` (where each record begins), `hashes.npy` and `rows.npy` (hashed ids
in order, and the row of each). All but the lines asked for stay memory-mapped.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np

from mmkit.data.records import entity_from_json, to_json
from mmkit.data.types import Entity
from mmkit.errors import DataError
from mmkit.files import explained, written_once

Rows = np.ndarray[Any, np.dtype[np.int64]]

RECORDS = "entities.jsonl"
_REPORT_EVERY = 10_000


class KnowledgeBase(Sequence[Entity]):
    """Entities in a fixed order, read from disk when asked for.

    A row is an entity's place in that order. `fingerprint` is a hash of all records.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with explained(folder, DataError):
            self._offsets = np.load(folder / "offsets.npy", mmap_mode="r")
            self._hashes = np.load(folder / "hashes.npy", mmap_mode="r")
            self._rows = np.load(folder / "rows.npy", mmap_mode="r")
            self.fingerprint: str = json.loads((folder / "facts.json").read_text())["fingerprint"]
        self._file: BinaryIO | None = None

    @classmethod
    def build(
        cls,
        folder: Path,
        entities: Callable[[], Iterable[Entity]],
        progress: Callable[[int], None] | None = None,
    ) -> KnowledgeBase:
        """The knowledge base in `folder`, written from `entities()` unless it is there already.

        Raises `DataError` if two entities have one id, or the disk refuses.
        """
        written_once(folder, lambda target: _write(target, entities(), progress))
        return cls(folder)

    def __len__(self) -> int:
        return len(self._offsets) - 1

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
            return [_entity(line) for line in self._lines(start, stop)]
        row = int(row)
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of a knowledge base of {len(self)} entities")
        row %= len(self)
        return _entity(self._lines(row, row + 1)[0])

    def __iter__(self) -> Iterator[Entity]:
        for start in range(0, len(self), _REPORT_EVERY):
            yield from self[start : start + _REPORT_EVERY]

    def rows(self, ids: Iterable[str]) -> Rows:
        """The row of each id, -1 where no entity has it."""
        hashes = hashed(ids)
        at = np.searchsorted(self._hashes, hashes)
        at = np.minimum(at, len(self._hashes) - 1)
        return np.where(self._hashes[at] == hashes, self._rows[at], -1).astype(np.int64)

    def ids(self, rows: Iterable[int]) -> list[str]:
        """The ids of rows."""
        return [self[int(row)].id for row in rows]

    def __contains__(self, x: object) -> bool:
        return bool(self.rows([x.id if isinstance(x, Entity) else str(x)])[0] >= 0)

    def _lines(self, start: int, stop: int) -> list[bytes]:
        if stop <= start:
            return []
        if self._file is None:
            self._file = (self.folder / RECORDS).open("rb")
        first, last = int(self._offsets[start]), int(self._offsets[stop])
        self._file.seek(first)
        return self._file.read(last - first).splitlines()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}  # an open file does not travel to another process


def hashed(ids: Iterable[str]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """64-bit hashes of ids; that no two of a knowledge base collide is checked when it is written."""
    digest = b"".join(
        hashlib.blake2b(i.encode("utf-8", "surrogatepass"), digest_size=8).digest() for i in ids
    )
    return np.frombuffer(digest, dtype="<u8")


def _write(folder: Path, entities: Iterable[Entity], progress: Callable[[int], None] | None) -> None:
    offsets, hashes, digest = array("q", [0]), array("Q"), hashlib.blake2b(digest_size=16)
    with (folder / RECORDS).open("wb") as file:
        for count, entity in enumerate(entities, 1):
            line = json.dumps(to_json(entity), ensure_ascii=True).encode() + b"\n"
            file.write(line)
            digest.update(line)
            offsets.append(offsets[-1] + len(line))
            hashes.append(int(hashed([entity.id])[0]))
            if progress is not None and count % _REPORT_EVERY == 0:
                progress(count)
    values = np.frombuffer(hashes, dtype=np.uint64) if hashes else np.empty(0, np.uint64)
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    np.save(folder / "offsets.npy", np.frombuffer(offsets, dtype=np.int64))
    np.save(folder / "hashes.npy", ordered)
    np.save(folder / "rows.npy", order.astype(np.int64))
    (folder / "facts.json").write_text(
        json.dumps({"fingerprint": digest.hexdigest(), "entities": len(values)})
    )
    same = np.flatnonzero(ordered[1:] == ordered[:-1])
    if len(same):
        base = KnowledgeBase(folder)
        one, other = base[int(order[same[0]])].id, base[int(order[same[0] + 1])].id
        what = (
            f"two entities have the id {one!r}" if one == other else f"the ids {one!r} and {other!r} collide"
        )
        raise DataError(what, hint="make ids unique")


def _entity(line: bytes) -> Entity:
    return entity_from_json(json.loads(line))
