"""`mmkit train`: parse, load, call a plain function."""

from __future__ import annotations

from pathlib import Path

import click

from mmkit.cli.options import (
    OVERRIDABLE,
    console_display,
    device_option,
    quiet_libraries,
    recipe_from,
    tiny_option,
)


@click.command(context_settings=OVERRIDABLE)
@click.argument("recipe")
@click.option("--sample", is_flag=True, help="Train on small synthetic data with tiny encoders, offline.")
@tiny_option
@click.option("--output", type=click.Path(path_type=Path), help="Run folder. Default: runs/<recipe>/<time>.")
@click.option("--resume", is_flag=True, help="Resume the run in --output, which may get more epochs.")
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
    device: str,
    quiet: bool,
) -> None:
    """Train RECIPE (a file, or the name of a shipped recipe) and score its best epoch.

    Any setting can be overridden by its dotted name: --training.batch_size 32
    """
    if resume and output is None:
        raise click.UsageError("--resume needs --output, the folder of the run to resume")
    assembled = recipe_from(recipe, context, sample, tiny)
    quiet_libraries()
    from mmkit.inference.devices import end_processes
    from mmkit.training.train import train as train_recipe

    with console_display(quiet) as display:
        train_recipe(assembled, output, resume=resume, device=device, quiet=quiet, hooks=[display])
    end_processes()
