"""Reports of a few made-up posts, opened in a browser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from browser import problems_of
from mmkit import Example, Prediction, Span
from mmkit_report.write_report import write_report
from scored_runs import write_data, write_run


class Opened:
    """A page that notes errors, and requests that leave its folder."""

    def __init__(self, browser: Any, file: Path, fragment: str = "", **options: Any) -> None:
        self.page = browser.new_context(**options).new_page()
        self.problems = problems_of(self.page, ("data:", f"file://{file.parent}/"))
        self.page.goto(f"file://{file}{fragment}")

    def heading(self) -> str:
        return str(self.page.locator("#example").inner_text())

    def status(self) -> str:
        return str(self.page.get_by_role("status").inner_text())


def posts(number: int) -> tuple[list[Example], list[Prediction]]:
    """Sentences of which each third has a wrong label, and each seventh a missed name."""
    examples, predictions = [], []
    for i in range(number):
        gold = (Span(1, 2, "PER"), Span(3, 4, "LOC"))
        examples.append(Example.from_tokens(f"p{i}", ["see", f"Mara{i}", "in", "Oslo", "now"], spans=gold))
        said = replace(gold[0], label="ORG") if i % 3 == 0 else gold[0]
        found = (said,) if i % 7 == 0 else (said, gold[1])
        predictions.append(Prediction(f"p{i}", found, tuple(0.5 + (i % 50) / 100 for _ in found)))
    return examples, predictions


def report(tmp_path: Path, number: int) -> Path:
    examples, predictions = posts(number)
    run = write_run(tmp_path / "run", write_data(tmp_path / "data", examples), predictions)
    write_report([run], "test", tmp_path / "report.html")
    return tmp_path / "report.html"
