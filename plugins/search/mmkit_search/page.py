"""What `mmkit report` shows of a search's folder: the best trial, which settings matter, and all trials.

Only the files are read that the search wrote for people and programs. Optuna is not needed.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmkit.data.lines import numbered_lines
from mmkit.errors import DataError, RunError, escaped, one_line
from mmkit.files import parsed_json, read_json
from mmkit.pages import Block, Cell, Chart, Command, Link, Page, Section, Table
from mmkit_search.search_file import NAME, damaged, read_search_file
from mmkit_search.written import BEST, IMPORTANCE, TOO_FEW, TRIALS, name_of, run_folder, shown

MOST = 2**53
"""Whole numbers up to it are exact as floats."""

CURVES = 6
"""Trials, the best ones, whose scores by epoch are drawn."""


@dataclass(frozen=True)
class Row:
    """A trial, as a line of `trials.jsonl` says it."""

    number: int
    state: str
    score: float | None
    epochs: Sequence[tuple[int, float]]
    """(epoch, score), in order."""
    settings: Mapping[str, Any]
    error: str


def search_page(folder: Path) -> Page | None:
    """The page of a search's folder; None for any other folder. Raises `RunError` for a damaged file."""
    if not (folder / NAME).is_file():
        return None
    begun = read_search_file(folder / NAME)
    try:
        score = name_of(begun["recipe"]["training"]["score"])
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise damaged(folder / NAME, f"it has no usable training.score ({one_line(error)})") from error
    rows = list(_rows(folder / TRIALS))
    names = [str(name) for name in begun["space"]]
    sections = [
        Section("The best trial", list(_best(folder, rows, names, score))),
        Section("How much each setting matters", list(_importance(folder / IMPORTANCE))),
        Section("Trials", list(_trials(folder, rows, names, score))),
        Section("What is searched", list(_searched(begun, score))),
    ]
    return Page(f"Search in {folder}", sections)


def _rows(path: Path) -> Iterator[Row]:
    """The trials. Raises `RunError` with the line of what is no trial."""
    try:
        for number, line in numbered_lines(path) if path.is_file() else ():
            try:
                yield _row(parsed_json(line))
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise damaged(f"{path}:{number}", f"this is no trial: {one_line(error)}") from error
    except DataError as error:
        raise RunError(error.what, where=error.where, hint=error.hint, code="search.damaged") from error


def _row(line: Any) -> Row:
    epochs = sorted((_whole(int(epoch)), _number(score)) for epoch, score in line["epoch_scores"].items())
    score = line["score"]
    return Row(
        number=_whole(line["trial"]),
        state=str(line["state"]),
        score=None if score is None else _number(score),
        epochs=epochs,
        settings=dict(line["settings"]),
        error=str(line.get("error", "")),
    )


def _number(value: Any) -> float:
    """A score or a part of 1. Raises `ValueError` for what is none, or is not finite in percent."""
    if type(value) not in (int, float) or not abs(value) < sys.float_info.max / 100:
        raise ValueError(f"{str(value)[:40]!r} is no score")
    return float(value)


def _whole(value: Any) -> int:
    """The number of a trial or an epoch. Raises `ValueError` for what is none."""
    if type(value) is not int or not 0 <= value <= MOST:
        raise ValueError(f"{str(value)[:40]!r} is no number of a trial or an epoch")
    return value


def _ordered(rows: Sequence[Row]) -> list[tuple[float, Row]]:
    """The completed trials with their scores, the best first."""
    scored = [(row.score, row) for row in rows if row.state == "completed" and row.score is not None]
    return sorted(scored, key=lambda pair: (-pair[0], pair[1].number))


def _best(folder: Path, rows: Sequence[Row], names: Sequence[str], score: str) -> Iterator[Block]:
    ordered = _ordered(rows)
    if not ordered:
        yield "No trial is completed yet."
        return
    value, row = ordered[0]
    yield (
        f"Trial {row.number} of {len(rows):,}: {score} {_percent(value)} on the development split. "
        "The best of many trials has a score that is better than on new data: report the test score."
    )
    yield Table("Its settings", ["setting", "value"], [[name, _setting(row, name)] for name in names])
    yield "To train with them:"
    yield Command(f"mmkit train {shlex.quote(str(folder / BEST))}")
    run = run_folder(folder, row.number)
    own = run / "report.html"
    if own.is_file():
        yield Link(f"The report of trial {row.number}", own)
    else:
        yield "For a report of its run:"
        yield Command(f"mmkit report {shlex.quote(str(run))} --output {shlex.quote(str(own))}")


