"""What is known about a split before training: its counts and its problems."""

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
    """The report of one split."""

    split: Split
    labels: dict[str, Counter[str]] = field(default_factory=dict)
    """Kind (the task's name: `spans`, `relations`) → label → count."""
    tokens: int = 0
    longest: int = 0
    images: ImageReport = field(default_factory=ImageReport)
    problems: list[str] = field(default_factory=list)
    """Problems that stop training."""
    warnings: list[str] = field(default_factory=list)
    """What a user should know about."""
    lines: tuple[str, ...] = ()
    """The task's facts about it."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The same as JSON."""
    codes: list[str] = field(default_factory=list)
    """The codes of `problems`, in order."""
    full: list[str] = field(default_factory=list)
    """One line for each record and file with a problem or a warning."""
    listed_in: Path | None = None
    """The file with these lines, once they are written."""
    shortened: bool = False
    """Whether messages name only some of them."""

    def add(self, problem: Problem | str, level: str = "error") -> None:
        """Add a problem or a warning, as text and with its places."""
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
        """The problem, with a hint to rename labels when they are read, if the split's reader can (see its
        `settings`)."""
        if problem.rename is None or "rename" not in settings:
            return problem
        before: dict[str, str] = settings["rename"] or {}
        alike = {label.casefold(): meant for label, meant in before.items()}  # "other", if there is "OTHER"
        meant = {label: near or alike.get(label.casefold(), "") for label, near in problem.rename.items()}
        found = {label: near for label, near in meant.items() if near} or {"LABEL": "OTHER LABEL"}
        given = {**before, **found}
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
    """(split, code, message) of each problem that stops training."""
    return [
        (report.split.name, code, said)
        for report in reports
        for code, said in zip(report.codes, report.problems, strict=True)
    ]
