"""Checksums of files, and a check that a folder contains only regular files and folders."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

from mmkit.data.regular import open_regular


def odd_file(folder: Path) -> Path | None:
    """The first entry of a folder that is neither a file nor a folder. Reading a device or a pipe may never end."""
    # files may disappear meanwhile
    there = (path for path in sorted(folder.glob("*")) if os.path.lexists(path))
    return next((path for path in there if not (path.is_file() or path.is_dir())), None)


def checksum(path: Path, size: int | None = None) -> int:
    """The CRC-32 of a file, or of its first `size` bytes. The file is read in pieces."""
    check, left = 0, path.stat().st_size if size is None else size
    with open_regular(path) as file:
        while left > 0 and (data := file.read(min(left, 1 << 22))):
            check, left = zlib.crc32(data, check), left - len(data)
    return check
