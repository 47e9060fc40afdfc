"""`mmkit report`: one HTML file about one or several runs."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from mmkit.cli.options import OVERRIDABLE, device_option, overrides_from, quiet_libraries, runs_argument
from mmkit.terminal import echo


@click.command(context_settings=OVERRIDABLE)
@runs_argument
@click.option("--split", default="test", show_default=True, help="Split of the runs' recipes to show.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default="report.html",
    show_default=True,
    help="The file to write.",
)
@click.option(
    "--with-blank", is_flag=True, help="Predict again with blank images, to see what the photos do."
)
@click.option(
    "--inspect",
    is_flag=True,
    help="Predict again, to show what the parts compute of each example: gates, weights, attention.",
)
@click.option(
    "--embed",
    type=click.IntRange(min=0),
    default=24,
    show_default=True,
    metavar="MB",
    help="Small copies of images inside the file; those beyond it are written beside it.",
)
@device_option
@click.pass_context
def report(
    context: click.Context,
    runs: tuple[str, ...],
    split: str,
    output: Path,
    with_blank: bool,
    inspect: bool,
    embed: int,
    device: str,
) -> None:
    """Write a report of the runs RUN: how they were made, scores, errors, and all examples to look at.

    The file needs no network and no server: open it in a browser. Each RUN is a run's folder, an address such as
    hf://user/name, or a folder of runs; all must have been scored on the same data. Settings of the recipes can be
    overridden by dotted name, for data that have moved: --data.test.root FOLDER

    Of a folder that `mmkit search` wrote, it is a report of the search. Plugins show folders of other kinds.
    """
    from mmkit_report.folder_page import folder_page, write_folder_page
    from mmkit_report.write_report import write_report

    told = folder_page(runs)
    if told is not None:
        _refuse_others(context, runs[0])
        write_folder_page(told, output)
        echo(f"the report is in {output}")
        return
    if with_blank or inspect:
        quiet_libraries()

    def note(message: str) -> None:
        echo(message, err=True)

    beside = write_report(
        runs,
        split,
        output,
        overrides_from(context),
        blank=with_blank,
        inspect=inspect,
        limit=embed * 1_000_000,
        device=device,
        note=note,
    )
    echo(f"the report is in {output}")
    if beside is not None:
        echo(f"keep the folder {beside} beside it: it holds the images beyond {embed} MB")


def _refuse_others(context: click.Context, folder: str) -> None:
    """Say which options mean nothing for a folder that is no run."""
    given = [
        f"--{name.replace('_', '-')}"
        for name in ("split", "with_blank", "inspect", "embed", "device")
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    given += [f"--{name}" for name in overrides_from(context)]
    if given:
        raise click.UsageError(f"{', '.join(given)}: only for reports of runs, and {folder} is not a run")
