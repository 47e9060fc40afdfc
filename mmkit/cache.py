"""The cache: samples, features, annotations and other files that can be made again."""

from __future__ import annotations

from pathlib import Path

from mmkit.errors import MMKitError
from mmkit.files import explained
from mmkit.files.ownership import cache_root, check_own, make_own


def cache_dir(kind: str) -> Path:
    """The folder for one kind of cached files, made if it does not exist.

    It is under `$MMKIT_CACHE`, or `mmkit` in the user's cache folder (`$XDG_CACHE_HOME`, else `~/.cache`).
    Raises `MMKitError` if it cannot be made, or if another user may write to it. Whoever reads a file from it checks
    the file with `mmkit.files.ownership.check_own`.
    """
    root = cache_root()
    folder = root / kind
    with explained(folder, MMKitError):
        make_own(folder)
    check_own([root, folder])
    return folder
