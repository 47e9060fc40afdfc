"""The file of a corpus: opening, decompression, and how much has been read."""

from __future__ import annotations

import bz2
import gzip
import io
import os.path
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO, cast

from mmkit.data.regular import open_regular
from mmkit.errors import DataError
from mmkit_retrieval.corpora.article import Article

_BUFFER = 1 << 18
LONGEST_LINE = 16 << 20
"""The longest line in bytes, far longer than an article."""


class Corpus(ABC):
    """The articles of one file. Memory does not grow with the file, and each iteration starts at its beginning.

    Images are searched in the folder `images` (default: the folder of the file). Without `pictures`, articles have no
    images. Errors are `DataError`s that name file and line. What an iteration skips or corrects is counted in `repairs`
    (reason → count).
    """

    def __init__(self, path: Path, images: Path | None = None, pictures: bool = True) -> None:
        self.path = path
        # absolute, so that articles do not depend on the current folder
        self.images = os.path.abspath(images or path.parent) if pictures else None  # noqa: PTH100
        self.repairs: Counter[str] = Counter()
        self._bytes: Bytes | None = None

    @abstractmethod
    def __iter__(self) -> Iterator[Article]: ...

    def files(self) -> list[Path]:
        """The files that are read. Images are not among them."""
        return [self.path]

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return self.path.stat().st_size

    @property
    def position(self) -> int:
        """How many of these bytes the current iteration has read."""
        return 0 if self._bytes is None else self._bytes.position

    def opened(self) -> BinaryIO:
        """The file's bytes, decompressed. Raises `DataError` if it cannot be opened."""
        self._bytes = open_bytes(self.path)
        return cast(BinaryIO, Lines(self._bytes, self.path))


class Lines(io.BufferedReader):
    """Bytes that can be read line by line. Raises `DataError` for a line of more than `LONGEST_LINE` bytes."""

    def __init__(self, raw: Bytes, path: Path) -> None:
        super().__init__(cast(io.RawIOBase, raw), _BUFFER)
        self._path, self._number = path, 0

    def __next__(self) -> bytes:
        self._number += 1
        line = self.readline(LONGEST_LINE + 1)
        if len(line) > LONGEST_LINE:
            raise DataError(
                f"a line of more than {LONGEST_LINE:,} bytes",
                where=f"{self._path}:{self._number}",
                hint="each line is an article; split a longer text into several articles",
                code="retrieval.line-too-long",
            )
        if not line:
            raise StopIteration
        return line


class Bytes(io.RawIOBase):
    """The bytes of a file. Files in gzip or bzip2 are recognized by their first bytes, and decompressed.

    Damaged compressed data raise `OSError`, as a damaged disk does.
    """

    def __init__(self, path: Path) -> None:
        self._file = open_regular(path)
        start = self._file.peek(3)
        self._plain: IO[bytes] = self._file
        if start.startswith(b"\x1f\x8b"):
            self._plain = cast(IO[bytes], gzip.GzipFile(fileobj=self._file))
        elif start.startswith(b"BZh"):
            self._plain = cast(IO[bytes], bz2.BZ2File(self._file))
        self.position = 0

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        """Read into the buffer, and return the number of bytes: 0 at the end of the file."""
        try:
            data = self._plain.read(len(buffer))
        except (EOFError, zlib.error) as error:
            raise OSError(f"the compressed data are truncated or damaged ({error})") from error
        buffer[: len(data)] = data
        self.position = self._file.tell()
        return len(data)

    def close(self) -> None:
        """Close the file, and the decompression around it."""
        if not self.closed:
            self._plain.close()
            self._file.close()
        super().close()


def open_bytes(path: Path) -> Bytes:
    """The bytes of a corpus. Raises `DataError` if the file does not exist or cannot be opened."""
    try:
        return Bytes(path)
    except FileNotFoundError:
        hint = "give a JSON-lines file, or a dump from dumps.wikimedia.org"
        raise DataError("no such corpus", where=path, hint=hint, code="retrieval.no-corpus") from None
    except IsADirectoryError:
        hint = "give a file; for several files, run one command for each"
        raise DataError("the corpus is a folder", where=path, hint=hint, code="retrieval.no-corpus") from None
    except (OSError, ValueError) as error:
        raise DataError(
            f"the corpus cannot be read: {error}", where=path, code="retrieval.corpus-unreadable"
        ) from error
