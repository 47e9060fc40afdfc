"""A comparison as tables, and tables as rich, Markdown or LaTeX."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mmkit.metrics.base import is_share, shown
from mmkit_report.comparison import MISSING, Comparison, Group, Spread
from mmkit_report.names import common_folder


@dataclass(frozen=True)
class Table:
    """Plain texts: a title, the names of the columns, and rows. All columns but the first `left` are numbers."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1


def tables_of(found: Comparison, flips: int) -> Iterator[Table]:
    """Scores, F1 of each label, tests, differing settings, and the first `flips` examples that flip each way."""
    folder = common_folder([group.name for group in found.groups])
    names = [group.name.removeprefix(folder) for group in found.groups]
    yield Table(
        f"scores on {found.split} ({_unit(found.figures)}, {found.examples:,} examples)",
        ["score", *map(_told, found.groups, names)],
        [
            [figure, *(_told_score(figure, group.figure(figure)) for group in found.groups)]
            for figure in found.figures
            if any(group.figure(figure) for group in found.groups)
        ],
    )
    yield Table(
        "F1 of each label (%)",
        ["label", *names],
        [
            [label, *(_told_score(figure, group.figure(figure)) for group in found.groups)]
            for figure, label in _labels(found.groups)
        ],
    )
    yield _differences(found, names)
    yield Table(
        "settings that differ",
        ["setting", *names],
        [[name, *map(_setting, values)] for name, values in found.settings.items()],
        left=1 + len(names),
    )
    texts = {example.id: example.text for example in found.groups[0].runs[0].examples}
    for name, flipped in zip(names[1:], found.flips, strict=True):
        yield Table(
            f"{name}: {len(flipped.gained):,} examples became right, {len(flipped.lost):,} became wrong",
            ["now", "example", "text"],
            [
                *(["right", id, _short(texts[id])] for id in flipped.gained[:flips]),
                *(["wrong", id, _short(texts[id])] for id in flipped.lost[:flips]),
            ],
            left=3,
        )


def _unit(figures: Sequence[str]) -> str:
    return "%" if all(map(is_share, figures)) else "%; mean ranks as they are"


def _told(group: Group, name: str) -> str:
    """A group's name, with the number of its runs if it is a folder of runs."""
    return f"{name} ({len(group.runs)} runs)" if len(group.runs) > 1 else name


def _labels(groups: Sequence[Group]) -> list[tuple[str, str]]:
    """The scores `<metric>.f1.<label>` of any run, with what they are called: the label, or also the metric."""
    scores = dict.fromkeys(name for group in groups for run in group.runs for name in run.figures)
    found = [(name, *name.split(".f1.", 1)) for name in scores if ".f1." in name]
    several = len({metric for _, metric, _ in found}) > 1
    return [
        (name, f"{metric} {label}" if several else label)
        for name, metric, label in found
        if label not in ("low", "high")
    ]


def _differences(found: Comparison, names: Sequence[str]) -> Table:
    """Differences from the first group. With one other, its name is in the title, and there is nothing to correct."""
    several = len(names) > 2
    rows = [
        [
            figure,
            *([name] if several else []),
            f"{100 * test.difference:+.2f}",
            f"{100 * test.low:+.2f} to {100 * test.high:+.2f}",
            _p(test.p_bootstrap),
            _p(test.p_randomisation),
            *([_p(corrected)] if several else []),
        ]
        for figure, tests in found.tests.items()
        for name, test, corrected in zip(names[1:], tests, found.corrected[figure], strict=True)
    ]
    header = ["difference", "95 % interval", "p (bootstrap)", "p (randomisation)"]
    if several:
        return Table(f"differences from {names[0]}", ["score", "run", *header, "p (Holm)"], rows, left=2)
    return Table(f"difference of {names[1]} from {names[0]}", ["score", *header], rows)


def _told_score(name: str, spread: Spread | None) -> str:
    """In percent; a mean rank as it is."""
    if spread is None:
        return "-"
    return shown(name, spread.mean) + ("" if math.isnan(spread.std) else f" ± {shown(name, spread.std)}")


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _setting(value: Any) -> str:
    return "-" if value is MISSING else _short(json.dumps(value, ensure_ascii=False, default=str))


def _short(text: str, most: int = 80) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 3]}..."


def as_markdown(tables: Sequence[Table]) -> str:
    """GitHub's tables; what Markdown or HTML would read as markup is escaped."""
    return _joined(tables, _markdown)


def _markdown(table: Table) -> Iterator[str]:
    yield f"**{_plain_markdown(table.title)}**"
    yield ""
    yield _row(table.header)
    yield _row(["---" if i < table.left else "---:" for i in range(len(table.header))], plain=True)
    yield from map(_row, table.rows)


def _row(cells: Sequence[str], plain: bool = False) -> str:
    return f"| {' | '.join(cell if plain else _plain_markdown(cell) for cell in cells)} |"


def _plain_markdown(text: str) -> str:
    text = " ".join(text.replace("&", "&amp;").replace("<", "&lt;").split())
    return "".join(f"\\{c}" if c in "\\`*_[]|#" else c for c in text)


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    **{c: f"\\{c}" for c in "&%$#_{}"},
}
"""A character → how LaTeX prints it."""


def as_latex(tables: Sequence[Table]) -> str:
    """`table` environments for the package booktabs; nothing in a text is a command."""
    return _joined(tables, _latex)


def _latex(table: Table) -> Iterator[str]:
    columns = "l" * table.left + "r" * (len(table.header) - table.left)
    yield r"\begin{table}"
    yield rf"\caption{{{_plain_latex(table.title)}}}"
    yield rf"\begin{{tabular}}{{{columns}}}"
    yield r"\toprule"
    yield rf"{' & '.join(map(_plain_latex, table.header))} \\"
    yield r"\midrule"
    for row in table.rows:
        yield rf"{' & '.join(map(_plain_latex, row))} \\"
    yield r"\bottomrule"
    yield r"\end{tabular}"
    yield r"\end{table}"


def _plain_latex(text: str) -> str:
    return "".join(_LATEX.get(c, c) for c in " ".join(text.split()))


def _joined(tables: Sequence[Table], lines: Callable[[Table], Iterator[str]]) -> str:
    return "\n\n".join("\n".join(lines(table)) for table in tables if table.rows)
