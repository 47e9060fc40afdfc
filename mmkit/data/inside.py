"""Names of files in data, and the folders that they may not leave: data may be a stranger's."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from mmkit.errors import DataError
from mmkit.files.ownership import cache_root
from mmkit.terminal.notes import few


def inside(folder: str, name: str) -> str | None:
    """The path of `name` in `folder`, without `..`; None if it leads out of the folder, or is the folder.

    An absolute path is right if it is below the folder. An empty folder is the current one. Links in the folder are
    followed: whoever made the folder made them.
    """
    whole = os.path.normpath(os.path.join(folder, name))  # noqa: PTH118 - called once an image
    top = os.path.normpath(folder)
    if top == os.curdir:
        stays = not os.path.isabs(whole) and whole.partition(os.sep)[0] not in (os.pardir, os.curdir)  # noqa: PTH117
    else:
        stays = whole.startswith(os.path.join(top, ""))  # noqa: PTH118
    return whole if stays else None


def leads_out(what: str, where: str | Path, setting: str, *, code: str) -> DataError:
    """The error of a name in data that leads out of the folder in which such files are looked for.

    `what` is the message, and `setting` is the reader's setting that names the folder.
    """
    return DataError(
        what,
        where=where,
        hint=f"copy the file into the folder, or name another folder as `{setting}`",
        code=code,
    )


def from_outside(paths: Iterable[str | None], folders: Iterable[str | Path]) -> list[str]:
    """Those of `paths` whose files are in none of `folders`, each once, with links followed. None is no file."""
    tops = [os.path.join(os.path.realpath(folder), "") for folder in folders]  # noqa: PTH118
    return [
        path
        for path in dict.fromkeys(path for path in paths if path is not None)
        if not _real(path).startswith(tuple(tops))
    ]


def copied_from_outside(paths: Iterable[str | None], folders: Iterable[str | Path], into: str) -> str:
    """A warning about images whose content is copied `into` what the user may share; empty if there are none.

    mmkit's cache holds images that were inside a file of data.
    """
    found = from_outside(paths, [*folders, cache_root()])
    if not found:
        return ""
    files = "1 file" if len(found) == 1 else f"{len(found):,} files"
    return (
        f"warning: images of {files} outside the folders of the data were copied into {into}: {few(found)}; "
        "look at them before you share it"
    )


def _real(path: str) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):  # a path that cannot exist
        return path
