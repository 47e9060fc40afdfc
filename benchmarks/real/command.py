"""The command line that the scripts of real data share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arms import Study, made, make
from rich.console import Console
from rich.table import Table
from summary import write_summary

from mmkit.errors import MMKitError

RESULTS = Path(__file__).resolve().parents[1] / "results" / "real"


def parser_of(described: str | None) -> argparse.ArgumentParser:
    """The options that every script has."""
    parser = argparse.ArgumentParser(
        description=described, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the dataset")
    parser.add_argument(
        "--models", type=Path, required=True, help="folder of the pretrained encoders' folders"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/real"), help="where runs are trained")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where results are written")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--arms", nargs="+", default=[], help="only these arms")
    parser.add_argument("--epochs", type=int, default=2)
    return parser


def main(parser: argparse.ArgumentParser, study_of: Callable[[argparse.Namespace], Study]) -> None:
    """Make all runs that are wanted; print and write the summary after each, of every result that is there."""
    arguments = parser.parse_args()
    try:
        _make_all(parser, arguments, study_of(arguments))
    except MMKitError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


def _make_all(parser: argparse.ArgumentParser, arguments: argparse.Namespace, study: Study) -> None:
    if unknown := set(arguments.arms) - {arm.name for arm in study.arms}:
        parser.error(
            f"no arm is called {', '.join(sorted(unknown))}; there are {', '.join(x.name for x in study.arms)}"
        )
    wanted = [arm for arm in study.arms if not arguments.arms or arm.name in arguments.arms]
    for _ in make(study, wanted, arguments.seeds, arguments.runs.resolve(), arguments.results):
        summarised(study, arguments.results)


def summarised(study: Study, results: Path) -> None:
    """Write the summary of a study's results in the folder of all results, and print its table."""
    content = write_summary(results / f"{study.name}.json", study, made(study, results))
    table = Table(title=study.title, title_justify="left")
    for column in (
        "arm",
        "seeds",
        "test F1",
        "95 % interval",
        "difference",
        "95 % interval",
        "p (Holm)",
        "minutes",
    ):
        table.add_column(column)
    for row in content["arms"]:
        table.add_row(*_cells(row))
    Console(width=140).print(table)


def _cells(row: dict[str, Any]) -> list[str]:
    if not row["seeds"]:
        return [row["arm"], "0", *["-"] * 6]
    test, difference = row["test"], row.get("difference")
    spread = "" if test["std"] is None else f" ± {100 * test['std']:.2f}"
    low, high = row["interval"]
    cells = [
        row["arm"],
        str(len(row["seeds"])),
        f"{100 * test['mean']:.2f}{spread}",
        f"{100 * low:.1f} to {100 * high:.1f}",
    ]
    if difference is None:
        cells += ["-"] * 3
    else:
        cells += [
            f"{100 * difference['difference']:+.2f}",
            f"{100 * difference['low']:+.2f} to {100 * difference['high']:+.2f}",
            f"{difference['p_holm']:.3f}",
        ]
    return [*cells, f"{row['seconds'] / 60:.1f}"]
