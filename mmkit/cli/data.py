"""`mmkit annotate`, `mmkit convert` and `mmkit import-checkpoint`: jobs that are done once."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path

import click
from click.core import ParameterSource

from mmkit.cli.formats import (
    format_option,
    of_options,
    reader_of,
    reader_setting_option,
    say_losses,
    setting_option,
    settings_given,
    writer_of,
)
from mmkit.cli.options import (
    OVERRIDABLE,
    console_display,
    device_option,
    executor_from,
    network_option,
    overrides_from,
    quiet_libraries,
    recipe_from,
)
from mmkit.data.regular import open_regular
from mmkit.errors import DataError
from mmkit.terminal import echo
from mmkit.terminal.notes import few

SHOWN = 6
"""Recipes that are named in a hint."""

_READER_HINT = (
    "a data file needs --reader NAME, such as jsonl or conll; "
    "`mmkit list-components --registry readers` shows them all"
)


@click.command(context_settings=OVERRIDABLE)
@click.argument("recipe")
@click.option("--sample", is_flag=True, help="Annotate the sample data instead.")
@device_option
@network_option
@click.option("--quiet", is_flag=True, help="No progress.")
@click.pass_context
def annotate(
    context: click.Context, recipe: str, sample: bool, device: str, allow_network: bool, quiet: bool
) -> None:
    """Run RECIPE's annotators over its data. Results are stored, and a later call continues where this one ended.

    If the recipe is in a run folder, servers are contacted only with --allow-network, and its annotators write no
    files.
    """
    loaded = recipe_from(recipe, context, sample)
    names = loaded.parts("annotators")
    if not names:
        from mmkit.recipe_names import recipes_with

        echo(f"{loaded.path}: the recipe has no [annotators], so there is nothing to annotate")
        if others := recipes_with("annotators", loaded.name):
            echo(f"  → recipes that have some: {few(others, SHOWN)}")
        return
    quiet_libraries()
    from mmkit.access.network import without_network
    from mmkit.inference.devices import pick_device
    from mmkit.loading.annotation import Annotation
    from mmkit.loading.split import notes_of
    from mmkit.loading.splits import read_splits
    from mmkit.runs.folder import Run

    executor = executor_from(context)
    of_run = Run(loaded.path.parent).holds(loaded.path)
    with (
        console_display(quiet) as display,
        without_network(loaded.path.parent, allow=allow_network or not of_run),
    ):
        annotation = Annotation.of(
            loaded,
            str(pick_device(device)) if executor is None else device,
            display.mmkit_progress,
            writing=not of_run,
            compute=None if executor is None else executor.annotate,
        )
        for setting in annotation.unwritten:
            display.mmkit_note(f"{setting}: warning: not written, for the recipe is that of a run")
        splits = read_splits(loaded, loaded.parts("data"), annotation=annotation)
        for note in notes_of(splits.values()):
            display.mmkit_note(note)
    records = sum(len(split) for split in splits.values())
    echo(f"{', '.join(names)}: {records} records of {', '.join(splits)} are annotated")


@click.command(context_settings=OVERRIDABLE)
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DST", type=click.Path(path_type=Path))
@click.option(
    "--split",
    default="train",
    show_default=True,
    help="The split of a recipe, or of data that have several.",
)
@click.option(
    "--reader", "reader_name", metavar="NAME", help="If SRC is data: the reader, such as label-studio."
)
@reader_setting_option
@format_option
@setting_option
@click.option("--sample", is_flag=True, help="If SRC is a recipe: convert the sample data instead.")
@click.pass_context
def convert(
    context: click.Context,
    source: str,
    destination: Path,
    split: str,
    reader_name: str | None,
    reader_settings: tuple[str, ...],
    format_: str | None,
    settings: tuple[str, ...],
    sample: bool,
) -> None:
    """Write the data SRC as DST: as canonical jsonlines, which mmkit.jsonl.v1 reads, or in another --format.

    SRC is a recipe (with --split), or data (with --reader, whose settings follow as --name value or --reader-setting).
    """
    from mmkit.data.convert import convert as convert_data
    from mmkit.data.shares import Share

    path = Path(source)
    writer = writer_of(format_, settings)
    if reader_name is None:
        if reader_settings:
            raise click.UsageError("--reader-setting goes with --reader")
        if _holds_data(path):
            raise DataError("this is not a recipe", where=path, hint=_READER_HINT, code="recipe.not-a-recipe")
        reader = recipe_from(source, context, sample).build(f"data.{split}")
    elif sample:
        raise click.UsageError("--sample goes with a recipe, not with --reader")
    else:
        given = overrides_from(context) | settings_given(reader_settings, "--reader-setting")
        if context.get_parameter_source("split") is not ParameterSource.DEFAULT:
            given["split"] = split  # a setting of the reader; one that has no such setting says so
        with of_options() if reader_settings else nullcontext():
            reader = reader_of(reader_name, path, given)
    counts = convert_data(reader, destination, writer, note=lambda message: echo(message, err=True))
    (kind, records), *rest = counts.items()
    within = ", ".join(
        f"{count} {what.removesuffix('s') if count == 1 else what}" for what, count in rest if count
    )
    written = kind if records != 1 else {"examples": "example", "entities": "entity"}[kind]
    echo(f"{records} {written} written to {destination}" + (f" ({within})" if within else ""))
    whole = f" in the whole file, {reader.path}" if isinstance(reader, Share) else ""
    for reason, count in reader.repairs.items():
        echo(f"corrected: {count} × {reason}{whole}")
    say_losses(writer)


def _holds_data(path: Path) -> bool:
    """Whether `path` is a file that shows no sign of being a recipe."""
    try:
        with open_regular(path) as file:
            start = file.read(65536)
    except OSError:
        return False
    return (
        path.suffix != ".cfg" and re.search(rb"^[^\S\n]*\[(recipe|data|model)\b", start, re.MULTILINE) is None
    )


@click.command("import-checkpoint", context_settings=OVERRIDABLE)
@click.argument("paper")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path))
@click.option(
    "--recipe", help="A recipe file or the name of a shipped recipe. Default: the recipe that fits FILE."
)
@click.pass_context
def import_checkpoint(
    context: click.Context, paper: str, file: Path, output: Path, recipe: str | None
) -> None:
    """Turn the checkpoint FILE of PAPER's authors into the run folder OUT, for evaluation and prediction.

    The recipe can be overridden by dotted name: --backbones.text ./bert-base-uncased
    """
    overrides = overrides_from(context)
    quiet_libraries()
    from mmkit.runs.importing import import_checkpoint as import_file

    run = import_file(paper, file, output, overrides, recipe)
    echo(f"{file} is now the run {run.folder}; try: mmkit predict {run.folder} --text ...")
