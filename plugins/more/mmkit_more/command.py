"""`mmkit more`: the commands of `mmkit retrieval`, under their old name."""

from __future__ import annotations

import click

from mmkit_retrieval.command import retrieval


@click.group(commands=retrieval.commands)
def more() -> None:
    """Build indexes of a corpus, and search them: the same commands as `mmkit retrieval`."""
