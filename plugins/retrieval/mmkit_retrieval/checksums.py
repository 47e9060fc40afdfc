"""Checksums of files."""

from __future__ import annotations

import zlib
from pathlib import Path


def checksum(path: Path, size: int | None = None) -> int:
    """The CRC-32 of a file, or of its first `size` bytes; it is read piece by piece."""
    check, left = 0, path.stat().st_size if size is None else size
    with path.open("rb") as file:
        while left > 0 and (data := file.read(min(left, 1 << 22))):
            check, left = zlib.crc32(data, check), left - len(data)
    return check