def _importance(path: Path) -> Iterator[Block]:
    try:
        found = read_json(path) if path.is_file() else {}
        parts = {str(name): _number(part) for name, part in found.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise damaged(path, one_line(error)) from error
    if not parts:
        yield f"There are {TOO_FEW}."
        return
    ordered = sorted(parts.items(), key=lambda pair: -pair[1])
    yield "How much of the difference between the best trials and the others a setting explains (PED-ANOVA)."
    yield Table("Importance", ["setting", "part, %"], [[name, f"{100 * part:.1f}"] for name, part in ordered])


def _trials(folder: Path, rows: Sequence[Row], names: Sequence[str], score: str) -> Iterator[Block]:
    ordered = _ordered(rows)
    counts = {
        state: sum(row.state == state for row in rows) for state in dict.fromkeys(r.state for r in rows)
    }
    yield ", ".join(f"{many:,} {escaped(state)}" for state, many in counts.items()) or "No trial has begun."
    if len(ordered) > 1:
        by_number = sorted((row.number, value) for value, row in ordered)
        so_far = [max(value for _, value in by_number[: i + 1]) for i in range(len(by_number))]
        lines = {
            "the trial": [(float(number), 100 * value) for number, value in by_number],
            "the best so far": [
                (float(number), 100 * best) for (number, _), best in zip(by_number, so_far, strict=True)
            ],
        }
        yield Chart(f"{score} of each completed trial, %", "trial", lines)
    curves = {
        f"trial {row.number}": [(float(epoch), 100 * value) for epoch, value in row.epochs]
        for _, row in ordered[:CURVES]
        if len(row.epochs) > 1
    }
    if curves:
        yield Chart(f"{score} of the best trials by epoch, %", "epoch", curves)

    def table(
        caption: str, header: Sequence[str], chosen: Sequence[tuple[Row, Sequence[Cell]]]
    ) -> Iterator[Block]:
        if chosen:
            cells = [
                [_run(folder, row), *own, *(_setting(row, name) for name in names)] for row, own in chosen
            ]
            yield Table(caption, ["trial", *header, *names], cells)

    yield from table(
        "Completed trials, the best first",
        [f"{score}, %", "best epoch"],
        [(row, [_percent(value), _best_epoch(row)]) for value, row in ordered],
    )
    pruned = [row for row in rows if row.state == "pruned"]
    yield from table(
        "Pruned trials: their best score was below the median of the other trials after the epoch",
        ["after epoch", f"best {score}, %"],
        [
            (row, [row.epochs[-1][0], _percent(max(v for _, v in row.epochs))] if row.epochs else ["–", "–"])
            for row in pruned
        ],
    )
    others = [row for row in rows if row.state not in ("completed", "pruned")]
    yield from table(
        "Other trials: failed, or not ended yet",
        ["state", "reason"],
        [(row, [escaped(row.state), escaped(row.error) or "–"]) for row in others],
    )


def _searched(begun: Mapping[str, Any], score: str) -> Iterator[Block]:
    yield f"The trial with the highest {score} on data.dev is the best one. Seed: {begun.get('seed')}."
    yield Table(
        "Space",
        ["setting", "what is tried"],
        [[str(name), str(text)] for name, text in begun["space"].items()],
    )
    if begun["data"]:
        files = [[str(file), str(sha)[:16]] for file, sha in begun["data"].items()]
        yield Table("Data files", ["file", "sha256"], files)


def _run(folder: Path, row: Row) -> Link:
    return Link(str(row.number), run_folder(folder, row.number))


def _best_epoch(row: Row) -> Cell:
    return max(row.epochs, key=lambda pair: (pair[1], -pair[0]))[0] if row.epochs else "–"


def _setting(row: Row, name: str) -> str:
    return shown(row.settings[name]) if name in row.settings else "–"


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"
