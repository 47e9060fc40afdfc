"""What `mmkit report` shows of a search's folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from browser import chromium, inaccessible, problems_of
from mmkit.cli import main
from mmkit.pages import Chart, Command, Link, Page, Table
from mmkit_search.page import search_page
from raising import raises

HUGE = "9" * 400
"""A whole number that no float can hold."""

EVIL = "</script><img src=x onerror=window.pwned=1>\"'\x1b[31m"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    yield from chromium()


def trial(number: int, state: str, scores: list[float], settings: dict[str, Any], error: str = "") -> dict:
    return {
        "trial": number,
        "state": state,
        "score": max(scores) if state == "completed" else scores[-1] if scores else None,
        "epoch_scores": {str(i + 1): score for i, score in enumerate(scores)},
        "settings": settings,
        "run": f"trials/{number:04d}",
        **({"error": error} if error else {}),
    }


def folder_of(folder: Path, trials: list[dict], name: str = "training.learning_rate") -> Path:
    """A search's folder, as the command writes it."""
    folder.mkdir()
    begun = {
        "format": 1,
        "seed": 4,
        "space": {name: "0.0001..0.01 log"},
        "recipe": {"training": {"score": {"relations.f1": 1.0, "relations.accuracy": 0.5}}},
        "data": {"data/dev.txt": "ab" * 32},
    }
    (folder / "search.json").write_text(json.dumps(begun))
    (folder / "trials.jsonl").write_text("".join(json.dumps(row) + "\n" for row in trials))
    (folder / "importance.json").write_text(json.dumps({name: 1.0} if len(trials) > 3 else {}))
    return folder


def four(name: str = "training.learning_rate", error: str = "the loss is not finite") -> list[dict]:
    return [
        trial(1, "completed", [0.25, 0.5], {name: 1e-4}),
        trial(2, "completed", [0.5, 0.75, 0.7], {name: 2e-3}),
        trial(3, "pruned", [0.125, 0.1], {name: 5e-3}),
        trial(4, "failed", [], {name: 1e-2}, error),
        trial(5, "unfinished", [0.3], {}),
    ]


def tables(page: Page) -> dict[str, list[list]]:
    """The rows of each table, with the texts of links."""
    found = [block for section in page.sections for block in section.blocks if isinstance(block, Table)]
    return {
        table.caption.partition(":")[0]: [
            [c.text if isinstance(c, Link) else c for c in row] for row in table.rows
        ]
        for table in found
    }


def test_trials_are_grouped_and_the_best_is_first(tmp_path):
    folder = folder_of(tmp_path / "s", four())
    page = search_page(folder)
    found = tables(page)
    assert found["Its settings"] == [["training.learning_rate", "0.002"]]
    assert found["Completed trials, the best first"] == [
        ["2", "75.00", 2, "0.002"],
        ["1", "50.00", 2, "0.0001"],
    ]
    assert found["Pruned trials"] == [["3", 2, "12.50", "0.005"]]
    assert found["Other trials"] == [
        ["4", "failed", "the loss is not finite", "0.01"],
        ["5", "unfinished", "–", "–"],
    ]
    assert found["Space"] == [["training.learning_rate", "0.0001..0.01 log"]]
    assert found["Data files"] == [["data/dev.txt", "ab" * 8]]
    assert found["Importance"] == [["training.learning_rate", "100.0"]]
    charts = [block for section in page.sections for block in section.blocks if isinstance(block, Chart)]
    assert charts[0].title == "relations.f1 + 0.5 × relations.accuracy of each completed trial, %"
    assert charts[0].lines == {
        "the trial": [(1.0, 50.0), (2.0, 75.0)],
        "the best so far": [(1.0, 50.0), (2.0, 75.0)],
    }
    assert charts[1].lines["trial 2"] == [(1.0, 50.0), (2.0, 75.0), (3.0, 70.0)]


