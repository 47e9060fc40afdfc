"""`mmkit init` called by a test: what it writes and says, or why it refuses."""

from __future__ import annotations

from click.testing import CliRunner, Result

from mmkit.cli import main
from mmkit.recipe import Recipe, load_recipe


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def started(*arguments: str) -> tuple[Recipe, str]:
    """The recipe that `mmkit init` writes, and what it says."""
    said = run("init", *arguments, "--output", "mine.cfg", "--force")
    assert said.exit_code == 0, said.output
    return load_recipe("mine.cfg"), said.stdout


def refused(*arguments: str) -> str:
    said = run("init", *arguments)
    assert said.exit_code == 2, said.output
    return said.stderr
