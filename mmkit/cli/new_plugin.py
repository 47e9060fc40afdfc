"""`mmkit new-plugin`: a package to start from."""

from __future__ import annotations

from pathlib import Path

import click

from mmkit.terminal import echo


@click.command("new-plugin")
@click.argument("name")
@click.option(
    "--parts",
    default="",
    metavar="KIND,...",
    help="reader, annotator, encoder, fuser, decoder, metric, hook. Default: all of them.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Where to put it. Default: the working directory.",
)
def new_plugin(name: str, parts: str, folder: Path) -> None:
    """Write an installable plugin package, mmkit-NAME, with a small working part of each kind.

    It has tests that pass and a recipe that trains on a sample. docs/plugins.md explains each part.
    """
    from mmkit.scaffold.plugin import PARTS, write_plugin

    chosen = tuple(part.strip() for part in parts.split(",") if part.strip()) or PARTS
    target = write_plugin(folder, name, chosen)
    recipe = next(target.glob("*/recipes/*.cfg")).stem
    echo(f"{target} is written. Next:")
    echo(f'    pip install -e "{target}[dev]"')
    echo(f"    mmkit train {recipe} --sample")
    echo(f"    pytest {target}")
