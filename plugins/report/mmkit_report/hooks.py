"""Hooks: the plugin's commands, and the file of errors of a split that was scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmkit.hooks import hookimpl

if TYPE_CHECKING:
    import click

    from mmkit import Example, Prediction, Recipe


@hookimpl
def mmkit_commands(cli: click.Group) -> None:
    from mmkit_report.compare_command import compare
    from mmkit_report.errors_command import errors
    from mmkit_report.report_command import report

    for command in (errors, compare, report):
        cli.add_command(command)


@hookimpl
def mmkit_scored(
    folder: Path, split: str, recipe: Recipe, examples: Sequence[Example], predictions: Sequence[Prediction]
) -> None:
    from mmkit_report.error_file import write_errors

    write_errors(folder, split, recipe, examples, predictions)
