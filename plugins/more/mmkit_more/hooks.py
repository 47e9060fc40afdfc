"""Hooks: what the plugin adds to mmkit's commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmkit.hooks import hookimpl, recipes_of

if TYPE_CHECKING:
    import click


@hookimpl
def mmkit_commands(cli: click.Group) -> None:
    from mmkit_more.command import more

    cli.add_command(more)


@hookimpl
def mmkit_recipe_folders() -> list[Path]:
    return recipes_of(__file__)
