"""`mmkit more`: what the plugin adds to the command line."""

from __future__ import annotations

import click


@click.group()
def more() -> None:
    """Build the indexes that MoRe retrieves from."""
