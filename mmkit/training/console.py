"""The display of a run: progress bars on a terminal, plain lines elsewhere, tables of results."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from mmkit.errors import printable
from mmkit.hooks import hookimpl
from mmkit.metrics.base import shown
from mmkit.terminal.rendering import Terminal

if TYPE_CHECKING:
    from mmkit.recipe import Recipe

SHOWN = 6
"""The number of scores of one metric in a line about an evaluation; the table at the end has all of them."""
COLUMNS = 80
"""The width of a terminal that shows tables of labels whole; where all splits do not fit, each has its own table."""
LONG = 30
"""Characters of a label that are taken into account for it; longer ones are folded."""


class SpeedColumn(ProgressColumn):
    """How much is done a second."""

    def render(self, task: Task) -> Text:
        """The rate, as soon as it is known."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.1f}/s", style="progress.data.speed")


class ConsoleDisplay:
    """Shows a run through its hooks. `quiet` leaves only notes, evaluations and results, as plain lines.

    Results go to `results` (default: standard output), everything else to `console` (standard error).
    """

    def __init__(
        self, console: Console | None = None, quiet: bool = False, results: Console | None = None
    ) -> None:
        self.console = console or Terminal(stderr=True)
        self.results = results or Terminal()
        self.quiet = quiet
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._said = 0.0
        self._began: dict[str, tuple[float, int]] = {}
        self._score: frozenset[str] = frozenset()

    @property
    def _live(self) -> bool:
        return self.console.is_terminal and not self.quiet

    def say(self, message: str) -> None:
        """One line, above any bar."""
        self.console.print(printable(message, keep="\n"), markup=False, highlight=False, soft_wrap=True)

    @hookimpl
    def mmkit_note(self, message: str) -> None:
        """Notes are always shown: nothing happens silently."""
        self.console.print(
            printable(message, keep="\n"),
            style="yellow" if "warning:" in message else None,
            markup=False,
            highlight=False,
            soft_wrap=True,
        )

    @hookimpl
    def mmkit_progress(self, label: str, done: int, total: int) -> None:
        """A bar, or a line every ten seconds and at the end. A `total` of 0 is one that is not known."""
        if self._live:
            self._advance(label, done, total)
        elif not self.quiet and (done == total or time.monotonic() - self._said > 10):
            self._said = time.monotonic()
            self.say(f"{label}: {done}" + (f" of {total}" if total else "") + self._speed(label, done, total))

    def _speed(self, label: str, done: int, total: int) -> str:
        """The rate since the first call for a label, and the time left, for a line without a bar."""
        began, before = self._began.setdefault(label, (time.monotonic(), done))
        seconds = time.monotonic() - began
        if done <= before or seconds < 1:
            return ""
        rate = (done - before) / seconds
        left = f", {timedelta(seconds=round((total - done) / rate))} left" if done < total else ""
        return f" ({rate:,.1f}/s{left})"

    @hookimpl
    def mmkit_run_start(self, recipe: Recipe) -> None:
        """Shows nothing; stores which scores decide."""
        score = recipe.training.score
        self._score = frozenset([score] if isinstance(score, str) else score)

    @hookimpl
    def mmkit_epoch_start(self, epoch: int, steps: int) -> None:
        """A bar of the epoch's updates."""
        self.close()
        if self._live:
            self._advance(f"epoch {epoch}", 0, steps)

    @hookimpl
    def mmkit_step(self, epoch: int) -> None:
        """The bar moves on."""
        if self._bars is not None and f"epoch {epoch}" in self._tasks:
            self._bars.advance(self._tasks[f"epoch {epoch}"])

    @hookimpl
    def mmkit_logged(self, epoch: int, step: int, figures: dict[str, float]) -> None:
        """Training losses and speed as a line."""
        if not self.quiet:
            self.say(f"epoch {epoch}  step {step}  " + _line(figures))

    @hookimpl
    def mmkit_evaluated(self, split: str, epoch: int, figures: dict[str, float], best: bool) -> None:
        """A split's main scores as a line."""
        main = main_figures(figures, self._score)
        self.say(f"epoch {epoch}  {split}  " + _line(main) + ("  (best so far)" if best else ""))

    @hookimpl
    def mmkit_run_end(self, run: Path, status: str, summary: dict[str, Any]) -> None:
        """The end: a table of the best epoch's scores, and the run folder."""
        self.close()
        figures = summary.get("figures") or {}
        if figures:
            title = f"{summary.get('recipe', run.name)}{' (tiny)' if summary.get('tiny') else ''}: {status}"
            for table in results_tables(figures, title):
                self.results.print(table)
        if status == "interrupted":
            return  # the error that follows says so, and how to resume
        seconds = summary.get("seconds", 0.0)
        self.say(f"{status} after {seconds:.0f} s; the run is in {run}")

    def _advance(self, label: str, done: int, total: int) -> None:
        if self._bars is None:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                SpeedColumn(),
                TimeRemainingColumn(),
            )
            self._bars = Progress(*columns, console=self.console, transient=True)
            self._bars.start()
        if label not in self._tasks:
            self._tasks[label] = self._bars.add_task(label, total=total or None)
        self._bars.update(self._tasks[label], completed=done, total=total or None)
        if total and done >= total:
            self._bars.remove_task(self._tasks.pop(label))

    def close(self) -> None:
        """Take the bars off the terminal."""
        if self._bars is not None:
            self._bars.stop()
        self._bars, self._tasks = None, {}


