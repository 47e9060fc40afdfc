"""Images: the paths by which tools name them, the images inside a file, and the bytes to put into one."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from mmkit import DataError, Example, Image, ImageError
from mmkit.cache import cache_dir
from mmkit.data.crops import under
from mmkit.data.image_files import opened, unreadable
from mmkit.data.regular import open_regular
from mmkit.files import atomic
from mmkit_formats.messages import wrong

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic")
"""A value with one of these endings is taken as an image's path."""

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_DATA = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)
_STARTS = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"GIF8", ".gif"),
    (b"BM", ".bmp"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
)


def is_address(path: str) -> bool:
    """Whether a path is an address on the web or of a bucket: nothing is fetched from there."""
    return _ADDRESS.match(path) is not None


def looks_like_picture(value: Any) -> bool:
    """Whether a value is an image's path (it has such an ending), or an image as a `data:` address."""
    if not isinstance(value, str) or (len(value) > 4096 and not _DATA.match(value)):
        return False
    path = value.partition("?d=")[2] or value.partition("?")[0]
    return path.lower().endswith(ENDINGS) or _DATA.match(value) is not None


def located(path: str, root: str, folders: Collection[str] = ()) -> str:
    """The file that an image's address names: the first file with its name in `folders`, else the address itself.

    Relative paths and `folders` are relative to `root`. A web address without a file stays as it is, and is missing.
    """
    name = unquote(path.partition("?")[0]).rpartition("/")[2] if folders else ""
    for folder in folders:
        candidate = under(under(root, folder), name)
        if os.path.isfile(candidate):  # noqa: PTH113 - once an image
            return candidate
    return path if is_address(path) else under(root, path)


class Kept:
    """Images that a file holds as bytes, written into one folder and named by the hash of their content.

    Without `folder`, they are in mmkit's cache. An image that is already there is not written again.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._named, self._folder = folder, ""

    def path(self, data: bytes, where: str) -> str:
        """The file of an image. Raises `DataError` for an image without bytes, and if the file cannot be written."""
        if not data:
            raise wrong("an image of 0 bytes", where, "export the file again", code="formats.no-picture")
        if not self._folder:
            self._folder = os.path.abspath(self._named or cache_dir("media"))  # noqa: PTH100
        name = hashlib.sha256(data).hexdigest()[:32]
        path = os.path.join(self._folder, name[:2], name + ending_of(data))  # noqa: PTH118
        if not os.path.exists(path):  # noqa: PTH110
            with atomic(Path(path), "wb", DataError) as file:
                file.write(data)
        return path

    def of_data_address(self, address: str, where: str) -> str | None:
        """The file of an image that is given as a `data:` address; None for any other text."""
        begun = _DATA.match(address)
        if begun is None:
            return None
        try:
            return self.path(base64.b64decode(address[begun.end() :], validate=True), where)
        except binascii.Error as error:
            raise wrong(
                f"an image's base64 is broken: {error}",
                where,
                "export the file again",
                code="formats.no-picture",
            ) from None


def ending_of(data: bytes) -> str:
    """The ending that fits an image's first bytes; empty if they are of no common format."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ".webp"
    if data[4:12] == b"ftypavif":
        return ".avif"
    return next((ending for start, ending in _STARTS if data.startswith(start)), "")


def content(image: Image, folder: str, where: str) -> bytes:
    """The bytes of an image's file; a relative path is relative to `folder`.

    Raises `ImageError` for a file that is missing, or whose header is not that of an image: data may be a stranger's,
    and no other file of the user may get into what is written.
    """
    path = under(folder, image.path or "")
    try:
        with opened(path), open_regular(path) as file:
            return file.read()
    except ImageError as error:
        hint = error.hint or "fetch the image, or remove it from the data"
        raise error.at(f"{where}: {error.where}", hint) from None
    except OSError as error:  # it was removed meanwhile
        raise unreadable(path, error).at(f"{where}: {path}") from None


def plain_photos(example: Example, losses: Counter[str]) -> list[str]:
    """The paths of an example's whole photos; object crops and blank images are counted in `losses`."""
    paths = []
    for image in example.images:
        if image.path is None:
            losses["blank image"] += 1
        elif image.role != "photo" or image.box is not None:
            losses["object crop"] += 1
        else:
            paths.append(image.path)
    return paths


def quoted(path: str) -> str:
    """A path as a part of an address."""
    return quote(path, safe="/")
