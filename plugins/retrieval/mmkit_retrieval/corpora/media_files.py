"""Where MediaWiki keeps a file (https://www.mediawiki.org/wiki/Manual:$wgHashedUploadDirectory)."""

from __future__ import annotations

import hashlib
import os.path
import re
import unicodedata

_SPACES = re.compile(r"[ _\u00a0]+")
_ILLEGAL = re.compile(r"[/\\\0]")


def canonical_name(name: str, capitals: bool = True) -> str | None:
    """A file's name as MediaWiki writes it, with underscores and a capital first; None if no file may be called so."""
    name = _SPACES.sub("_", unicodedata.normalize("NFC", name)).strip("_")
    if not name or _ILLEGAL.search(name) or name in (".", ".."):
        return None
    return name[0].upper() + name[1:] if capitals else name


def find_file(folder: str, name: str, capitals: bool = True) -> str | None:
    """The path of a wiki's file in `folder`, where files lie side by side, or hashed: `3/3d/Foo_bar.jpg`.

    None if there is no such file.
    """
    canonical = canonical_name(name, capitals)
    if canonical is None:
        return None
    digest = hashlib.md5(canonical.encode(), usedforsecurity=False).hexdigest()
    hashed = os.path.join(digest[0], digest[:2], canonical)  # noqa: PTH118
    for candidate in (canonical, hashed, canonical.replace("_", " ")):
        path = os.path.join(folder, candidate)  # noqa: PTH118 - millions of them
        if os.path.isfile(path):  # noqa: PTH113 - false for a name no file can have, too
            return path
    return None
