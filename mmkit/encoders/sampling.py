"""Folders of sample backbones: made whole and once, also by several processes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def make_once(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill `folder` unless it is filled already; other processes may do so at the same time."""
    if folder.is_dir() and any(folder.iterdir()):
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        temporary.chmod(0o755)
        write(temporary)
        temporary.rename(folder)
    except OSError:
        if not (folder.is_dir() and any(folder.iterdir())):  # else the other process was first
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
