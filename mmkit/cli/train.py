"""`mmkit train`: parse, load, call a plain function."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmkit.cli.options import (
    OVERRIDABLE,
    console_display,
    device_option,
    quiet_libraries,
    recipe_from,
    tiny_option,
)
from mmkit.terminal import echo
from mmkit.terminal.elastic import is_main

if TYPE_CHECKING:
    from mmkit.training.seeds import SeedResults


@click.command(context_settings=OVERRIDABLE)
@click.argument("recipe")
@click.option("--sample", is_flag=True, help="Train on small synthetic data with tiny encoders, offline.")
@tiny_option
@click.option("--output", type=click.Path(path_type=Path), help="Run folder. Default: runs/<recipe>/<time>.")
@click.option("--resume", is_flag=True, help="Resume the run in --output, which may get more epochs.")
@click.option(
    "--seeds", metavar="1,2,3", help="Train a run for each seed in --output, and average their scores."
)
@device_option
@click.option("--quiet", is_flag=True, help="Print only plain lines: notes, scores and the result.")
@click.pass_context
def train(
    context: click.Context,
    recipe: str,
    sample: bool,
    tiny: bool,
    output: Path | None,
    resume: bool,
    seeds: str | None,
    device: str,
    quiet: bool,
) -> None:
    """Train RECIPE (a file, or the name of a shipped recipe) and score its best epoch.

    Any setting can be overridden by its dotted name: --training.batch_size 32
    """
    if resume and output is None:
        raise click.UsageError("--resume needs --output, the folder of the run to resume")
    numbers = _seeds(seeds, context.args)
    assembled = recipe_from(recipe, context, sample, tiny)
    quiet_libraries()
    from mmkit.inference.devices import end_processes
    from mmkit.training.train import train as train_recipe

    with console_display(quiet) as display:
        if numbers:
            from mmkit.training.seeds import train_seeds

            results = train_seeds(
                assembled, numbers, output, resume=resume, device=device, quiet=quiet, hooks=[display]
            )
        else:
            train_recipe(assembled, output, resume=resume, device=device, quiet=quiet, hooks=[display])
    if numbers and is_main():
        _show(results, assembled.name)
    end_processes()


def _seeds(given: str | None, overrides: Sequence[str]) -> list[int]:
    """The numbers of `--seeds`; none without the option."""
    if given is None:
        return []
    if any(option.partition("=")[0] == "--recipe.seed" for option in overrides):
        raise click.UsageError("--seeds and --recipe.seed cannot both be given")
    try:
        return [int(number) for number in given.split(",")]
    except ValueError:
        raise click.UsageError(f"--seeds are whole numbers with commas between them, not {given!r}") from None


def _show(results: SeedResults, name: str) -> None:
    """Print the means and deviations on standard output."""
    from mmkit.terminal.rendering import Terminal
    from mmkit.training.console import results_tables

    title = f"{name}: mean ± standard deviation of {len(results.runs)} seeds"
    for table in results_tables(results.figures, title, lambda name, spread: spread.told(name)):
        Terminal().print(table)
    echo(f"the scores are in {results.folder / 'seeds.json'}", err=True)
