"""`mmkit compare`: runs side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mmkit.cli.options import OVERRIDABLE, as_json, overrides_from, runs_argument
from mmkit.terminal import echo

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from mmkit_report.tables import Table


@click.command(context_settings=OVERRIDABLE)
@runs_argument
@click.option("--split", default="test", show_default=True, help="Split of the runs' recipes to compare on.")
@click.option(
    "--resamples",
    type=click.IntRange(min=100),
    default=10_000,
    show_default=True,
    help="How often chance is tried, for p-values and intervals.",
)
@click.option(
    "--flips",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    help="How many examples to show that became right, and that became wrong.",
)
@click.option("--markdown", "form", flag_value="markdown", help="Print tables in Markdown.")
@click.option("--latex", "form", flag_value="latex", help="Print tables in LaTeX (package booktabs).")
@click.option("--json", "form", flag_value="json", help="Print everything as JSON.")
@click.pass_context
def compare(
    context: click.Context, runs: tuple[str, ...], split: str, resamples: int, flips: int, form: str | None
) -> None:
    """Compare the runs RUN with the first of them: scores, p-values, settings, and examples that flip.

    Each RUN is a run's folder, an address such as hf://user/name, or a folder that holds several runs (of several
    seeds), which count as one with a mean and a standard deviation. All must have been scored on the same data.
    Settings of the recipes can be overridden by dotted name, for data that have moved: --data.test.root FOLDER
    """
    from mmkit.terminal.rendering import Terminal
    from mmkit_report.comparison import compare as compare_runs
    from mmkit_report.tables import as_latex, as_markdown, tables_of

    found = compare_runs(runs, split, overrides_from(context), resamples=resamples)
    if form == "json":
        echo(as_json(found.to_dict()))
        return
    tables = list(tables_of(found, flips))
    if form is not None:
        echo(as_markdown(tables) if form == "markdown" else as_latex(tables))
        return
    for table in tables:
        if table.rows:
            Terminal().print(_rich(table))
        else:
            echo(f"{table.title}: none" if table.title.startswith("settings") else table.title)


def _rich(table: Table) -> RichTable:
    from rich.markup import escape
    from rich.table import Table as RichTable

    made = RichTable(title=escape(table.title), title_justify="left")
    for i, name in enumerate(table.header):
        made.add_column(escape(name), justify="left" if i < table.left else "right", overflow="fold")
    for row in table.rows:
        made.add_row(*map(escape, row))
    return made
