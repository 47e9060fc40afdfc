"""Datasets written once: whole or not at all, by one process or by several at the same time."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from mmkit.errors import DataError
from mmkit.files import explained

MARKER = "complete"
"""An empty file that a finished dataset holds."""


def written_once(target: Path, write: Callable[[Path], None]) -> Path:
    """`target` as an absolute path, filled by `write` unless it is complete already.

    `write` works in a folder beside it, which is then renamed; where two processes write, the first one wins.
    Raises `DataError` if the disk refuses, or if something else stands there.
    """
    target = target.absolute()
    if (target / MARKER).exists():
        return target
    with explained(target, DataError):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        try:
            write(temporary)
            (temporary / MARKER).touch()
            temporary.chmod(0o755)
            try:
                temporary.rename(target)
            except OSError:
                if not (target / MARKER).exists():
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return target
