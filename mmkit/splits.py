"""From a recipe's `[data]` and `[annotators]` to examples in memory, with what was read and from where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mmkit.data.fingerprints import file_sha256, known_variant
from mmkit.data.reader import Reader
from mmkit.data.types import Entity, Example
from mmkit.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from mmkit.recipe import Recipe

ENTITIES = "entities"


@dataclass
class Split:
    """One split's records, and what a run's `run.json` keeps of their origin."""

    name: str
    examples: list[Example] = field(default_factory=list)
    entities: list[Entity] = field(default_factory=list)
    repairs: dict[str, int] = field(default_factory=dict)
    files: list[dict[str, Any]] = field(default_factory=list)

    @property
    def records(self) -> list[Example | Entity]:
        """Examples or entities, whichever the split holds."""
        return [*self.examples, *self.entities]

    @property
    def origin(self) -> dict[str, Any]:
        """Counts, file fingerprints and repairs as JSON."""
        return {
            "records": len(self.records),
            "files": self.files,
            "repairs": dict(self.repairs),
        }

    def notes(self) -> list[str]:
        """What was read and from where, and what was skipped or read with leniency, as lines for the user."""
        main = self.files[0]
        variant = f"{main['variant'] or 'unknown variant'}, sha256 {main['sha256'][:12]}"
        read = f"data.{self.name}: {len(self.records)} records from {main['file']} ({variant})"
        return [read, *(f"data.{self.name}: {count} × {reason}" for reason, count in self.repairs.items())]


def split_names(recipe: Recipe) -> list[str]:
    """The splits of examples a recipe names, without the knowledge base."""
    return [name for name in recipe.parts("data") if name != ENTITIES]


def read_split(recipe: Recipe, name: str) -> Split:
    """Read a split whole, as it is on disk. Raises `DataError` if it is unknown, missing or empty."""
    known = recipe.parts("data")
    if name not in known:
        raise DataError(
            f"the recipe has no split {name!r}", where=recipe.path, hint=did_you_mean(name, known)
        )
    reader: Reader = recipe.build(f"data.{name}")
    split = Split(name)
    seen: set[str] = set()
    for record in reader:
        if record.id in seen:
            raise DataError(
                f"two records have the id {record.id!r}", where=reader.path, hint="make ids unique"
            )
        seen.add(record.id)
        if isinstance(record, Entity):
            split.entities.append(record)
        else:
            split.examples.append(record)
    if not seen:
        raise DataError("there is no record in this file", where=reader.path)
    if (name == ENTITIES) != bool(split.entities):
        wanted, got = ("entities", "examples") if name == ENTITIES else ("examples", "entities")
        raise DataError(f"data.{name} needs {wanted}, but its reader gives {got}", where=reader.path)
    split.repairs = dict(reader.repairs)
    split.files = [
        {"file": str(path), "sha256": sha, "variant": known_variant(sha)}
        for path in reader.files()
        for sha in [file_sha256(path)]
    ]
    return split


def annotate_split(
    recipe: Recipe, split: Split, device: str, progress: Callable[[str, int, int], None] | None = None
) -> None:
    """Run the recipe's annotators over a split, in their order; stored results are not computed again."""
    from mmkit.annotators.run import annotate

    for name in recipe.parts("annotators"):
        annotator = recipe.build(f"annotators.{name}")

        def report(done: int, total: int, name: str = name) -> None:
            if progress:
                progress(f"{name} ({split.name})", done, total)

        if annotator.over == ENTITIES:
            split.entities = list(annotate(annotator, split.entities, device, report))
        else:
            split.examples = list(annotate(annotator, split.examples, device, report))


def read_splits(
    recipe: Recipe,
    names: Sequence[str],
    device: str = "cpu",
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Split]:
    """Read and annotate several splits."""
    splits = {}
    for name in names:
        splits[name] = read_split(recipe, name)
        annotate_split(recipe, splits[name], device, progress)
    return splits


def read_entities(recipe: Recipe) -> list[Entity]:
    """The recipe's knowledge base, annotated; none if it has no `[data.entities]`."""
    if ENTITIES not in recipe.parts("data"):
        return []
    return read_splits(recipe, [ENTITIES])[ENTITIES].entities
