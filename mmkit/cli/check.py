"""`mmkit check`: a recipe and its data, before a GPU is touched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmkit.cli.options import OVERRIDABLE, as_json, quiet_hub, recipe_from, tiny_option
from mmkit.errors import printable
from mmkit.files import tidy
from mmkit.terminal import echo

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from mmkit.checking.check import SplitReport


@click.command(context_settings=OVERRIDABLE)
@click.argument("recipe")
@click.option("--sample", is_flag=True, help="Check the sample data instead.")
@tiny_option
@click.option("--decode", is_flag=True, help="Decode every image fully (slow) instead of reading its header.")
@click.option(
    "--list",
    "list_",
    type=click.Path(path_type=Path),
    help="File to which all records and files with problems are written. Default: a file in the cache, if messages "
    "name only some of them.",
)
@click.option("--json", "json_", is_flag=True, help="Print the report as JSON.")
@click.pass_context
def check(
    context: click.Context,
    recipe: str,
    sample: bool,
    tiny: bool,
    decode: bool,
    list_: Path | None,
    json_: bool,
) -> None:
    """Validate RECIPE and its data: counts, labels, missing or broken images, fingerprints.

    Exits with 1 if a problem would stop training. Annotators do not run.
    """
    loaded = recipe_from(recipe, context, sample, tiny)
    quiet_hub()
    from mmkit.checking.annotating import not_computable
    from mmkit.checking.check import checked, lacking, list_in_full
    from mmkit.checking.made import start_of, try_to_make
    from mmkit.fit import fitting_parts
    from mmkit.loading.annotation import Annotation
    from mmkit.loading.split import ENTITIES
    from mmkit.loading.stand_ins import TOLD
    from mmkit.metrics.scoring import checked_metrics
    from mmkit.trackers import lacking_trackers

    parts = fitting_parts(loaded)
    checked_metrics(loaded)
    reports = checked(loaded, parts, decode)
    full = list_in_full(loaded, reports, list_)
    start, absent = start_of(loaded, parts)
    encoders = {at: e for at, e in parts.encoder_sections.items() if start is None or at not in start.folders}
    annotators = Annotation.of(loaded).sections
    absent += lacking({**encoders, **annotators})
    untracked = lacking_trackers(loaded)
    base = reports[ENTITIES].split.entities if ENTITIES in reports else ()
    # what needs a knowledge base that cannot be read would say so again
    without_base = ENTITIES in reports and bool(reports[ENTITIES].problems)
    if not absent and not without_base:
        read = [report.split.examples for report in reports.values()]
        absent += not_computable(annotators, read, base)
    remarks: Sequence[str] = ()
    if not absent and not without_base and reports["train"].split.examples:
        trial = try_to_make(loaded, parts, reports["train"].split.examples, base, start)
        remarks = trial.remarks
        absent += trial.problems
        reports["train"].warnings += trial.warnings
    absent += untracked  # nothing is made with trackers: they keep nothing from being tried
    if json_:
        also: dict[str, Any] = {"parts": {"problems": absent}} if absent else {}
        also |= {"init_from": list(remarks)} if remarks else {}
        echo(as_json({name: report.to_json() for name, report in reports.items()} | also))
    else:
        from mmkit.terminal.rendering import Terminal

        console = Terminal(highlight=False, soft_wrap=True)
        console.print(f"{loaded.path}: the recipe is valid", markup=False)
        if loaded.config["recipe"]["tiny"]:
            console.print(f"warning: {TOLD}", markup=False)
        said: set[str] = set()
        for name, report in reports.items():
            _show(console, name, report, said)
        for table in _label_tables(reports):
            console.print()
            console.print(table)
        if absent:
            console.print("\n[bold]what the recipe builds on[/bold]")
            _show_problems(console, absent)
        for remark in remarks:
            console.print(f"\n{printable(remark)}", markup=False)
        if full:
            console.print(f"\nevery record and file that something is wrong with: {tidy(full)}", markup=False)
        console.print(f"\n{_verdict(reports, len(absent))}")
    if absent or any(report.problems for report in reports.values()):
        context.exit(1)


def _verdict(reports: Mapping[str, SplitReport], absent: int) -> str:
    problems, warnings = (
        sum(len(getattr(report, what)) for report in reports.values()) for what in ("problems", "warnings")
    )
    problems += absent
    if not problems:
        said = f" ({warnings} warning{'' if warnings == 1 else 's'})" if warnings else ""
        return f"[green]ready to train[/green]{said}"
    return f"[red]{problems} problem{'' if problems == 1 else 's'} to fix[/red]"


def _label_tables(reports: Mapping[str, SplitReport]) -> Iterator[Table]:
    """A table for each kind of label: its counts in each split, most frequent first."""
    from rich.markup import escape
    from rich.table import Table

    for kind in dict.fromkeys(kind for report in reports.values() for kind in report.labels):
        counts = {name: report.labels[kind] for name, report in reports.items() if kind in report.labels}
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column(escape(printable(kind)))
        for name in counts:
            table.add_column(name, justify="right")
        for label, _ in sum(counts.values(), Counter()).most_common():
            table.add_row(escape(printable(label) or '""'), *(str(split[label]) for split in counts.values()))
        table.add_row("all", *(str(split.total()) for split in counts.values()), style="dim")
        yield table


def _show(console: Console, name: str, report: SplitReport, said: set[str]) -> None:
    """The report of a split. `said` is of whole files, of which several splits are shares: it is not said again."""
    split = report.split
    console.print(f"\n[bold]data.{name}[/bold]")
    if not split.files:  # it could not be read
        _show_problems(console, report.problems)
        return
    for file in split.files:
        console.print(
            f"  {tidy(file['file'])}: {file['variant'] or 'unknown variant'} (sha256 {file['sha256'][:12]})",
            markup=False,
        )
    if split.examples:
        words = f"{report.tokens} tokens, the longest sentence has {report.longest}"
        whole = f" of the file's {split.share_of}" if split.share_of else ""
        console.print(f"  {len(split.examples)}{whole} examples, {words}")
    else:
        console.print(f"  {len(split)} entities")
    for line in report.lines:
        console.print(f"  {printable(line)}", markup=False)
    console.print(f"  images: {report.images.summary()}", markup=False)
    for line in split.repaired:
        if line not in said:
            console.print(printable(f"  corrected: {line}"), markup=False)
    said.update(split.repaired if split.share_of else ())
    for warning in report.warnings:
        console.print("  [yellow]warning[/yellow] ", end="")
        console.print(_indented(warning), markup=False)
    _show_problems(console, report.problems)


def _show_problems(console: Console, problems: Iterable[str]) -> None:
    for problem in problems:
        console.print("  [red]problem[/red] ", end="")
        console.print(_indented(problem), markup=False)


def _indented(message: str) -> str:
    return printable(message, keep="\n").replace("\n", "\n  ")
