"""`mmkit list-recipes`: which recipes there are, what they are for, and what each lacks on this machine."""

from __future__ import annotations

import click
from rich.markup import escape
from rich.table import Table

from mmkit.cli.components import WIDE, console
from mmkit.cli.options import as_json as to_json
from mmkit.start.shipped import Shipped, shipped
from mmkit.terminal import echo


@click.command("list-recipes")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list of objects.")
def list_recipes(as_json: bool) -> None:
    """List the recipes that come with mmkit and its plugins, and what each lacks on this machine.

    `mmkit train NAME` trains one. Missing weights are downloaded by the first training.
    """
    recipes = shipped()
    if as_json:
        echo(to_json([recipe.to_json() for recipe in recipes]))
        return
    out = console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Recipe", no_wrap=out.width == WIDE, overflow="fold")
    for column in ("Task", "Dataset", "Paper", "Backbone", "Missing here"):
        table.add_column(column, overflow="fold")
    for recipe in recipes:
        cells = (recipe.name, recipe.task, recipe.dataset, recipe.paper, ", ".join(recipe.backbones))
        table.add_row(*(escape(cell) or "-" for cell in cells), _missing(recipe))
    out.print(table)
    needed = {package: hint for recipe in recipes for package, hint in _hints(recipe)}
    for package, hint in needed.items():
        out.print(f"{package}: {hint}", markup=False)


def _missing(recipe: Shipped) -> str:
    """What a recipe lacks, in a few words. Files of data are not named, nor weights, which stand beside it."""
    if recipe.broken:
        return f"[red]broken:[/red] {escape(recipe.broken)}"
    words = [
        kind if kind in ("data", "weights") else f"{kind}: {', '.join(names)}"
        for kind, names in recipe.missing.items()
    ]
    return escape("; ".join(words)) or "[green]nothing[/green]"


def _hints(recipe: Shipped) -> list[tuple[str, str]]:
    return list(zip(recipe.missing.get("packages", ()), recipe.hints, strict=True))
