"""Paths of images as people and tools write them, and the files that they mean."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mmkit.data.inside import inside, leads_out
from mmkit.errors import DataError
from mmkit.files import ADDRESS

ENDINGS = (
    ".jpg",
    ".jpeg",
    ".png",
    ".webp",
    ".gif",
    ".bmp",
    ".tif",
    ".tiff",
    ".avif",
    ".heic",
    ".jfif",
    ".jpe",
)
"""Endings of image files, in lower case; one of them, or none, follows a photo's name."""

NO_NAME = ("nan", "none", "null")
"""What programs write where a table has no name, in lower case."""

_PLAIN = re.compile(r"[^/:.][^/:]*")
"""A name that leads nowhere, for which paths need not be compared: thousands of times."""

_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


def meant(path: str, repairs: Counter[str] | None = None) -> str:
    """The file that `path` means: itself if it exists, else a file that fits another way of writing the path.

    It tries `file://` addresses, `~`, back slashes, percent codes, the other Unicode form of the same characters, and
    another case if only one file fits. Files that are found in this way are counted in `repairs`. If nothing is
    found, the path is returned unchanged. Nothing is ever downloaded.
    """
    if _exists(path):
        return path
    for how, other in _other_forms(path):
        if other != path and _exists(other):
            if repairs is not None:
                repairs[f"image path found {how}"] += 1
            return other
    return path


def why_missing(path: str) -> str:
    """What a user can do about a path without a file; empty if the path gives no clue."""
    address = ADDRESS.search(path)
    if address and not address[0].endswith("file://"):
        return "this is a web address, and mmkit downloads nothing: download the image and give its path"
    if address:
        return "this file:// address names no file here: give the path of the file on this machine"
    if _DRIVE.search(path):
        return "this is a path of a Windows machine: give the path of the file here, relative to the reader's root"
    if "\\" in path:
        return "paths here have forward slashes, and no file has this name with those either"
    if path.startswith("~"):
        return "no such file in the home folder"
    if "%" in path:
        return "the path holds percent codes, and no file has the decoded name either"
    folder = Path(path).parent
    if not folder.is_dir():
        return f"the folder {folder} does not exist"
    same = sorted(_names(str(folder)).get(_folded(Path(path).name), ()))
    if len(same) > 1:
        return f"several files differ from it in case only: {', '.join(same[:3])}"
    stems = sorted(_stems(str(folder)).get(_folded(Path(path).stem), ()))
    return f"there is {stems[0]}: give its ending" if stems else ""


