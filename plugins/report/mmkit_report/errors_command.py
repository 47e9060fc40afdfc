"""`mmkit errors`: the worst errors of a run in the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from mmkit.cli.options import OVERRIDABLE, overrides_from
from mmkit.terminal import echo

if TYPE_CHECKING:
    from mmkit import Relation, Span
    from mmkit_report.scored import Scored


@click.command(context_settings=OVERRIDABLE)
@click.argument("run")
@click.option("--split", default="test", show_default=True, help="Split of the run's recipe to look at.")
@click.option(
    "--top", type=click.IntRange(min=1), default=20, show_default=True, help="How many examples to show."
)
@click.option("--json", "json_", is_flag=True, help="Print one JSON object on each line.")
@click.pass_context
def errors(context: click.Context, run: str, split: str, top: int, json_: bool) -> None:
    """Show the worst errors of the run in the folder RUN.

    The examples with most errors come first; among equals, those about which the model was surest. Nothing is
    predicted again: the predictions that training or `mmkit evaluate` wrote are compared with the data. Settings of
    the recipe can be overridden by dotted name, for data that have moved: --data.test.root FOLDER
    """
    import json

    from mmkit.errors import escaped
    from mmkit.terminal.rendering import Terminal
    from mmkit_report.error_file import error_record, worst_first
    from mmkit_report.scored import read_scored

    scored = read_scored(run, split, overrides_from(context))
    worst = worst_first(scored.findings)
    if json_:
        for i in worst[:top]:
            record = error_record(scored.examples[i], scored.predictions[i], scored.findings[i])
            echo(escaped(json.dumps(record, ensure_ascii=False)))
        return
    terminal = Terminal()
    for line in _lines(scored, worst[:top]):
        terminal.print(line, soft_wrap=True)
    terminal.print(_kinds_table(scored))
    shown = f", the worst {top:,} above" if len(worst) > top else ""
    have = "has" if len(worst) == 1 else "have"
    echo(f"{len(worst):,} of {len(scored.examples):,} examples {have} errors{shown}")


def _lines(scored: Scored, chosen: list[int]) -> Iterator[str]:
    """The examples in rich's markup."""
    from mmkit.tasks.base import shown
    from mmkit_report.error_file import items_of, words

    for i in chosen:
        example, prediction = scored.examples[i], scored.predictions[i]
        yield f"[bold]{shown(example.text)}[/bold]  [dim]{shown(example.id)}[/dim]"
        for image in example.images:
            if image.role == "photo" and image.path is not None:
                yield f"  [dim]{shown(image.path)}[/dim]"
        for finding in scored.findings[i]:
            if not finding.is_error:
                continue
            told = []
            for side, item in items_of(example, prediction, finding).items():
                if isinstance(item, str):
                    told.append(f"{side} {shown(item)}")
                elif item is not None:
                    box = f" {_boxes(item)}" if finding.kind == "wrong box" else ""
                    told.append(f"{side} [cyan]{shown(item.label)}[/cyan] {shown(words(example, item))}{box}")
            score = "" if finding.score is None else f"  [dim]{finding.score:.3f}[/dim]"
            yield f"  [red]{finding.what}: {finding.kind}[/red]  {', '.join(told)}{score}"


def _boxes(item: Span | Relation) -> str:
    """Where a span is to be seen: the boxes in pixels, in rich's markup."""
    regions = getattr(item, "regions", ())
    if not regions:
        return "in no box"
    told = [", ".join(f"{side:g}" for side in region.box) for region in regions]
    return f"in the box {' or '.join(told)}"


def _kinds_table(scored: Scored) -> object:
    from rich.table import Table

    from mmkit_report.analysis import kinds
    from mmkit_report.findings import kinds_for

    whats = sorted({f.what for some in scored.findings for f in some}, key=["span", "relation", "link"].index)
    table = Table(title=f"{scored.split}: items by kind of error", title_justify="left")
    table.add_column("kind")
    for what in whats:
        table.add_column(f"{what}s", justify="right")
    counts = [kinds(scored, what) for what in whats]
    for kind in kinds_for("span", scored.boxes):
        table.add_row(kind, *(f"{of_what[kind]:,}" if kind in of_what else "" for of_what in counts))
    return table
