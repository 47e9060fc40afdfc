"""What a page about a folder says: headings, texts, tables and charts. A plugin gives it, and another one shows it.

The hook `mmkit_folder_page` gives a `Page` for a folder that a plugin wrote; `mmkit report FOLDER` (`plugins/report`)
makes an HTML file of it. Everything is text: what looks like markup is shown as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Link:
    """A text that leads to a file or a folder of this machine."""

    text: str
    path: Path


Cell: TypeAlias = str | int | Link


@dataclass(frozen=True, slots=True)
class Table:
    """Rows below a header. Numbers are given as the texts that are to be seen; whole numbers need not be.

    Raises `ValueError` for a row that is not as long as the header.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.header):
                raise ValueError(
                    f"row {number} of the table {self.caption!r} has {len(row)} cells for {len(self.header)} columns"
                )


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over one axis, by their names. Each is a list of finite points (x, y) in the order of x."""

    title: str
    x: str
    lines: Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True, slots=True)
class Command:
    """A command line, for the reader to copy."""

    text: str


Block: TypeAlias = str | Link | Command | Table | Chart
"""A text is a paragraph."""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, and what is below it."""

    heading: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Page:
    """A whole page, with its title."""

    title: str
    sections: Sequence[Section]
