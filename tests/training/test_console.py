"""What a person sees of a run: lines about evaluations, notes, tables of results."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from mmkit.training.console import ConsoleDisplay, main_figures, results_tables


def test_a_line_has_few_figures_of_each_metric_and_those_that_decide() -> None:
    linking = {f"linking.{name}": 0.5 for name in ("a", "b", "c", "d", "e", "f", "g", "h")}
    figures = {**linking, "spans.f1": 0.25, "spans.f1.PER": 0.75}
    first = [f"linking.{name}" for name in "abcdef"]
    assert list(main_figures(figures)) == [*first, "spans.f1"]
    assert list(main_figures(figures, {"linking.h", "spans.f1.PER"})) == [
        *first,
        "linking.h",
        "spans.f1",
        "spans.f1.PER",
    ]


def shown(*things: object, width: int = 120) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None)
    for thing in things:
        console.print(thing)
    return out.getvalue()


def test_scores_are_in_percent_and_mean_ranks_as_they_are() -> None:
    figures = {"dev": {"linking.mrr": 0.5, "linking.mean_rank": 12.25}, "test": {"linking.mrr": 0.25}}
    rows = [
        line.split("│")[1:-1]
        for line in shown(*results_tables(figures, "run")).splitlines()
        if "linking" in line
    ]
    cells = [[cell.strip() for cell in row] for row in rows]
    assert cells == [["linking.mrr", "50.00", "25.00"], ["linking.mean_rank", "12.25", ""]]


@pytest.mark.parametrize("told", ["{:.2f}", "{:.2f} ± 0.44"])
def test_no_score_of_a_label_is_cut_on_a_terminal_of_80_columns(told: str) -> None:
    kinds = ("precision", "recall", "f1")
    labels = {"joint": ["person-of-a-country", "PER"], "strings": ["ORG"]}
    figures = {
        split: {
            f"{m}.{kind}.{x}": 10 * i + 0.25 for m, some in labels.items() for x in some for kind in kinds
        }
        for i, split in enumerate(("dev", "test"), 1)
    }
    tables = results_tables(figures, "run", lambda name, value: told.format(value))
    text = shown(*tables, width=80)
    assert "…" not in text and "joint, each label" in text and "strings, each label" in text
    for value in (10.25, 20.25):
        assert text.count(told.format(value)) == 9
    assert all(x in text for some in labels.values() for x in some)


def test_data_in_notes_and_tables_do_not_control_the_terminal() -> None:
    out = io.StringIO()
    display = ConsoleDisplay(Console(file=out, width=120, color_system=None))
    display.mmkit_note("warning: labels that train never shows: \x1b[2J[red]")
    assert out.getvalue() == "warning: labels that train never shows: ␛[2J[red]\n"
    tables = results_tables({"test": {"spans.f1": 0.5, "spans.f1.\x1b[31m[/]": 0.25}}, "run")
    told = shown(*tables)
    assert "␛[31m[/]" in told and "25.00" in told and "\x1b" not in told
