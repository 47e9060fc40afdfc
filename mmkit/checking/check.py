"""`mmkit check`: what is in a recipe's data, and what is wrong with it, before a GPU is touched."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from mmkit.data.image_report import ImageReport, scan_images
from mmkit.data.knowledge import KnowledgeBase
from mmkit.errors import MMKitError
from mmkit.loading.split import ENTITIES, Split
from mmkit.loading.splits import read_split
from mmkit.tasks.link_report import LinkingReport, check_linking

if TYPE_CHECKING:
    from mmkit.recipe import Recipe


@dataclass
class SplitReport:
    """What one split holds."""

    split: Split
    labels: dict[str, Counter[str]]
    """`spans`, `relations` and the like → label → count."""
    tokens: int
    longest: int
    images: ImageReport
    problems: list[str] = field(default_factory=list)
    """What would stop training."""
    warnings: list[str] = field(default_factory=list)
    """What a user should know of."""
    linking: LinkingReport | None = None
    """Of mentions, where the recipe has a knowledge base."""

    def to_json(self) -> dict[str, Any]:
        """The report as JSON."""
        return {
            **self.split.origin,
            "labels": {kind: dict(counts) for kind, counts in self.labels.items()},
            "tokens": self.tokens,
            "longest_sentence": self.longest,
            "images": self.images.counts(),
            **({"linking": asdict(self.linking)} if self.linking is not None else {}),
            "problems": self.problems,
            "warnings": self.warnings,
        }


def check(recipe: Recipe, decode: bool = False) -> dict[str, SplitReport]:
    """Read every split and look at its labels and pictures (`decode`: decode each picture fully).

    Raises `DataError` where a file cannot be read at all.
    """
    reports: dict[str, SplitReport] = {}
    for name in recipe.parts("data"):
        reports[name] = _report(recipe, read_split(recipe, name), decode)
    if ENTITIES in reports:
        _report_linking(reports)
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


def lacking(recipe: Recipe) -> list[str]:
    """What the recipe's encoders and annotators build on and is not on this machine: trained runs, indexes."""
    problems = []
    for section in ("model.encoders", "model.entities.encoders", "annotators"):
        for name in recipe.parts(section):
            try:
                recipe.build(f"{section}.{name}").check_there()
            except MMKitError as error:
                problems.append(f"[{section}.{name}] {error}")
    return problems


def _report_linking(reports: dict[str, SplitReport]) -> None:
    """Look for the entities of all mentions: what training lacks is a problem, elsewhere it counts as wrong."""
    base = reports[ENTITIES].split.entities
    assert isinstance(base, KnowledgeBase)
    for name, report in reports.items():
        if name == ENTITIES:
            continue
        report.linking = check_linking(report.split.examples, base)
        found = report.problems if name == "train" else report.warnings
        found += report.linking.problems()
        if report.linking.absent:
            report.warnings.append(
                f"the knowledge base lacks {report.linking.absent:,} entities that are candidates"
            )


def _report(recipe: Recipe, split: Split, decode: bool) -> SplitReport:
    labels: dict[str, Counter[str]] = {}
    for example in split.examples:
        for span in example.spans:
            labels.setdefault("spans", Counter())[span.label] += 1
        for relation in example.relations:
            if relation.label is not None:
                labels.setdefault("relations", Counter())[relation.label] += 1
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
