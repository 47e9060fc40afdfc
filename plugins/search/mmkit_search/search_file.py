"""`search.json`: what is searched, and on which data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmkit import RunError
from mmkit.errors import one_line
from mmkit.files import read_json

NAME = "search.json"
FORMAT = 1


def read_search_file(path: Path) -> dict[str, Any]:
    """Its content, in which `space`, `recipe` and `data` are objects. Raises `RunError` if it is damaged."""
    try:
        content = read_json(path)
        if not isinstance(content, dict) or content["format"] != FORMAT:
            raise ValueError("it is not of this version of mmkit-search")
        if not all(isinstance(content[name], dict) for name in ("space", "recipe", "data")):
            raise ValueError("a section is missing")
    except (OSError, ValueError, LookupError) as error:
        raise damaged(path, one_line(error)) from error
    return content


def damaged(where: object, why: str) -> RunError:
    """The error for a file of a search that cannot be used."""
    return RunError(
        f"this file cannot be used: {why}",
        where=where,
        hint="put the file back, or search again with another --output",
        code="search.damaged",
    )
