"""What several commands share: recipe overrides on the command line, and how results are shown."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mmkit.inference.executor import Executor
    from mmkit.recipe import Recipe
    from mmkit.training.console import ConsoleDisplay

OVERRIDABLE = {"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": True}
"""Context settings of a command that takes `--section.key value`."""

device_option = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.", metavar="NAME"
)


network_option = click.option(
    "--allow-network",
    is_flag=True,
    help="Allow a run to contact the servers that its recipe names, and the Hugging Face Hub.",
)


tiny_option = click.option(
    "--tiny",
    is_flag=True,
    help="Use tiny untrained encoders, made offline from your own data: to see that all works, not for scores.",
)


def opened(run: str, context: click.Context | None) -> Path:
    """The folder of a run that a command line names, by its folder or an address that a plugin opens.

    An address is opened once for a command, however often it is asked for.
    """
    from mmkit.runs.opening import open_run

    known: dict[str, Path] = {} if context is None else context.meta.setdefault("mmkit.opened", {})
    if run not in known:
        known[run] = open_run(run)
    return known[run]


run_argument = click.argument("run", callback=lambda context, _, run: opened(run, context))
"""The argument RUN of a command: its value is the run's folder."""


def executor_from(context: click.Context) -> Executor | None:
    """What does the work in place of this machine's processes, if an option of a plugin has chosen it."""
    from mmkit.inference.executor import EXECUTOR

    chosen: Executor | None = context.meta.get(EXECUTOR)
    return chosen


def _runs_alone(context: click.Context, parameter: click.Parameter, words: Sequence[str]) -> tuple[str, ...]:
    """The runs among the words of a command line; `--section.key value` among them are kept for `overrides_from`.

    click gives an argument of any number of words the options too that it does not know.
    """
    runs, settings, left = list[str](), list[str](), list(words)
    while left:
        word = left.pop(0)
        if not word.startswith("--"):
            runs.append(word)
            continue
        settings.append(word)
        if "=" not in word and left and not left[0].startswith("--"):
            settings.append(left.pop(0))
    context.meta[_SETTINGS] = settings
    if not runs:
        raise click.MissingParameter(ctx=context, param=parameter)
    return tuple(runs)


_SETTINGS = "mmkit.settings"

runs_argument = click.argument("runs", metavar="RUN...", nargs=-1, required=True, callback=_runs_alone)
"""The argument RUN... of a command: folders or addresses, as they were written. Use it with `OVERRIDABLE`."""


def overrides_from(context: click.Context) -> dict[str, Any]:
    """The settings of a recipe or a part that a command line gives, by dotted name.

    Raises `RecipeError` for other arguments; of an option of the command that is misspelt it says which is meant.
    """
    from mmkit.errors import RecipeError
    from mmkit.recipe import parse_overrides

    try:
        return parse_overrides([*context.meta.get(_SETTINGS, ()), *context.args])
    except RecipeError as error:
        options = [option for parameter in context.command.params for option in parameter.opts]
        if near := get_close_matches(error.what.partition(" ")[0], options, n=1):
            raise error.at(error.where, f"did you mean {near[0]!r}? Or {error.hint}") from None
        raise


def recipe_from(source: str, context: click.Context, sample: bool = False, tiny: bool = False) -> Recipe:
    """Load a recipe with the command line's overrides; on sample data, or with tiny encoders, if wanted."""
    if sample and tiny:
        raise click.UsageError(
            "--sample has tiny encoders anyway; --tiny is for your own data: give one of them"
        )
    from mmkit.recipe import load_recipe
    from mmkit.recipe_names import shadowed
    from mmkit.terminal import echo

    recipe = load_recipe(source, {} if sample else overrides_from(context))
    if other := shadowed(source):
        echo(
            f"{recipe.path}: this file is used, not the recipe of this name that comes with mmkit ({other})",
            err=True,
        )
    if tiny:
        from mmkit.loading.stand_ins import tiny as made_tiny

        return made_tiny(recipe)
    if not sample:
        return recipe
    from mmkit.loading.sample import sampled

    told = sampled(recipe, lambda message: echo(message, err=True))
    return told.with_overrides(overrides_from(context))


def print_figures(figures: Mapping[str, Mapping[str, float]], title: str) -> None:
    """Print scores as tables on standard output."""
    from mmkit.terminal.rendering import Terminal
    from mmkit.training.console import results_tables

    for table in results_tables(figures, title):
        Terminal().print(table)


@contextlib.contextmanager
def console_display(quiet: bool) -> Iterator[ConsoleDisplay]:
    """The display of progress (bars on a terminal, lines elsewhere) and notes, on standard error."""
    from mmkit.training.console import ConsoleDisplay

    display = ConsoleDisplay(quiet=quiet)
    try:
        yield display
    finally:
        display.close()


def quiet_libraries() -> None:
    """Keep the libraries' own progress bars and advice out of the output; errors still show."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    quiet_hub()


def quiet_hub() -> None:
    """One line where the Hugging Face Hub does not answer."""
    logging.getLogger("huggingface_hub.utils._http").addFilter(_one_line_of_retries)


class _OneLineOfRetries(logging.Filter):
    """Keeps one of the Hub client's ten lines about a missing network."""

    told = False

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if "Retrying in" not in message and "thrown while requesting" not in message:
            return True
        told, self.told = self.told, True
        record.msg, record.args = "no answer from the Hugging Face Hub; trying again for half a minute", ()
        return not told


_one_line_of_retries = _OneLineOfRetries()


def as_json(value: Any, indent: int | None = 2) -> str:
    """JSON for people and programs: readable, with characters escaped that would control a terminal."""
    import json

    from mmkit.errors import escaped

    return escaped(json.dumps(value, ensure_ascii=False, indent=indent, default=repr))
