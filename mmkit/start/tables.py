"""Files that are no posts, but that some readers take in a setting: tables of object crops, lists of candidates."""

from __future__ import annotations

import re
from pathlib import Path

from mmkit.data.crops import CropTable
from mmkit.data.file_kinds import looks_like
from mmkit.errors import DataError
from mmkit.start.folder import PICTURES

WHAT = {"crops": "a table of object crops", "candidates": "lists of candidates"}
"""The settings, and what a file for each holds."""
_TEXT = r'"((?:[^"\\]|\\.)*)"'
_LISTS = re.compile(rf"\s*\{{\s*{_TEXT}\s*:\s*\[")
_FIRST = re.compile(rf"\[\s*{_TEXT}")


def setting_of(path: Path, head: bytes) -> str:
    """The setting that takes a file that no reader reads; empty if there is none. `head` holds its first bytes.

    Tables of crops are JSON, or as HVPNeT's authors publish them (`torch.save`); lists of candidates are JSON.
    """
    if path.suffix in (".pth", ".pt"):
        try:
            CropTable.load(path)
        except DataError:
            return ""
        return "crops"
    text = head.decode("utf-8", "replace").removeprefix("\ufeff")
    first = _FIRST.search(text) if _LISTS.match(text) else None
    looks = None if first is None else looks_like(path)  # a record may begin with a list too
    if first is None or looks is None or looks.kind != "lists":
        return ""
    return "crops" if Path(first[1]).suffix.lower() in PICTURES else "candidates"
