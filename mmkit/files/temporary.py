"""Temporary files and folders beside what they are to become, and those that a killed process left behind.

The process that makes one holds a lock on it, which ends with the process. One without a lock is left over; the next
process that writes the same file removes it. If the file system has no locks, nothing is removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

SUFFIX = ".tmp"

Make = Callable[[Path, str], tuple[Path, int]]
"""Makes a file or folder in a folder, whose name begins so, and opens it."""


@contextlib.contextmanager
def temporary_file(folder: Path, name: str) -> Iterator[Path]:
    """An empty file `.<name>.<something>.tmp` in `folder`; it is gone after the block, unless it was renamed."""
    path, descriptor = _held(folder, name, _make_file)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


@contextlib.contextmanager
def temporary_folder(folder: Path, name: str) -> Iterator[Path]:
    """An empty folder `.<name>.<something>.tmp` in `folder`; it is gone after the block, unless it was renamed."""
    path, descriptor = _held(folder, name, _make_folder)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def is_temporary(path: Path) -> bool:
    """Whether a name is one that `temporary_file` and `temporary_folder` give."""
    return path.name.startswith(".") and path.name.endswith(SUFFIX)


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Remove those of these temporary files and folders that no process holds; others stay, whatever they are."""
    for path in list(paths):  # the list first: what is removed is not walked through
        if not (is_temporary(path) and (path.is_file() or path.is_dir())):
            continue
        if (descriptor := _taken(path)) is not None:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
            os.close(descriptor)


def leftovers(folder: Path, name: str) -> list[Path]:
    """The temporary files and folders in `folder` that are to become `name`."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(f".{name}.")]
        return [path for path in (folder / found for found in names) if is_temporary(path)]
    return []


def _held(folder: Path, name: str, make: Make) -> tuple[Path, int]:
    """What `make` makes, locked. Another process may remove a new one as left over before it is locked."""
    remove_leftovers(leftovers(folder, name))
    while True:
        path, descriptor = make(folder, f".{name}.")
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.suppress(OSError):
            if os.path.samestat(path.stat(), os.fstat(descriptor)):
                return path, descriptor
        os.close(descriptor)


def _make_file(folder: Path, prefix: str) -> tuple[Path, int]:
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=prefix, suffix=SUFFIX)
    return Path(name), descriptor


def _make_folder(folder: Path, prefix: str) -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(dir=folder, prefix=prefix, suffix=SUFFIX))
        with contextlib.suppress(FileNotFoundError):  # another process has removed it already
            return path, os.open(path, os.O_RDONLY)


def _taken(path: Path) -> int | None:
    """A descriptor that locks a file or folder which no process holds; None where one does, or none can be had."""
    descriptor = None
    try:
        mode = os.O_RDONLY if path.is_dir() else os.O_RDWR
        descriptor = os.open(path, mode | os.O_NOFOLLOW | os.O_NONBLOCK)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        if descriptor is not None:
            os.close(descriptor)
        return None
    return descriptor