def results_tables(
    figures: Mapping[str, Mapping[str, Any]], title: str, told: Callable[[str, Any], str] = shown
) -> list[Table]:
    """Scores by split: one table of overall scores, and those of each label for each metric that has any.

    `figures[split]` maps `<metric>.<figure>` and `<metric>.<figure>.<label>` to values, which are `told` in percent by
    default (mean ranks as they are).
    """

    def cell(split: Mapping[str, Any], name: str) -> str:
        return told(name, split[name]) if split.get(name) is not None else ""

    names = list(dict.fromkeys(name for split in figures.values() for name in split))
    overall = Table(title=escape(printable(title)), title_justify="left")
    overall.add_column("figure")
    for split in figures:
        overall.add_column(escape(printable(split)), justify="right")
    for name in names:
        if is_overall(name):
            overall.add_row(escape(printable(name)), *(cell(own, name) for own in figures.values()))
    return [overall, *_label_tables(figures, [name for name in names if not is_overall(name)], cell)]


def _label_tables(
    figures: Mapping[str, Mapping[str, Any]],
    names: Iterable[str],
    cell: Callable[[Mapping[str, Any], str], str],
) -> Iterator[Table]:
    """Tables of each label's scores. Figures of a metric that have the same labels share one, if they fit."""
    labels_of: dict[tuple[str, str], list[str]] = {}
    for metric, figure, label in (name.split(".", 2) for name in names):
        labels_of.setdefault((metric, figure), []).append(label)
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (metric, figure), found in labels_of.items():
        alike.setdefault((metric, tuple(sorted(found))), []).append(figure)
    for (metric, labels), kinds in alike.items():
        columns = [
            (split, figure, [cell(figures[split], f"{metric}.{figure}.{label}") for label in labels])
            for split in figures
            for figure in kinds
        ]
        widths = [max(map(len, (split, figure, *cells))) for split, figure, cells in columns]
        wide = sum(3 + width for width in [min(LONG, max(map(len, labels))), *widths]) >= COLUMNS
        title = f"{metric}, each label" if len(alike) > 1 else ""
        for some in [[c for c in columns if c[0] == split] for split in figures] if wide else [columns]:
            yield _labels_table(title, labels, some)


def _labels_table(title: str, labels: Sequence[str], columns: Sequence[tuple[str, str, list[str]]]) -> Table:
    """A row for each label. `columns` are (split, figure, cells); only the labels are folded where room lacks."""
    table = Table(title=escape(printable(title)) or None, title_justify="left")
    table.add_column("label", overflow="fold", min_width=8)
    for split, figure, _ in columns:
        header = escape(printable(f"{split}\n{figure}", keep="\n"))
        table.add_column(header, justify="right", no_wrap=True)
    for label, *row in zip(labels, *(cells for *_, cells in columns), strict=True):
        table.add_row(escape(printable(label)), *row)
    return table


def main_figures(figures: Mapping[str, float], score: Collection[str] = ()) -> dict[str, float]:
    """The scores for a line: each metric's first few overall ones, and those that `score` names."""
    counts: Counter[str] = Counter()
    main = {}
    for name, value in figures.items():
        metric = name.partition(".")[0]
        if name in score or (is_overall(name) and counts[metric] < SHOWN):
            counts[metric] += 1
            main[name] = value
    return main


def is_overall(name: str) -> bool:
    """Whether a score is not of a single label: `spans.f1`, or a bound of its confidence interval, `spans.f1.low`."""
    return name.count(".") == 1 or name.endswith((".low", ".high"))


def _line(figures: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
