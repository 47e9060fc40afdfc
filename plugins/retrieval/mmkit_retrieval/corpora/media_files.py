"""Where MediaWiki stores a file (https://www.mediawiki.org/wiki/Manual:$wgHashedUploadDirectory)."""

from __future__ import annotations

import hashlib
import os.path
import re
import unicodedata

_SPACES = re.compile(r"[ _\u00a0]+")
_ILLEGAL = re.compile(r"[/\\\0]")


def canonical_name(name: str, capitals: bool = True) -> str | None:
    """A file's name in the form of MediaWiki: underscores, and a capital first letter. None for an impossible name."""
    name = _SPACES.sub("_", unicodedata.normalize("NFC", name)).strip("_")
    if not name or _ILLEGAL.search(name) or name in (".", ".."):
        return None
    return name[0].upper() + name[1:] if capitals else name


def find_file(folder: str, name: str, capitals: bool = True) -> str | None:
    """The path of a wiki's file in `folder`, or None if there is no such file.

    Files are either directly in `folder`, or in MediaWiki's hashed folders: `3/3d/Foo_bar.jpg`.
    """
    canonical = canonical_name(name, capitals)
    if canonical is None:
        return None
    digest = hashlib.md5(canonical.encode(), usedforsecurity=False).hexdigest()
    hashed = os.path.join(digest[0], digest[:2], canonical)  # noqa: PTH118
    for candidate in (canonical, hashed, canonical.replace("_", " ")):
        path = os.path.join(folder, candidate)  # noqa: PTH118 - faster, for millions of files
        if os.path.isfile(path):  # noqa: PTH113 - false for impossible names, too
            return path
    return None
