"""Where the pictures are: each folder of pictures is tried, and the one in which most posts find theirs is taken."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from mmkit.config.parameters import parameters
from mmkit.data.expected import records
from mmkit.data.image_paths import Photos
from mmkit.data.regular import is_file, open_regular
from mmkit.errors import MMKitError
from mmkit.loading.reading import takes_list
from mmkit.start.folder import PICTURES, Folder
from mmkit.start.given import OPTION
from mmkit.start.layout import Part
from mmkit.start.sources import Source

HEAD = 65_536
"""Bytes of a file in which names of pictures are looked for."""
TRIED = 200
"""Posts that are read for each folder."""


@dataclass(frozen=True)
class Found:
    """How a part's pictures are found: the reader's root and settings. `complete` of `posts` with pictures have all."""

    root: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    posts: int = 0
    complete: int = 0
    missing: str = ""
    """The path of a picture that is not there."""
    there: str = ""
    """The path of one that is."""
    id: str = ""
    """The id of the first post, which may be its picture's name."""


def find_pictures(part: Part, folder: Folder) -> Found:
    """The root and settings with which most posts of a part find their pictures."""
    best: Found | None = None
    for root, settings in _ways(part, folder):
        found = _tried(part, root, settings, TRIED)
        if found is not None and (best is None or found.complete > best.complete):
            best = found
            if best.complete == best.posts:
                break
    best = best or Found(part.source.path.parent)
    best = _tried(part, best.root, best.settings, None) or best
    if (
        best.complete == 0 and best.posts and _takes_none(part)
    ):  # text alone, rather than pictures that are not there
        return replace(best, settings={part.source.cls.pictures_in: None}, there="")
    return best


def _ways(part: Part, folder: Folder) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Roots and settings to try, the usual ones first."""
    cls, home = part.source.cls, part.source.path.parent
    setting = cls.pictures_in
    folders = folder.picture_folders
    yield home, {}
    if setting in part.settings or setting in part.source.settings:
        return
    if takes_list(cls, setting):
        yield home, {setting: [*(os.path.relpath(f, home) for f in folders), "."]}
    elif setting:
        for pictures in folders:
            yield home, {setting: os.path.relpath(pictures, home)}
    around = [folder.path, *folders, *(pictures.parent for pictures in folders)]
    for root in dict.fromkeys(around):
        if root != home:
            yield root, {}


def _takes_none(part: Part) -> bool:
    cls = part.source.cls
    setting = cls.pictures_in
    if setting in part.source.settings:  # the user's, or what the file is
        return False
    return bool(setting) and not takes_list(cls, setting) and "None" in str(parameters(cls)[setting].hint)


def _tried(part: Part, root: Path, settings: Mapping[str, Any], most: int | None) -> Found | None:
    """How many of the first posts find their pictures; None if they cannot be read so."""
    posts = complete = 0
    missing = first = id = ""
    there: dict[str, bool] = {}
    try:
        reader = part.source.build(root, **{**part.settings, **settings})
        reader.errors = []
        for record in islice(records(reader), most):
            id = id or record.id
            paths = [
                image.path for image in record.images if image.path is not None and image.role == "photo"
            ]
            lost = [path for path in paths if not _is_file(path, there)]
            posts += bool(paths)
            complete += bool(paths) and not lost
            missing = missing or (lost[0] if lost else "")
            first = first or next((path for path in paths if path not in lost), "")
    except MMKitError:
        return None
    return Found(root, settings, posts, complete, missing, first, id)


def picture_like(name: str, folder: Folder) -> str:
    """The path of the folder's picture that is called like a path's last part, with any ending; empty if none is."""
    last = re.split(r"[\\/]", name.partition("?")[0])[-1]
    for pictures in folder.picture_folders if last else ():
        try:
            path = Photos(str(pictures), Counter()).path(last)
        except MMKitError:  # several
            continue
        if is_file(path):
            return path
    return ""


def setting_for(word: str, source: Source) -> str:
    """The option that reads pictures' names from the field of a file in which `word` stands; empty if there is none."""
    known = parameters(source.cls)
    name = _field_of(word, source)
    if name and "columns" in known:
        columns = {**source.settings.get("columns", {}), "images": name}
        return f"{OPTION} {shlex.quote(f'columns={json.dumps(columns, ensure_ascii=False)}')}"
    if name and "images" in known and takes_list(source.cls, "images") and source.cls.pictures_in != "images":
        return f"{OPTION} {shlex.quote(f'images={json.dumps([name], ensure_ascii=False)}')}"
    return ""


def _field_of(word: str, source: Source) -> str:
    """The field of JSON, or the column of a table, in which a word stands at the beginning of a file."""
    with open_regular(source.path) as file:
        text = file.read(HEAD).decode("utf-8-sig", "replace")
    if found := re.search(rf'"([^"]+)"\s*:\s*\[?\s*"{re.escape(word)}"', text):
        return found[1]
    if "columns" not in parameters(source.cls):
        return ""
    usual = "\t" if source.path.suffix in (".tsv", ".tab") else ","
    rows = csv.reader(text.splitlines(), delimiter=source.settings.get("delimiter") or usual)
    try:
        head = next(rows, [])
        return next((name for row in rows for name, cell in zip(head, row, strict=False) if cell == word), "")
    except csv.Error:
        return ""


def picture_named_in(source: Path, folder: Folder) -> str:
    """The name of a picture of the folder that the beginning of a text file holds; empty if there is none."""
    try:
        with open_regular(source) as file:
            words = re.split(r"[\s,;|\"']+", file.read(HEAD).decode("utf-8", "replace"))
    except OSError:
        return ""
    for word in words:
        name = word.replace("\\", "/").rpartition("/")[2]
        is_picture = os.path.splitext(name)[1].lower() in PICTURES  # noqa: PTH122
        if is_picture and any(is_file(pictures / name) for pictures in folder.picture_folders):
            return word
    return ""


def _is_file(path: str, known: dict[str, bool]) -> bool:
    if path not in known:
        known[path] = os.path.isfile(path)  # noqa: PTH113 - once a picture
    return known[path]


def joined(found: Sequence[Found]) -> Found:
    """The counts of several parts."""
    missing = next((f.missing for f in found if f.missing), "")
    there = next((f.there for f in found if f.there), "")
    posts, complete = (sum(counts) for counts in zip(*((f.posts, f.complete) for f in found), strict=True))
    return Found(found[0].root, {}, posts, complete, missing, there, found[0].id)
