"""`mmkit check`: what is in a recipe's data, and what is wrong with it, before a GPU is touched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mmkit.data.image_report import ImageReport, scan_images
from mmkit.errors import MMKitError
from mmkit.loading.split import ENTITIES, Split
from mmkit.loading.splits import read_split
from mmkit.tasks import Survey, Task

if TYPE_CHECKING:
    from mmkit.annotators.base import Annotator
    from mmkit.encoders.base import Encoder
    from mmkit.recipe import Recipe


@dataclass
class SplitReport:
    """What one split holds."""

    split: Split
    labels: dict[str, Counter[str]]
    """Kind, as the task calls it (`spans`, `relations`), → label → count."""
    tokens: int
    longest: int
    images: ImageReport
    problems: list[str] = field(default_factory=list)
    """What would stop training."""
    warnings: list[str] = field(default_factory=list)
    """What a user should know of."""
    lines: tuple[str, ...] = ()
    """What the task sees in it."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The same as JSON."""

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
        }


def check(recipe: Recipe, decode: bool = False) -> dict[str, SplitReport]:
    """Read every split and look at its labels and pictures (`decode`: decode each picture fully).

    Raises `DataError` where a file cannot be read at all.
    """
    task: Task = recipe.build("model.decoder").task
    reports = {name: _report(recipe, task, read_split(recipe, name), decode) for name in recipe.parts("data")}
    base = reports[ENTITIES].split.entities if ENTITIES in reports else ()
    for name, report in reports.items():
        if name != ENTITIES:
            _survey(report, task.survey(report.split.examples, base), name == "train")
    train = reports["train"]
    train_texts = {example.text for example in train.split.examples}
    for name, report in reports.items():
        if name in ("train", ENTITIES):
            continue
        for kind, counts in report.labels.items():
            unseen = sorted(set(counts) - set(train.labels.get(kind, ())))
            if unseen:
                report.warnings.append(f"{kind} labels that train never shows: {', '.join(unseen)}")
        leaked = sum(example.text in train_texts for example in report.split.examples)
        if leaked:
            stand = "sentence stands" if leaked == 1 else "sentences stand"
            report.warnings.append(f"{leaked} {stand} in train too")
    return reports


def lacking(parts: Mapping[str, Encoder | Annotator]) -> list[str]:
    """What encoders and annotators, by section of the recipe, build on and is not on this machine: runs, indexes."""
    problems = []
    for section, part in parts.items():
        try:
            part.check_there()
        except MMKitError as error:
            problems.append(f"[{section}] {error}")
    return problems


def _survey(report: SplitReport, found: Survey, trained_on: bool) -> None:
    """Add what the task sees: what training lacks is a problem, elsewhere it counts as wrong."""
    report.lines, report.facts = found.lines, found.facts
    (report.problems if trained_on else report.warnings).extend(found.problems)
    report.warnings.extend(found.warnings)


def _report(recipe: Recipe, task: Task, split: Split, decode: bool) -> SplitReport:
    labels: dict[str, Counter[str]] = {}
    for example in split.examples:
        for kind, label in task.labels(example):
            labels.setdefault(kind, Counter())[label] += 1
    lengths = [len(example.tokens) for example in split.examples]
    images = scan_images(split.examples or split.entities, decode=decode)
    report = SplitReport(split, labels, sum(lengths), max(lengths, default=0), images)
    if images.bad:
        blanked = recipe.config["data"]["missing_images"] == "blank"
        message = f"{images.bad} of {images.total} pictures cannot be used ({images.faults()})"
        if blanked:
            message += "; they become blank ones"
        if images.photos and images.photos_missing == images.photos:
            message += f"; none of the photos exist: {_folder_hint(recipe, split.name)}"
        (report.warnings if blanked else report.problems).append(message)
    return report


def _folder_hint(recipe: Recipe, split: str) -> str:
    """Which setting of the recipe says where a split's photos are."""
    if "images" in recipe.config.get("paths", {}):
        return "is --paths.images right?"
    settings = recipe.config["data"][split]
    name = "images" if "images" in settings else "root"
    return f"is --data.{split}.{name} right?" if name in settings else "is the path to them right?"
