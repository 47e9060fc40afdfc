"""Running a recipe's annotators: each is built once, and runs over every split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from mmkit.annotators.base import Annotator
from mmkit.annotators.run import Compute, annotate, refuse
from mmkit.data.types import Entity, Example
from mmkit.loading.split import Progress, Split
from mmkit.recipe import Recipe

CHUNK = 4096
"""Entities that are annotated together, so that memory stays bounded; results are stored after each chunk."""


@dataclass(frozen=True)
class Annotation:
    """The annotators of a recipe by name, and the device that their models run on."""

    annotators: Mapping[str, Annotator]
    device: str = "cpu"
    progress: Progress | None = None
    unwritten: tuple[str, ...] = ()
    """The settings that name what would have been written, where nothing is to be: `annotators.candidates.output`."""
    compute: Compute | None = None
    """What computes results that are not stored, if not this process."""

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        device: str = "cpu",
        progress: Progress | None = None,
        *,
        writing: bool = True,
        compute: Compute | None = None,
    ) -> Annotation:
        """A recipe's annotators, in its order. Unless `writing`, without what they would write beside the store: a
        run from elsewhere may name any path."""
        unwritten = () if writing else tuple(_written(recipe))
        recipe = recipe.with_overrides(dict.fromkeys(unwritten)) if unwritten else recipe
        built = {name: recipe.build(f"annotators.{name}") for name in recipe.parts("annotators")}
        return cls(built, device, progress, unwritten, compute)

    @property
    def sections(self) -> dict[str, Annotator]:
        """The annotators, by the section of the recipe that names them."""
        return {f"annotators.{name}": annotator for name, annotator in self.annotators.items()}

    def over(self, what: Literal["examples", "entities"]) -> dict[str, Annotator]:
        """The annotators of examples, or of entities."""
        return {name: annotator for name, annotator in self.annotators.items() if annotator.over == what}

    def annotate_split(self, split: Split, entities: Sequence[Entity] = ()) -> None:
        """Replace a split's examples by annotated ones; `entities` is the recipe's knowledge base.

        Raises what `mmkit.annotators.run.annotate` raises.
        """
        split.examples = self.annotated(split.examples, entities, split.name)
        for name, annotator in self.over("examples").items():
            split.failures |= annotator.failures
            split.annotated(name, annotator)

    def annotated(
        self, examples: Sequence[Example], entities: Sequence[Entity] = (), called: str = "examples"
    ) -> list[Example]:
        """Examples with every annotation, in order; `called` is their name in reports of progress."""
        done = list(examples)
        for name, annotator in self.over("examples").items():
            annotator.entities = entities
            reporter = self._reporter(f"{name} ({called})")
            done = annotate(annotator, done, self.device, reporter, self.compute)
        return done

    def annotated_entities(self, entities: Iterable[Entity], split: Split) -> Iterator[Entity]:
        """Entities with every annotation, chunk by chunk; `split` is told which models made them.

        Records that failed go to its `failures`, by id, if that is not an error. Errors are raised at the end, when
        the other results are stored.
        """
        found = self.over("entities")
        strict = {name for name, annotator in found.items() if not annotator.keep_going}
        unforgiven: dict[str, str] = {}
        remaining, done = iter(entities), 0
        while records := list(islice(remaining, CHUNK)):
            for name, annotator in found.items():
                report = self._reporter(f"{name} (entities from {done:,} on)")
                forgiving, annotator.keep_going = annotator.keep_going, True
                try:
                    records = annotate(annotator, records, self.device, report, self.compute)
                finally:
                    annotator.keep_going = forgiving
                (unforgiven if name in strict else split.failures).update(annotator.failures)
                split.annotated(name, annotator)
            done += len(records)
            yield from records
        refuse(unforgiven)

    def _reporter(self, label: str) -> _Reporter | None:
        return None if self.progress is None else _Reporter(self.progress, label)


@dataclass(frozen=True)
class _Reporter:
    """Tells `progress` how much of one thing is done."""

    progress: Progress
    label: str

    def __call__(self, done: int, total: int) -> None:
        self.progress(self.label, done, total)


def _written(recipe: Recipe) -> Iterator[str]:
    """The settings of annotators that name files or folders to write, those that are set."""
    for name in recipe.parts("annotators"):
        section = f"annotators.{name}"
        for argument in recipe.part_class(section, "annotators").writes:
            if recipe.config["annotators"][name].get(argument) is not None:
                yield f"{section}.{argument}"
