"""Hooks: what the plugin adds to mmkit's commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmkit.hooks import hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def mmkit_commands(cli: click.Group) -> None:
    from mmkit_retrieval.command import retrieval

    cli.add_command(retrieval)
