"""Whether another user may have written what is read from a cache.

A file or folder is trusted if other users cannot reach it (a folder around it lets no one else in), or if it belongs to
this user or to root, and no one else may write to it. A group with only this user does not count as someone else.
Folders like /tmp, in which everybody may add files but nobody may remove another user's, are no danger by themselves.
"""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from mmkit.errors import MMKitError

TRUST = "MMKIT_SHARED_CACHE"
"""The variable that says that everybody who may write to the cache is trusted."""


def cache_root() -> Path:
    """`$MMKIT_CACHE`, or `mmkit` in the user's cache folder (`$XDG_CACHE_HOME`, else `~/.cache`)."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("MMKIT_CACHE") or user / "mmkit")


def check_own(paths: Iterable[Path]) -> None:
    """Raise `MMKitError` for the first of these files and folders that another user may have written.

    Missing files are skipped. If `MMKIT_SHARED_CACHE` is 1, nothing is checked.
    """
    if os.environ.get(TRUST, "0") not in ("", "0") or not hasattr(os, "getuid"):
        return
    for path in paths:
        try:
            reason = _foreign(path)
        except (OSError, RuntimeError):
            continue  # RuntimeError: a loop of links. Whoever opens it will say what is wrong
        if reason:
            raise MMKitError(
                f"another user may have written this: {reason}",
                where=path,
                hint=f"if all of it is yours, close the folder to others: chmod 700 {cache_root()}; else set "
                f"MMKIT_CACHE to a folder of your own, or {TRUST}=1 if you trust everybody who may write here",
                code="cache.foreign",
            )


def check_tree(folder: Path) -> None:
    """`check_own` for a folder and all that is in it."""
    if folder.exists() and not (hasattr(os, "getuid") and _is_closed(folder.resolve())):
        check_own([folder, *folder.rglob("*")])


def make_own(folder: Path) -> None:
    """Make a folder with those above it that are missing; the first of the new ones lets no one else in."""
    missing = [above for above in (folder, *folder.parents) if not above.exists()]
    for i, path in enumerate(reversed(missing)):
        path.mkdir(mode=0o755 if i else 0o700, exist_ok=True)
    folder.mkdir(exist_ok=True)  # refuses a file


def _foreign(path: Path) -> str:
    """Why a file or folder may come from another user; nothing if it cannot."""
    real = path.resolve(strict=True)
    status, own = real.stat(), os.getuid()
    if _is_closed(real if stat.S_ISDIR(status.st_mode) else real.parent):
        return ""
    if status.st_uid not in (own, 0):
        return f"it belongs to {_name(status.st_uid)}"
    if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX:
        return ""
    if status.st_mode & stat.S_IWOTH:
        return f"everybody may write to it (mode {stat.S_IMODE(status.st_mode):o})"
    if status.st_mode & stat.S_IWGRP and not _is_own_group(status.st_gid):
        return f"its group may write to it (mode {stat.S_IMODE(status.st_mode):o})"
    return ""


def _is_closed(folder: Path) -> bool:
    """Whether a folder (its real path), or one around it, lets no one else in."""
    own = os.getuid()
    for place in (folder, *folder.parents):
        status = place.stat()
        entered = status.st_mode & stat.S_IXOTH or (
            status.st_mode & stat.S_IXGRP and not _is_own_group(status.st_gid)
        )
        if not entered and status.st_uid in (own, 0):
            return True
    return False


@functools.cache
def _is_own_group(group: int) -> bool:
    """Whether no other user but root is in a group: that of root, and one of the user's own name."""
    import grp
    import pwd

    if group == 0:
        return True
    own = os.getuid()
    try:
        user, entry = pwd.getpwuid(own), grp.getgrgid(group)
    except KeyError:  # in a container, say
        return group == own
    return entry.gr_name == user.pw_name and group == user.pw_gid and set(entry.gr_mem) <= {user.pw_name}


def _name(user: int) -> str:
    import pwd

    try:
        return f"the user {pwd.getpwuid(user).pw_name}"
    except KeyError:
        return f"the user {user}"
