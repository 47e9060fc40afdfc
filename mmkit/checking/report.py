"""What is known of a split before training: its counts, and what is wrong with it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmkit.data.image_report import ImageReport
from mmkit.data.problems import SHOWN, Problem
from mmkit.loading.split import Split


@dataclass
class SplitReport:
    """What one split holds."""

    split: Split
    labels: dict[str, Counter[str]] = field(default_factory=dict)
    """Kind, as the task calls it (`spans`, `relations`), → label → count."""
    tokens: int = 0
    longest: int = 0
    images: ImageReport = field(default_factory=ImageReport)
    problems: list[str] = field(default_factory=list)
    """What would stop training."""
    warnings: list[str] = field(default_factory=list)
    """What a user should know of."""
    lines: tuple[str, ...] = ()
    """What the task sees in it."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The same as JSON."""
    codes: list[str] = field(default_factory=list)
    """The codes of `problems`, in order."""
    full: list[str] = field(default_factory=list)
    """A line for every record and file that a problem or a warning is about."""
    listed_in: Path | None = None
    """The file that holds these lines, once they are written."""
    shortened: bool = False
    """Whether messages name fewer of those than there are."""

    def add(self, problem: Problem | str, level: str = "error") -> None:
        """Add a problem, or a warning, in words and with its places."""
        if isinstance(problem, str):
            problem = Problem(problem)
        said = problem.said(self.split.places)
        self.full += problem.listed(self.split.places)
        self.shortened = self.shortened or len(problem.at) > SHOWN
        if level == "warning" or problem.level == "warning":
            self.warnings.append(said)
        else:
            self.problems.append(said)
            self.codes.append(problem.code)

    def renaming(self, problem: Problem, settings: Mapping[str, Any]) -> Problem:
        """The problem with advice to rename labels as they are read, if the split's reader can (its `settings`)."""
        if problem.rename is None or "rename" not in settings:
            return problem
        given = {**(settings["rename"] or {}), **(problem.rename or {"LABEL": "OTHER LABEL"})}
        value = json.dumps(given, ensure_ascii=False)
        advice = (
            f"{problem.hint}; the reader's setting `rename` does it: data.{self.split.name}.rename = {value}"
        )
        return Problem(problem.what, problem.at, advice, problem.code, problem.level)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON."""
        return {
            **self.split.origin,
            "labels": {kind: dict(counts) for kind, counts in self.labels.items()},
            "tokens": self.tokens,
            "longest_sentence": self.longest,
            "images": self.images.counts(),
            **self.facts,
            "problems": self.problems,
            "warnings": self.warnings,
            **({"list": str(self.listed_in)} if self.listed_in else {}),
        }


def stopping(reports: Iterable[SplitReport]) -> list[tuple[str, str, str]]:
    """(split, code, message) of everything that would stop training."""
    return [
        (report.split.name, code, said)
        for report in reports
        for code, said in zip(report.codes, report.problems, strict=True)
    ]