def test_the_best_trials_own_report_is_linked_if_it_is_there(tmp_path):
    folder = folder_of(tmp_path / "my search", four())
    commands = [b.text for b in search_page(folder).sections[0].blocks if isinstance(b, Command)]
    run = f"{folder}/trials/0002"
    assert commands == [
        f"mmkit train '{folder}/best.cfg'",
        f"mmkit report '{run}' --output '{run}/report.html'",
    ]
    (folder / "trials/0002").mkdir(parents=True)
    (folder / "trials/0002/report.html").touch()
    linked = [b for b in search_page(folder).sections[0].blocks if isinstance(b, Link)]
    assert linked == [Link("The report of trial 2", folder / "trials/0002/report.html")]


def test_a_search_without_a_completed_trial_says_so(tmp_path):
    folder = folder_of(tmp_path / "s", [])
    (folder / "trials.jsonl").unlink()
    texts = [b for section in search_page(folder).sections for b in section.blocks if isinstance(b, str)]
    assert texts[0] == "No trial is completed yet." and texts[2] == "No trial has begun."
    assert "too few trials" in texts[1] and not tables(search_page(folder)).keys() & {"Importance"}


def test_another_folder_is_not_a_search(tmp_path):
    assert search_page(tmp_path) is None


@pytest.mark.parametrize(
    ("file", "content", "where"),
    [
        ("search.json", "{}", "search.json"),
        ("search.json", '{"format": 1, "space": {}, "recipe": {}, "data": {}}', "search.json"),
        ("trials.jsonl", '{"trial": 1}\n', "trials.jsonl:1"),
        ("trials.jsonl", "[" * 100_000, "trials.jsonl:1"),
        ("trials.jsonl", b"\xff\xfe", "trials.jsonl:1"),
        *(
            ("trials.jsonl", json.dumps(trial(1, "completed", [0.5], {})).replace(old, new), "trials.jsonl:1")
            for old, new in (
                ('"trial": 1', '"trial": 1e999'),
                ('"trial": 1', f'"trial": {HUGE}'),
                ('"trial": 1', '"trial": 1.5'),
                ('"score": 0.5', f'"score": {HUGE}'),
                ('"score": 0.5', '"score": 1e308'),
                ('"1": 0.5', f'"1": {HUGE}'),
                ('"1": 0.5', f'"{HUGE}": 0.5'),
            )
        ),
        (
            "search.json",
            f'{{"format": 1, "space": {{}}, "recipe": {{"training": {{"score": {{"f1": {HUGE}}}}}}}, "data": {{}}}}',
            "search.json",
        ),
        ("importance.json", f'{{"x": {HUGE}}}', "importance.json"),
        ("importance.json", '{"x": 1e999}', "importance.json"),
        ("importance.json", "[]", "importance.json"),
        ("importance.json", '{"x": NaN}', "importance.json"),
    ],
)
def test_a_damaged_file_is_one_message(tmp_path, file, content, where):
    folder = folder_of(tmp_path / "s", four())
    (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with raises("search.damaged") as caught:
        search_page(folder)
    assert where in caught.value.where and len(str(caught.value)) < 500


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_of_a_search_in_a_browser(browser, tmp_path, scheme):
    """Hostile names and reasons are text; nothing is wrong for a screen reader; no scroll on a telephone."""
    pytest.importorskip("mmkit_report", reason="mmkit-report is not installed")
    folder = folder_of(tmp_path / "s", four(EVIL, EVIL), EVIL)
    file = tmp_path / "report.html"
    done = CliRunner().invoke(main, ["report", str(folder), "--output", str(file)])
    assert done.exit_code == 0, done.output
    page = browser.new_context(viewport={"width": 390, "height": 800}, color_scheme=scheme).new_page()
    problems = problems_of(page, ("data:", f"file://{tmp_path}/"))
    page.goto(f"file://{file}")
    assert page.get_by_role("table", name="Completed trials").get_by_role("row").count() == 3
    assert page.get_by_role("link", name="2", exact=True).get_attribute("href") == "./s/trials/0002"
    assert page.get_by_role("rowheader", name="</script><img src=x").count() == 3  # best, importance, space
    assert page.evaluate("window.pwned") is None and page.locator("img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert inaccessible(page) == [] and problems == []
