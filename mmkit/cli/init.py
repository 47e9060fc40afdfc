"""`mmkit init`: a recipe for a folder of data."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from mmkit.cli.formats import of_options, reader_setting_option, settings_given
from mmkit.cli.options import OVERRIDABLE, overrides_from
from mmkit.errors import PartError, RecipeError
from mmkit.terminal import echo

TASKS = ("entities", "relations", "entities and relations", "links")


@click.command(context_settings=OVERRIDABLE)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--paper", help="Whose model: hvpnet, tesga, more, umt, dwe, dim, text-only, or a plugin's.")
@click.option("--task", type=click.Choice(TASKS), help="What to find. Default: all that is annotated.")
@click.option("--reader", help="The reader of the posts. Default: the one that recognizes them.")
@reader_setting_option
@click.option("--entities", type=click.Path(path_type=Path), help="The knowledge base, for links.")
@click.option(
    "--images", type=click.Path(path_type=Path), help="The folder of pictures, if they lie elsewhere."
)
@click.option(
    "--output", type=click.Path(path_type=Path), help="The recipe's file. Default: <folder>.cfg here."
)
@click.option("--force", is_flag=True, help="Replace the output if it exists.")
@click.pass_context
def init(
    context: click.Context,
    folder: Path,
    paper: str | None,
    task: str | None,
    reader: str | None,
    reader_settings: tuple[str, ...],
    entities: Path | None,
    images: Path | None,
    output: Path | None,
    force: bool,
) -> None:
    """Write a recipe for the data in FOLDER, which may also be one file.

    Format, splits, task, labels and pictures are found out. What cannot be decided is asked on a terminal;
    elsewhere there is a default, which is said, or an error. The recipe says in its first comment what was decided.

    Settings of the reader follow as --name value, or as --reader-setting: names of columns, the tags, a folder.
    """
    settings = overrides_from(context) | settings_given(reader_settings, "--reader-setting")
    output = output or Path(f"{folder.resolve().stem}.cfg")
    if output.is_dir():
        raise RecipeError(
            "this is a folder", where=output, hint="name a file: --output mine.cfg", code="init.exists"
        )
    if output.exists() and not force:
        raise RecipeError(
            "this file exists already",
            where=output,
            hint="--force replaces it, --output names another file",
            code="init.exists",
        )
    from mmkit.files import atomic
    from mmkit.recipe import load_recipe
    from mmkit.start.start import Wishes, start

    wishes = Wishes(paper, task, reader, entities, images, settings)
    try:
        with of_options() if reader_settings else nullcontext():
            started = start(folder, wishes, _ask if _is_terminal() else None)
    except PartError as error:
        raise _said_for_init(error, settings, context) from error
    with atomic(output, error=RecipeError) as file:
        file.write(started.text)
    load_recipe(output)
    for line in started.said:
        echo(line)
    echo(f"{output} is written; check it: mmkit check {output}")
    echo(f"  → a first try without downloads: mmkit train {output} --tiny")


def _said_for_init(error: PartError, settings: Mapping[str, Any], context: click.Context) -> PartError:
    """An error about settings; where no reader has one, an option of `mmkit init` with a similar name is named."""
    error = error.at("") if error.where == "@readers" else error
    options = [option for parameter in context.command.params for option in parameter.opts]
    near = [found[0] for name in settings if (found := get_close_matches(f"--{name}", options, n=1))]
    if error.code != "init.setting" or not near:
        return error
    return error.at(error.where, f"did you mean {near[0]!r}?\n  → {error.hint}")


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _ask(question: str, options: Sequence[str], default: int | None) -> int:
    """Ask on the terminal; the answer is a number."""
    echo(question, err=True)
    for number, option in enumerate(options, 1):
        echo(f"  {number}  {option}", err=True)
    answer: int = click.prompt(
        "number",
        type=click.IntRange(1, len(options)),
        default=None if default is None else default + 1,
        err=True,
    )
    return answer - 1
