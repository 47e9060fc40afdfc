"""`mmkit search`: try settings of a recipe, and keep the best."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmkit.cli.options import OVERRIDABLE, device_option, quiet_libraries, recipe_from, tiny_option
from mmkit.terminal import echo

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


if TYPE_CHECKING:
    Seconds = click.ParamType[float]
else:
    Seconds = click.ParamType  # not generic in older versions


class Duration(Seconds):
    """Seconds, or a number with a unit: `90s`, `30m`, `2h`, `1.5d`."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", str(value).strip())
        if match is None or float(match[1]) == 0:
            self.fail(f"{value!r} is not a time: write 90s, 30m, 2h or 1.5d", param, ctx)
        return float(match[1]) * UNITS[match[2]]


@click.command(context_settings=OVERRIDABLE)
@click.argument("recipe", metavar="RECIPE [SPACE]")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the search. If it holds this search already, the search goes on.",
)
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    required=True,
    help="Trials in all, those of earlier calls included.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that run trials at the same time.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**31), default=0, show_default=True, help="Of the choice of settings."
)
@click.option("--timeout", type=Duration(), help="Stop after this time: 30m, 2h. The search can go on later.")
@click.option(
    "--startup",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Trials with random settings, before the scores decide which ones are tried.",
)
@click.option(
    "--prune/--no-prune", default=True, show_default=True, help="Stop trials that are worse than the median."
)
@click.option(
    "--prune-after",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Completed trials, before one is pruned.",
)
@click.option(
    "--keep",
    type=click.Choice(["all", "completed", "best"]),
    default="completed",
    show_default=True,
    help="Trials whose weights are kept; their scores always are.",
)
@click.option("--sample", is_flag=True, help="Search on small synthetic data with tiny encoders, offline.")
@tiny_option
@device_option
@click.option("--worker", type=int, hidden=True, help="The process that started this one.")
@click.pass_context
def search(
    context: click.Context,
    recipe: str,
    output: Path,
    trials: int,
    workers: int,
    seed: int,
    timeout: float | None,
    startup: int,
    prune: bool,
    prune_after: int,
    keep: str,
    sample: bool,
    tiny: bool,
    device: str,
    worker: int | None,
) -> None:
    """Search for the settings with which RECIPE has the best score on data.dev.

    What is tried is in the file SPACE, which looks like a recipe, or on the command line:
    --training.learning_rate "1e-5..1e-3 log" --training.epochs 5..30 --training.schedule "linear | cosine".
    Settings with one value are fixed.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise click.UsageError("a search runs in one process for each trial: start it without torchrun")
    quiet_libraries()
    import optuna

    from mmkit import Interrupted
    from mmkit_search.plan import fixed_words, make_plan, read_given, split_words
    from mmkit_search.results import report
    from mmkit_search.storage import Search
    from mmkit_search.trial import Options
    from mmkit_search.work import work, work_together

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    started = time.monotonic()
    file, words = split_words(context.args)
    given = read_given(file, words)
    context.args = fixed_words(given)
    plan = make_plan(recipe_from(recipe, context, sample, tiny), given)
    found = Search(output, plan, seed, startup)
    found.open()
    options = Options(
        trials,
        prune,
        prune_after,
        keep,
        device,
        None if timeout is None else started + timeout,
        worker,
        lambda message: echo(message, err=True),
    )
    if worker is not None:
        try:
            work(found, options)
        except Interrupted as error:
            context.exit(error.exit_code)  # the process that started this one says so, once
        return
    if workers == 1:
        work(found, options)
    else:
        arguments = [recipe, *([str(file)] if file else []), *words, "--output", str(output)]
        arguments += ["--trials", str(trials), "--seed", str(seed), "--startup", str(startup)]
        arguments += ["--prune" if prune else "--no-prune", "--prune-after", str(prune_after), "--keep", keep]
        arguments += ["--device", device, "--worker", str(os.getpid())]
        arguments += ["--sample"] if sample else ["--tiny"] if tiny else []
        arguments += [f"--timeout={timeout}"] if timeout is not None else []
        work_together(found, options, workers, arguments)
    report(found)
    if options.is_over:
        echo("the time is up; run the same command again to go on", err=True)
    if found.best_file.exists():
        echo(f"the best settings are in {found.best_file}: mmkit train {found.best_file}")
