"""`mmkit evaluate`: score a run again, on its own data or on another file."""

from __future__ import annotations

from pathlib import Path

import click

from mmkit.cli.options import (
    OVERRIDABLE,
    as_json,
    console_display,
    device_option,
    network_option,
    opened,
    overrides_from,
    print_figures,
    quiet_libraries,
)
from mmkit.terminal import echo


@click.command(context_settings=OVERRIDABLE)
@click.argument("run")
@click.option("--split", default="test", show_default=True, help="Split of the run's recipe to score.")
@click.option("--output", type=click.Path(path_type=Path), help="Where to write. Default: the run's folder.")
@click.option("--json", "json_", is_flag=True, help="Print the scores as JSON.")
@device_option
@network_option
@click.option("--quiet", is_flag=True, help="No progress.")
@click.pass_context
def evaluate(
    context: click.Context,
    run: str,
    split: str,
    output: Path | None,
    json_: bool,
    device: str,
    allow_network: bool,
    quiet: bool,
) -> None:
    """Score the trained model in the folder RUN.

    The run's recipe can be overridden by dotted name. Scores of other data need another --output:
    --data.test.file other.txt --output scores/other
    """
    from mmkit.runs.folder import Run
    from mmkit.runs.opening import check_own_place

    check_own_place(run, output)
    folder = opened(run, context)
    recipe = Run(folder).recipe().with_overrides(overrides_from(context))
    quiet_libraries()
    from mmkit.inference.evaluate import evaluate as evaluate_run

    with console_display(quiet) as display:
        figures, _ = evaluate_run(
            folder,
            split,
            recipe=recipe,
            device=device,
            output=output,
            hooks=[display],
            allow_network=allow_network,
        )
    if json_:
        echo(as_json({"split": split, **figures}))
    else:
        print_figures({split: figures}, run)
