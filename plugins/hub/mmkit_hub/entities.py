"""The knowledge base of a run that links: put into a package as a file of texts, if somebody says its licence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmkit import Entity, Example, Recipe, build_part
from mmkit.encoders.base import Encoder
from mmkit.errors import DataError, RunError
from mmkit.fit import fitting_parts
from mmkit_hub.contents import KNOWLEDGE

READER = "mmkit.kb_jsonl.v1"
WITHOUT = (
    "leave out --entities-license; whoever loads the package then names a knowledge base: --entities kb.jsonl"
)


@dataclass
class Entities:
    """What was written of a knowledge base."""

    count: int = 0
    bytes: int = 0
    images: int = 0
    """Images that are left out, because the model does not look at them."""


def entity_settings() -> dict[str, Any]:
    """The recipe's settings that name a package's own knowledge base; a run's folder completes `root`."""
    folder, _, file = KNOWLEDGE.partition("/")
    return {"data.entities": {"@readers": READER, "root": folder, "file": file}}


def write_entities(recipe: Recipe, package: Path) -> Entities:
    """Write the recipe's knowledge base into a package, as canonical jsonlines without images.

    Raises `RunError` if there is none, if it cannot be read, or if the model looks at its images: a package holds none.
    """
    if "entities" not in recipe.parts("data"):
        raise RunError(
            "this run has no knowledge base, so there is nothing to include",
            where=recipe.path,
            hint="leave out --entities-license",
            code="hub.no-entities",
        )
    side = fitting_parts(recipe).entity_side
    looking = [] if side is None else list(side.named_encoders.items())
    target, found = package / KNOWLEDGE, Entities()

    def texts() -> Iterator[Entity]:
        for entity in recipe.build("data.entities"):
            if isinstance(entity, Example):
                continue  # a reader of entities gives none
            if entity.images:
                _check_unseen(entity, looking, recipe)
            found.count += 1
            found.images += len(entity.images)
            yield replace(entity, images=(), media=())

    target.parent.mkdir(exist_ok=True)
    try:
        build_part("writers", "mmkit.jsonl.v1", {}).write(target, texts())
    except DataError as error:
        raise RunError(
            f"the knowledge base cannot be read: {error.what}",
            where=error.where,
            hint=WITHOUT,
            code="hub.entities-unread",
        ) from error
    found.bytes = target.stat().st_size
    return found


def _check_unseen(entity: Entity, encoders: list[tuple[str, Encoder]], recipe: Recipe) -> None:
    """Raise `RunError` if an encoder of entities looks at an entity's images, or does not say whether it does."""
    for name, encoder in encoders:
        read = encoder.pictures_read(entity)
        if read is None or len(read):
            raise RunError(
                f"the model looks at the images of entities (encoder {name!r}), which a package does not hold",
                where=recipe.path,
                hint=WITHOUT,
                code="hub.entity-images",
            )
