"""A page about a folder that is no run, of what another plugin says of it (the hook `mmkit_folder_page`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mmkit import RunError, hooks
from mmkit.files import atomic, explained
from mmkit.pages import Cell, Chart, Command, Link, Page, Table
from mmkit_report.page import FOLDER_SCRIPTS, page
from mmkit_report.scored import is_runs


def folder_page(folders: Sequence[str | Path]) -> Page | None:
    """What a plugin says of a folder that is no run and holds no runs; None if no plugin knows it.

    Raises `RunError` if there are other folders beside it: such a page stands alone.
    """
    for folder in folders:
        if is_runs(folder):
            continue
        found: Page | None = hooks.manager().hook.mmkit_folder_page(folder=Path(folder))
        if found is None:
            continue
        if len(folders) > 1:
            raise RunError(
                "this folder has a page of its own, and cannot be shown together with others",
                where=folder,
                hint=f"mmkit report {folder}",
                code="report.one-folder",
            )
        return found
    return None


def write_folder_page(told: Page, output: Path) -> None:
    """Write a page about a folder into the file `output`. Raises `RunError` if the file cannot be written."""
    with explained(output):
        output.parent.mkdir(parents=True, exist_ok=True)
    sections = [
        {"heading": section.heading, "blocks": [_block(block, output.parent) for block in section.blocks]}
        for section in told.sections
    ]
    with atomic(output) as file:
        file.write(page({"sections": sections}, told.title, FOLDER_SCRIPTS))


def _block(block: str | Link | Command | Table | Chart, beside: Path) -> dict[str, Any]:
    match block:
        case str():
            return {"kind": "text", "text": block}
        case Link():
            return {"kind": "link", **_link(block, beside)}
        case Command():
            return {"kind": "command", "text": block.text}
        case Table():
            rows = [[_cell(cell, beside) for cell in row] for row in block.rows]
            return {"kind": "table", "caption": block.caption, "header": list(block.header), "rows": rows}
        case Chart():
            lines = [
                {"name": name, "points": list(map(list, points))} for name, points in block.lines.items()
            ]
            return {"kind": "chart", "title": block.title, "x": block.x, "lines": lines}


def _cell(cell: Cell, beside: Path) -> str | int | dict[str, str]:
    return _link(cell, beside) if isinstance(cell, Link) else cell


def _link(link: Link, beside: Path) -> dict[str, str]:
    """As an address that is relative to the page, so that both can be moved together. No path becomes a scheme."""
    relative = Path(os.path.relpath(link.path.absolute(), beside.absolute())).as_posix()
    return {"text": link.text, "href": "./" + quote(relative, errors="surrogateescape")}
