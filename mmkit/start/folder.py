"""What lies in a person's folder: files that may hold data, and folders of pictures."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from mmkit.errors import DataError

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic"})
SKIPPED = frozenset({"runs", "__pycache__", "node_modules"})
"""Folders that are not looked into, as are those whose names begin with a dot."""
MOST = 20
"""Folders of pictures that are considered: those with the most."""


@dataclass
class Folder:
    """The content of a folder: `files` that are no pictures, `folders`, and the number of pictures in each folder."""

    path: Path
    single: bool = False
    """Whether only one file was given: its name says no split."""
    files: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    pictures: Counter[Path] = field(default_factory=Counter)
    beside: dict[Path, str] = field(default_factory=dict)
    """Files that are no posts, and the setting of readers that takes each; found while the posts are."""

    @property
    def picture_folders(self) -> list[Path]:
        """Folders with pictures, those with the most first."""
        return [folder for folder, _ in self.pictures.most_common(MOST)]


def look_into(path: Path, pictures: Path | None = None) -> Folder:
    """The content of the folder `path`, or of the folder around the file `path`: then only this file may hold data.

    `pictures` names the folder to look for pictures in, in place of `path`. Raises `DataError` for a path that does not
    exist or is empty.
    """
    if not path.exists():
        raise DataError("there is no such file or folder", where=path, code="file.missing")
    folder = Folder(path if path.is_dir() else path.parent)
    _walk(folder.path, folder)
    if path.is_file():
        folder.files, folder.folders, folder.single = [path], [], True
    if pictures is not None:
        if not pictures.is_dir():
            raise DataError("there is no such folder of pictures", where=pictures, code="file.missing")
        elsewhere = Folder(pictures)
        _walk(pictures, elsewhere)
        folder.pictures = elsewhere.pictures
    if not folder.files:
        what = "there are only pictures in this folder" if folder.pictures else "this folder is empty"
        raise DataError(
            what,
            where=path,
            hint="put your posts there, for example as jsonlines: docs/data.md shows them",
            code="init.no-data",
        )
    return folder


def _walk(start: Path, found: Folder) -> None:
    seen: set[str] = set()
    for where, folders, files in os.walk(start, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if name[0] != "." and name not in SKIPPED)
        here = Path(where)
        found.folders.append(here)
        for name in sorted(files):
            if name[0] == ".":
                continue
            if os.path.splitext(name)[1].lower() in PICTURES:  # noqa: PTH122 - there may be very many
                found.pictures[here] += 1
            else:
                found.files.append(here / name)
