"""Hooks: the commands `mmkit package` and `mmkit push`, and the addresses `hf://user/name@revision`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmkit.hooks import hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def mmkit_commands(cli: click.Group) -> None:
    from mmkit_hub.commands import package, push

    cli.add_command(package)
    cli.add_command(push)


@hookimpl
def mmkit_open_run(address: str) -> Path | None:
    if not address.startswith("hf://"):
        return None
    from mmkit.terminal import echo
    from mmkit_hub.fetch import fetch

    return fetch(address, lambda message: echo(message, err=True))
