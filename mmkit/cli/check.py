"""`mmkit check`: a recipe and its data, before a GPU is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mmkit.cli.options import OVERRIDABLE, as_json, recipe_from

if TYPE_CHECKING:
    from rich.console import Console

    from mmkit.check import SplitReport


@click.command(context_settings=OVERRIDABLE)
@click.argument("recipe")
@click.option("--sample", is_flag=True, help="Look at the sample data instead.")
@click.option(
    "--decode", is_flag=True, help="Decode every picture fully (slow) instead of reading its header."
)
@click.option("--json", "json_", is_flag=True, help="Print the report as JSON.")
@click.pass_context
def check(context: click.Context, recipe: str, sample: bool, decode: bool, json_: bool) -> None:
    """Validate RECIPE and its data: counts, labels, missing or broken pictures, fingerprints.

    Exits with 1 if something would stop training.
    """
    loaded = recipe_from(recipe, context, sample)
    from mmkit.check import check as check_recipe

    reports = check_recipe(loaded, decode)
    if json_:
        click.echo(as_json({name: report.to_json() for name, report in reports.items()}))
    else:
        from rich.console import Console

        console = Console(highlight=False, soft_wrap=True)
        console.print(f"{loaded.path}: the recipe is valid", markup=False)
        for name, report in reports.items():
            _show(console, name, report)
    if any(report.problems for report in reports.values()):
        context.exit(1)


def _show(console: Console, name: str, report: SplitReport) -> None:
    split = report.split
    console.print(f"\n[bold]data.{name}[/bold]")
    for file in split.files:
        console.print(
            f"  {file['file']}: {file['variant'] or 'unknown variant'} (sha256 {file['sha256'][:12]})",
            markup=False,
        )
    records = f"{len(split.examples)} examples" if split.examples else f"{len(split.entities)} entities"
    console.print(f"  {records}, {report.tokens} tokens, the longest sentence has {report.longest}")
    for kind, counts in report.labels.items():
        table = ", ".join(f"{label} {count}" for label, count in counts.most_common())
        console.print(f"  {kind}: {sum(counts.values())} ({table})", markup=False)
    console.print(f"  pictures: {report.images.summary()}", markup=False)
    for reason, count in split.repairs.items():
        console.print(f"  read with leniency: {count} × {reason}", markup=False)
    for warning in report.warnings:
        console.print("  [yellow]warning[/yellow] ", end="")
        console.print(warning, markup=False)
    for problem in report.problems:
        console.print("  [red]problem[/red] ", end="")
        console.print(problem, markup=False)
