"""Hooks: the command `mmkit search`, and what `mmkit report` shows of its folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmkit.hooks import hookimpl

if TYPE_CHECKING:
    import click

    from mmkit.pages import Page


@hookimpl
def mmkit_commands(cli: click.Group) -> None:
    from mmkit_search.command import search

    cli.add_command(search)


@hookimpl
def mmkit_folder_page(folder: Path) -> Page | None:
    from mmkit_search.page import search_page

    return search_page(folder)
