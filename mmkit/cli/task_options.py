"""Options that depend on a run's task: those of `mmkit predict` beside the ones that every run has."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmkit.cli.options import opened
from mmkit.errors import PartError

if TYPE_CHECKING:
    from mmkit.tasks import Input, Task

TASK = "mmkit.task"
"""Where a command's context keeps the task of the run that was named."""

_PREFIX = "given_"
"""A prefix of names of options' values, so that no general option has the same name."""


class TaskCommand(click.Command):
    """A command on a run that takes the inputs of the run's task as options, and lists them in `RUN --help`.

    Options of other tasks are known too, so that the error for a wrong model says what this model does not do, rather
    than that the option does not exist. Without a run, the help lists the options of all tasks that come with mmkit.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Look for the run, then read all of the line with its task's options among the known ones."""
        run = self._run_among(ctx, args)
        if run is not None and not ctx.resilient_parsing:
            ctx.meta[TASK] = task_of(run)
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The general options, the run's own, and those of other tasks."""
        *general, help_option = super().get_params(ctx)
        own = (option for _, options in _groups(ctx, general) for option in options)
        return [*general, *own, help_option]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The general options, then those of the run's task; without a run, of each task."""
        params = super().get_params(ctx)
        general = [param.get_help_record(ctx) for param in params if isinstance(param, click.Option)]
        with formatter.section("Options"):
            formatter.write_dl([record for record in general if record is not None])
        own = ctx.meta.get(TASK)
        for task, options in _groups(ctx, params):
            rows = [record for option in options if (record := option.get_help_record(ctx))]
            if rows and own in (None, task):
                with formatter.section(f"To find {task.name}"):
                    formatter.write_dl(rows)
        if own is None:
            formatter.write_paragraph()
            formatter.write_text("A run may have options of its own: mmkit predict RUN --help lists them.")

    def _run_among(self, ctx: click.Context, args: Sequence[str]) -> Path | None:
        """The run folder on the command line: the first word that is one and not the value of a general option."""
        from mmkit.runs.opening import address_of

        options = [param for param in super().get_params(ctx) if isinstance(param, click.Option)]
        with_value = {
            flag: isinstance(param.flag_value, str)  # whether the value may be left out
            for param in options
            if not param.is_flag and not param.count
            for flag in param.opts
        }
        before = ""
        for word in args:
            is_value = before in with_value and not (with_value[before] and word.startswith("-"))
            before = "" if is_value else word
            if not is_value and not word.startswith("-"):
                folder = opened(word, ctx) if address_of(word) else Path(word)
                if (folder / "recipe.cfg").is_file():
                    return folder
        return None


def task_of(run: Path) -> Task:
    """The task of a run's decoder. Raises `RunError` or `RecipeError` for a run that cannot be used."""
    from mmkit.access.network import without_network
    from mmkit.runs.folder import Run

    with without_network(run):
        task: Task = Run(run).recipe().build("model.decoder").task
    return task


def given_to(options: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of tasks among a command's options, by name, without those that were left out."""
    inputs = {key.removeprefix(_PREFIX): value for key, value in options.items() if key.startswith(_PREFIX)}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in inputs.items() if v not in (None, ())}


def _groups(
    ctx: click.Context, general: Sequence[click.Parameter]
) -> Iterator[tuple[Task, list[click.Option]]]:
    """Each task with its options, the run's own first; no option twice, and none of the `general` ones.

    Raises `PartError` if the run's own task has an option that a plugin has added to the command.
    """
    from mmkit.tasks import known_tasks

    own = ctx.meta.get(TASK)
    seen = {flag for param in general for flag in param.opts}
    if own is not None and (clash := next((i.flag for i in own.inputs if i.flag in seen), None)):
        raise PartError(
            f"{clash} is an input of the run's task ({own.name}), and a plugin adds an option of that name",
            hint="use the run from Python, or without that plugin",
            code="part.task",
        )
    for task in [*([own] if own is not None else []), *known_tasks()]:
        new = [i for i in task.inputs if not seen & {i.name, i.flag}]
        seen.update(name for i in new for name in (i.name, i.flag))
        yield task, [_option(i) for i in new]


def _option(wanted: Input) -> click.Option:
    repeated = "; may be repeated" if wanted.many else ""
    return click.Option(
        [wanted.flag, _PREFIX + wanted.name],
        multiple=wanted.many,
        type=float if wanted.kind == "number" else _json if wanted.kind == "json" else str,
        metavar=wanted.kind.upper(),
        help=f"{wanted.help[:1].upper()}{wanted.help[1:]}{repeated}.",
    )


def _json(text: str) -> Any:
    """JSON on the command line. Raises `BadParameter` for anything else."""
    from mmkit.data.json_text import unique_fields

    try:
        return json.loads(text, object_pairs_hook=unique_fields)
    except ValueError as error:
        raise click.BadParameter(f"this is not JSON: {error}") from error
