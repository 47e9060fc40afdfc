"""Writes the tables of docs/real_data.md from the results: between `<!-- results: STUDY -->` and `<!-- end -->`.

    python benchmarks/real/tables.py

A test compares the page with the results, so that they cannot differ.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "real"
PAGE = ROOT / "docs" / "real_data.md"
PLANNED = 3
"""Seeds that each arm is to have."""
MARKED = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def written(page: str, results: Path = RESULTS) -> str:
    """The page with the tables of the results that are there."""
    return MARKED.sub(lambda found: f"{found[1]}{section(results / f'{found[2]}.json')}{found[3]}", page)


def section(path: Path) -> str:
    """Both tables of one study, or that it has none yet."""
    if not path.exists():
        return "\nNo run of this study is finished yet.\n\n"
    study = json.loads(path.read_text(encoding="utf-8"))
    done = [arm for arm in study["arms"] if arm["seeds"]]
    lines = [*scores(study), "", *labels(done), "", *kinds(done)]
    return "\n" + "\n".join(lines) + "\n\n"


def scores(study: dict[str, Any]) -> Iterator[str]:
    """Test F1, and the difference from the first arm."""
    first, *_ = study["arms"]
    yield from head(
        (
            "arm",
            "seeds",
            "test F1",
            "95 % interval",
            f"from `{first['arm']}`",
            "95 % interval",
            "p",
            "minutes a run",
        ),
        1,
    )
    for arm in study["arms"]:
        done = len(arm["seeds"])
        if not done:
            yield row([f"`{arm['arm']}`: {arm['told']}", f"0 of {PLANNED}", *["–"] * 6])
            continue
        test, change = arm["test"], arm.get("difference")
        spread = "" if test["std"] is None else f" ± {percent(test['std'])}"
        compared = ["–"] * 3
        if change:
            few = (
                ""
                if change["seeds"] == arm["seeds"] == first["seeds"]
                else f" (seed {', '.join(map(str, change['seeds']))})"
            )
            compared = [
                f"{100 * change['difference']:+.2f}{few}",
                between(change["low"], change["high"], "+"),
                p(change["p_holm"]),
            ]
        yield row(
            [
                f"`{arm['arm']}`: {arm['told']}",
                f"{done} of {PLANNED}",
                f"{percent(test['mean'])}{spread}",
                between(*arm["interval"]),
                *compared,
                f"{arm['seconds'] / 60:.0f}",
            ]
        )


def labels(arms: Sequence[dict[str, Any]]) -> Iterator[str]:
    """F1 of each label, with its gold items; the most frequent labels first."""
    gold = {label: found["gold"] for arm in arms for label, found in arm["labels"].items()}
    yield from head(("F1 of each label", "gold", *(f"`{arm['arm']}`" for arm in arms)), 1)
    for label in sorted(gold, key=lambda name: (-gold[name], name)):
        values = [arm["labels"].get(label) for arm in arms]
        yield row([label, f"{gold[label]:,}", *("–" if v is None else percent(v["f1"]) for v in values)])


def kinds(arms: Sequence[dict[str, Any]]) -> Iterator[str]:
    """How many spans there are of each kind of error, and the calibration error."""
    yield from head(("kinds of errors, mean", *(f"`{arm['arm']}`" for arm in arms)), 1)
    for kind in arms[0]["kinds"]:
        yield row([kind, *(f"{arm['kinds'][kind]:,.0f}" for arm in arms)])
    yield row(["calibration error, %", *(percent(arm["calibration_error"]) for arm in arms)])


def head(names: Sequence[str], left: int) -> Iterator[str]:
    yield row(names)
    yield row(["---" if i < left else "---:" for i in range(len(names))])


def row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def percent(value: float) -> str:
    return f"{100 * value:.2f}"


def between(low: float, high: float, sign: str = "") -> str:
    return f"{100 * low:{sign}.2f} to {100 * high:{sign}.2f}"


def p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
