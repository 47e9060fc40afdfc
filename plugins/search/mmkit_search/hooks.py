"""Hooks: the command `mmkit search`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmkit.hooks import hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def mmkit_commands(cli: click.Group) -> None:
    from mmkit_search.command import search

    cli.add_command(search)
