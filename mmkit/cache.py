"""The cache: samples, features, annotations and other files that can be made again."""

from __future__ import annotations

import os
from pathlib import Path

from mmkit.errors import MMKitError
from mmkit.files import explained


def cache_dir(kind: str) -> Path:
    """The folder for one kind of cached files, made if it does not exist.

    It is under `$MMKIT_CACHE`, or `mmkit` in
    the user's cache folder (`$XDG_CACHE_HOME`, else `~/.cache`). Raises `MMKitError` if it cannot be made.
    """
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("MMKIT_CACHE") or user / "mmkit") / kind
    with explained(folder, MMKitError):
        folder.mkdir(parents=True, exist_ok=True)
    return folder