class Photos:
    """The photos of a folder, found by the name in the dataset, with any ending.

    `name` may have an ending or not, and folders before it. Of a name that leads out of the folder, such as a path of
    the machine on which the dataset was made, only the last part is looked for; if the folder has no such file, but the
    name leads to one elsewhere, that is an error. A name that fits several files is an error. A name without a file
    stays a path with the ending `default`: a missing image.
    """

    def __init__(self, folder: str, repairs: Counter[str], default: str = ".jpg") -> None:
        self.folder, self.repairs, self.default = folder, repairs, default

    def named(self, name: str, where: str = "") -> str | None:
        """The file of a photo; None where the name is empty, or says that there is none, which is counted.

        Raises `DataError` if several files could be it, and for a file outside the folder.
        """
        bare = name.strip().lower()
        if bare and (bare not in NO_NAME or _exists(self.path(name, where))):
            return self.path(name, where)
        self.repairs["record that names no photo"] += 1
        return None

    def path(self, name: str, where: str = "") -> str:
        """The file of a photo. Raises `DataError` if several files could be it, and for a file outside the folder."""
        slashed = name.replace("\\", "/")
        stays = _PLAIN.fullmatch(slashed) is not None or inside(self.folder, slashed) is not None
        plain = os.path.join(self.folder, f"{name}{self.default}")  # noqa: PTH118 - pathlib would tidy the path
        if stays and _exists(plain):  # the common case first
            return plain
        candidates = self._whole(slashed)
        for candidate in candidates:
            if _exists(candidate):
                return candidate
        found = self._by_stem(slashed)
        if len(found) > 1:
            raise DataError(
                f"the photo {name!r} could be {' or '.join(sorted(found))}",
                where=where,
                hint=f"keep one of them in {self.folder}, or write the ending in the data",
                code="image.ambiguous",
            )
        if found:
            self.repairs["photo found by its name with another ending"] += 1
            return found[0]
        if not stays and (not candidates or any(map(_exists, self._paths([slashed])))):
            raise leads_out(
                f"the photo {name!r} leads out of the folder {self.folder}",
                where,
                "images",
                code="data.leads-out",
            )
        return plain if stays and not name.lower().endswith(ENDINGS) else candidates[0]

    def _whole(self, name: str) -> list[str]:
        """The paths in the folder that the unchanged name may mean, also with the folder's own name in it."""
        own = os.path.basename(os.path.normpath(self.folder))  # noqa: PTH119
        parts = [name, name.rpartition("/")[2]] if "/" in name else [name]
        if name.startswith(f"{own}/"):
            parts.insert(0, name.removeprefix(f"{own}/"))
        return self._paths(part for part in parts if inside(self.folder, part) is not None)

    def _paths(self, names: Iterable[str]) -> list[str]:
        """The paths of files with these names; without an ending, they get the default."""
        paths = [os.path.join(self.folder, name) for name in names]  # noqa: PTH118
        return [
            p
            for path in paths
            for p in ((path,) if path.lower().endswith(ENDINGS) else (path + self.default,))
        ]

    def _by_stem(self, name: str) -> list[str]:
        """The files of the folder whose name without its ending is that of the photo."""
        last = name.rpartition("/")[2]
        stem = last.rpartition(".")[0] if last.lower().endswith(ENDINGS) else last
        names = _stems(self.folder).get(_folded(stem), ())
        exact = [found for found in names if found.rpartition(".")[0] == stem]
        return [os.path.join(self.folder, found) for found in exact or names]  # noqa: PTH118


def _other_forms(path: str) -> Iterator[tuple[str, str]]:
    """(how, path) of other ways to write a path, the likeliest first."""
    if address := ADDRESS.search(path):  # it may stand behind a root that was put before it
        if address[0] == "file://":
            yield "from a file:// address", unquote(urlsplit(path[address.start() :]).path)
        return
    if "~" in path:
        yield "in the home folder", os.path.expanduser("~" + path.partition("~")[2])  # noqa: PTH111
    slashed = path.replace("\\", "/")
    yield "with forward slashes", slashed
    yield "without percent codes", unquote(slashed)
    for form in ("NFC", "NFD"):
        yield "in the other Unicode form", unicodedata.normalize(form, slashed)
    folder, name = os.path.split(slashed)
    same = _names(folder or ".").get(_folded(name), ())
    if len(same) == 1:
        yield "in other case", os.path.join(folder, same[0])  # noqa: PTH118


def _exists(path: str) -> bool:
    try:
        return os.path.exists(path)  # noqa: PTH110 - several times as fast, and called once an image
    except ValueError:
        return False


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


@lru_cache(maxsize=64)
def _listing(folder: str, changed: int) -> tuple[str, ...]:
    """The names in a folder, kept for as long as it looks unchanged."""
    return tuple(sorted(os.listdir(folder)))  # noqa: PTH208


def _names(folder: str) -> dict[str, tuple[str, ...]]:
    """Folded name → the names of a folder that fold to it."""
    return _folded_names(folder, *_changed(folder))


def _stems(folder: str) -> dict[str, tuple[str, ...]]:
    """Folded name without its ending → the image files of a folder that have it."""
    return _folded_stems(folder, *_changed(folder))


def _changed(folder: str) -> tuple[int]:
    try:
        return (os.stat(folder).st_mtime_ns,)  # noqa: PTH116
    except (OSError, ValueError):
        return (-1,)


@lru_cache(maxsize=64)
def _folded_names(folder: str, changed: int) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name in _listing(folder, changed) if changed >= 0 else ():
        found[_folded(name)] = (*found.get(_folded(name), ()), name)
    return found


@lru_cache(maxsize=64)
def _folded_stems(folder: str, changed: int) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name in _listing(folder, changed) if changed >= 0 else ():
        stem, dot, ending = name.rpartition(".")
        if dot and f".{ending.lower()}" in ENDINGS:
            found[_folded(stem)] = (*found.get(_folded(stem), ()), name)
    return found
