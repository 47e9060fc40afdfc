"""Files in a Qt resource file (.rcc), in which GCompris keeps its pictures.

The format is that of Qt's program rcc (Qt documentation, "The Qt Resource System"), versions 1 to 3, big-endian:

- a head: `qres`, the version, and where the tree, the data and the names begin;
- the tree: nodes of 14 bytes (version 1) or 22 bytes, the first of which is the root. A node has a name and flags. A
  folder (flag 2) has a number of children and the place of the first; a file has a country, a language and the place of
  its data;
- data: a length, then so many bytes, which flag 1 says are compressed by zlib behind their own length, flag 4 by zstd;
- names: a length, a hash, and UTF-16.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from mmkit.errors import DataError

ZLIB, FOLDER, ZSTD = 1, 2, 4
MOST = 64 << 20
"""The most bytes of one file."""


@dataclass(frozen=True)
class Resources:
    """The content of a resource file; `where` names it in errors."""

    data: bytes
    where: str

    def read(self, wanted: Collection[str]) -> dict[str, bytes]:
        """The contents of those of the `wanted` paths that there are. Raises `DataError` for a damaged file."""
        paths = set(wanted)
        try:
            return {path: self._content(node) for path, node in self._files() if path in paths}
        except (struct.error, zlib.error, UnicodeDecodeError) as error:
            raise self._damaged(str(error)) from error

    def _files(self) -> Iterator[tuple[str, int]]:
        """Paths, and where their nodes begin."""
        magic, version, tree, _, _ = self._head()
        if magic != b"qres" or not 1 <= version <= 3:
            raise self._damaged("it does not begin as one")
        size = 14 if version == 1 else 22
        seen: set[int] = set()
        ahead = [(0, "")]
        while ahead:
            number, folder = ahead.pop()
            if number in seen:
                raise self._damaged("a folder contains itself")
            seen.add(number)
            node = tree + number * size
            name, flags = struct.unpack_from(">IH", self.data, node)
            path = f"{folder}/{self._name(name)}" if number else ""
            if flags & FOLDER:
                children, first = struct.unpack_from(">II", self.data, node + 6)
                if first + children > len(self.data) // size:
                    raise self._damaged("a folder has more files than there can be")
                ahead += [(child, path) for child in range(first, first + children)]
            else:
                yield path.removeprefix("/"), node

    def _head(self) -> tuple[bytes, int, int, int, int]:
        head: tuple[bytes, int, int, int, int] = struct.unpack_from(">4sIIII", self.data)
        return head

    def _name(self, place: int) -> str:
        start = self._head()[4] + place
        (length,) = struct.unpack_from(">H", self.data, start)
        return self.data[start + 6 : start + 6 + 2 * length].decode("utf-16-be")

    def _content(self, node: int) -> bytes:
        flags, _, _, place = struct.unpack_from(">HHHI", self.data, node + 4)
        start = self._head()[3] + place
        (length,) = struct.unpack_from(">I", self.data, start)
        stored = self.data[start + 4 : start + 4 + length]
        if len(stored) < length:
            raise self._damaged("it ends too early")
        if flags & ZSTD:
            raise self._damaged("it is compressed by zstd, which the demo does not read")
        if not flags & ZLIB:
            return stored
        content = zlib.decompressobj().decompress(stored[4:], MOST + 1)
        if len(content) > MOST:
            raise self._damaged(f"a file in it has more than {MOST:,} bytes")
        return content

    def _damaged(self, why: str) -> DataError:
        return DataError(
            f"this Qt resource file cannot be read: {why}", where=self.where, hint="fetch its package again"
        )
