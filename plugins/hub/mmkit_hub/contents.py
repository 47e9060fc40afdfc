"""What a package holds: files that are only data, listed with size and SHA-256 in its `run.json`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmkit.errors import RunError

RUN_JSON = "run.json"
CARD = "README.md"
PACKAGE = "package"
"""The key in `run.json` that says that a folder is a package."""
FILES = "files"
"""The key in `run.json` with the list of files."""
FORMAT = 1

NEEDED = ("recipe.cfg", "labels.json", "model.safetensors")
BELOW = ("encoders", "entities")
"""Folders of encoders' configurations, tokenizers and preprocessing."""
KNOWLEDGE = "knowledge/entities.jsonl"
"""A knowledge base of texts."""
SUFFIXES = {".cfg", ".json", ".jsonl", ".txt", ".model", ".spm", ".codes", ".safetensors"}
"""Endings of files that no library runs or unpickles."""

MOST_FILES = 200
MOST_JSON = 4_000_000
"""Bytes of a `run.json` that is read."""

_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_NAME = re.compile(rf"{_PART}(?:/{_PART})*")


@dataclass(frozen=True)
class File:
    """A file of a package, as its `run.json` lists it."""

    name: str
    bytes: int
    sha256: str


def allowed(name: str) -> bool:
    """Whether a file of this name (with `/` between folders) may be in a package: it is data, and is in its place."""
    if len(name) > 200 or not _NAME.fullmatch(name) or Path(name).suffix not in SUFFIXES:
        return False
    first, slash, _ = name.partition("/")
    return first in BELOW or name == KNOWLEDGE if slash else name in NEEDED


def listed(facts: Mapping[str, Any], where: object) -> list[File]:
    """The files that a package's `run.json` lists.

    Raises `RunError` for a run that is no package, and for a list with anything in it that a package cannot hold.
    """
    said, files = facts.get(PACKAGE), facts.get(FILES)
    if not isinstance(said, dict) or not isinstance(files, dict):
        raise RunError(
            "this is no package of a run",
            where=where,
            hint="`mmkit package RUN OUT` makes one",
            code="hub.no-package",
        )
    version = said.get("format")
    if not isinstance(version, int) or version > FORMAT:
        raise RunError(
            f"the package has format {version!r}, and this mmkit-hub reads up to {FORMAT}",
            where=where,
            hint="upgrade mmkit-hub",
            code="hub.newer-format",
        )
    found = []
    for name, entry in files.items():
        if not allowed(name) or len(files) > MOST_FILES:
            raise RunError(
                f"its list of files names {name[:100]!r}, which a package cannot hold",
                where=where,
                hint="load only packages that `mmkit package` made; nothing was fetched or uploaded",
                code="hub.not-allowed-file",
            )
        found.append(_entry(name, entry, where))
    if missing := sorted(set(NEEDED) - files.keys()):
        raise RunError(
            f"its list of files does not name {missing[0]}",
            where=where,
            hint="make the package again: mmkit package RUN OUT",
            code="hub.incomplete",
        )
    return found


def _entry(name: str, entry: Any, where: object) -> File:
    size, sha256 = (entry.get("bytes"), entry.get("sha256")) if isinstance(entry, dict) else (None, None)
    if (
        type(size) is not int
        or size < 0
        or not (isinstance(sha256, str) and re.fullmatch("[0-9a-f]{64}", sha256))
    ):
        raise RunError(
            f"its list of files gives no size and checksum of {name}",
            where=where,
            hint="make the package again: mmkit package RUN OUT",
            code="hub.incomplete",
        )
    return File(name, size, sha256)
