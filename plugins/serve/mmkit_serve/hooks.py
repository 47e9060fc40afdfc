"""Hooks: the command `mmkit serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmkit.hooks import hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def mmkit_commands(cli: click.Group) -> None:
    from mmkit_serve.command import serve

    cli.add_command(serve)
