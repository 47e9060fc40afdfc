"""Checksums of files, and whether what lies in a folder are files at all."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

from mmkit.data.regular import open_regular


def odd_file(folder: Path) -> Path | None:
    """What in a folder is no regular file and no folder, if anything: reading a device or a pipe may never end."""
    there = (path for path in sorted(folder.glob("*")) if os.path.lexists(path))  # some come and go
    return next((path for path in there if not (path.is_file() or path.is_dir())), None)


def checksum(path: Path, size: int | None = None) -> int:
    """The CRC-32 of a file, or of its first `size` bytes; it is read piece by piece."""
    check, left = 0, path.stat().st_size if size is None else size
    with open_regular(path) as file:
        while left > 0 and (data := file.read(min(left, 1 << 22))):
            check, left = zlib.crc32(data, check), left - len(data)
    return check
