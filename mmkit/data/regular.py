"""Opening files to read: only regular files, because reading a device or a named pipe may never end."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

_KINDS = (
    (stat.S_ISFIFO, "a named pipe (FIFO)"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def open_regular(path: Path | str) -> io.BufferedReader:
    """The file's bytes. Raises `OSError` for a file that cannot be opened or is not a regular file.

    A pipe that the shell opened, such as `/dev/stdin` or `/dev/fd/63`, is read as well: somebody is writing to it.
    """
    flags = (
        os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    )
    descriptor = os.open(path, flags)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if stat.S_ISFIFO(mode) and _is_open(path):
            os.set_blocking(descriptor, True)
        elif not stat.S_ISREG(mode):
            kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "no regular file")
            raise OSError(errno.EINVAL, f"this is {kind}, not a file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _is_open(path: Path | str) -> bool:
    """Whether a path names a file that a process has open, rather than one of a folder."""
    real = os.path.realpath(path)
    return real.startswith(("/proc/", "/dev/fd/"))


def is_file(path: Path | str) -> bool:
    """Whether there is such a file; `Path.is_file` raises `OSError` for a name that is too long to be one."""
    return os.path.isfile(path)  # noqa: PTH113
