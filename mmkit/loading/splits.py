"""From a recipe's `[data]` and `[annotators]` to examples in memory, with what was read and from where."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mmkit.data.candidates import candidate_recall, recall_in_words
from mmkit.data.fingerprints import file_sha256, known_variant
from mmkit.data.reader import Reader
from mmkit.data.types import Entity, Example
from mmkit.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from mmkit.annotators.base import Annotator
    from mmkit.recipe import Recipe

ENTITIES = "entities"

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is, and how much there is."""


@dataclass
class Split:
    """One split's records, and what a run's `run.json` keeps of their origin.

    The split of entities is a knowledge base: its records stay on disk (`mmkit.data.knowledge`).
    """

    name: str
    examples: list[Example] = field(default_factory=list)
    entities: Sequence[Entity] = ()
    repairs: dict[str, int] = field(default_factory=dict)
    files: list[dict[str, Any]] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    """Record id → why an annotator could not annotate it, where that is no error."""

    def __len__(self) -> int:
        """The number of records."""
        return len(self.examples) or len(self.entities)

    @property
    def origin(self) -> dict[str, Any]:
        """Counts, file fingerprints and repairs as JSON."""
        return {"records": len(self), "files": self.files, "repairs": dict(self.repairs)}

    def notes(self) -> list[str]:
        """What was read and from where, what was skipped or read with leniency, and candidate recall, for the user."""
        main = self.files[0]
        variant = f"{main['variant'] or 'unknown variant'}, sha256 {main['sha256'][:12]}"
        read = f"data.{self.name}: {len(self)} records from {main['file']} ({variant})"
        counted = [f"data.{self.name}: {count} × {reason}" for reason, count in self.repairs.items()]
        failed = [f"data.{self.name}: {id} is not annotated: {why}" for id, why in self.failures.items()]
        listed = any(x.candidates for x in self.examples)
        recall = candidate_recall(self.examples) if listed else {}
        told = [f"data.{self.name}: {recall_in_words(recall)}"] if recall else []
        return [read, *counted, *failed, *told]


def split_names(recipe: Recipe) -> list[str]:
    """The splits of examples a recipe names, without the knowledge base."""
    return [name for name in recipe.parts("data") if name != ENTITIES]


def check_split(recipe: Recipe, name: str) -> None:
    """Raise `DataError` for a split that the recipe has not, or that holds no examples."""
    known = split_names(recipe)
    if name not in known:
        what = "holds entities, not examples" if name == ENTITIES else "is no split of the recipe"
        raise DataError(f"{name!r} {what}", where=recipe.path, hint=did_you_mean(name, known))


def read_split(recipe: Recipe, name: str) -> Split:
    """Read a split whole, as it is on disk. Raises `DataError` if it is unknown, missing or empty."""
    known = recipe.parts("data")
    if name not in known:
        raise DataError(
            f"the recipe has no split {name!r}", where=recipe.path, hint=did_you_mean(name, known)
        )
    if name == ENTITIES:
        from mmkit.loading.knowledge import read_knowledge_base

        return read_knowledge_base(recipe, annotated=False)
    reader: Reader = recipe.build(f"data.{name}")
    split = Split(name)
    seen: set[str] = set()
    for record in reader:
        if isinstance(record, Entity):
            raise DataError(f"data.{name} needs examples, but its reader gives entities", where=reader.path)
        if record.id in seen:
            raise DataError(
                f"two records have the id {record.id!r}", where=reader.path, hint="make ids unique"
            )
        seen.add(record.id)
        split.examples.append(record)
    if not seen:
        raise DataError("there is no record in this file", where=reader.path)
    split.repairs = dict(reader.repairs)
    split.files = fingerprints(reader)
    return split


def fingerprints(reader: Reader) -> list[dict[str, Any]]:
    """A reader's files with their hashes and, where known, the variant of the dataset they are.

    Raises `DataError` that says where the dataset comes from if one is missing.
    """
    try:
        hashes = {path: file_sha256(path) for path in reader.files()}
    except DataError as error:
        raise DataError(error.what, where=error.where, hint=error.hint or reader.source) from error
    return [{"file": str(path), "sha256": sha, "variant": known_variant(sha)} for path, sha in hashes.items()]


def annotators(recipe: Recipe, over: str) -> Iterator[tuple[str, Annotator]]:
    """A recipe's annotators of examples, or of entities, in its order."""
    for name in recipe.parts("annotators"):
        annotator: Annotator = recipe.build(f"annotators.{name}")
        if annotator.over == over:
            yield name, annotator


def annotate_split(
    recipe: Recipe,
    split: Split,
    device: str,
    progress: Progress | None = None,
    entities: Sequence[Entity] = (),
) -> None:
    """Run the recipe's annotators over a split of examples; stored results are not computed again.

    `entities` is the recipe's knowledge base.
    """
    from mmkit.annotators.run import annotate

    for name, annotator in annotators(recipe, "examples"):
        annotator.entities = entities

        def report(done: int, total: int, name: str = name) -> None:
            if progress:
                progress(f"{name} ({split.name})", done, total)

        split.examples = list(annotate(annotator, split.examples, device, report))
        split.failures |= annotator.failures


def read_splits(
    recipe: Recipe, names: Sequence[str], device: str = "cpu", progress: Progress | None = None
) -> dict[str, Split]:
    """Read and annotate several splits. The knowledge base comes first: annotators of examples may use it."""
    splits = {}
    base: Sequence[Entity] = ()
    needed = ENTITIES in names or any(True for _ in annotators(recipe, "examples"))
    if needed and ENTITIES in recipe.parts("data"):
        from mmkit.loading.knowledge import read_knowledge_base

        whole = read_knowledge_base(recipe, device, progress)
        base = whole.entities
        if ENTITIES in names:
            splits[ENTITIES] = whole
    for name in names:
        if name != ENTITIES:
            splits[name] = read_split(recipe, name)
            annotate_split(recipe, splits[name], device, progress, base)
    return {name: splits[name] for name in names}
