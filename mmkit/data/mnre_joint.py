"""`mmkit.mnre_joint.v1`: MNRE's instances joined to sentences with typed entities and all their relations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from mmkit.data.joint import joint
from mmkit.data.mnre import MnreReader
from mmkit.data.problems import Place
from mmkit.data.reader import Guess
from mmkit.data.types import Example, Relation
from mmkit.errors import DataError

NONE = "None"
"""MNRE's name for a pair that has no relation."""


class MnreJointReader(MnreReader):
    """Reads MNRE as `mmkit.mnre.v1` does, and makes one example of the instances with equal tokens and photo.

    The types of the entities are told by the relation's name: `/per/loc/place_of_birth` becomes the relation
    `place_of_birth` from a `per` to a `loc`. So pairs without a relation, whose label is `none_label`, tell no
    entities: they are left out, as are sentences that have no other; both are counted. An example has the id, the
    images and the place in the order of its first instance. As instances of a sentence may stand anywhere, the whole
    file is read before the first example is given.
    """

    def __init__(
        self,
        root: str,
        file: str,
        *,
        images: str | None = "images",
        crops: str | None = None,
        crop_images: str = "crops",
        max_crops: int = 3,
        missing_crops: Literal["error", "none"] = "error",
        none_label: str = NONE,
        blank_images: bool = False,
    ) -> None:
        super().__init__(
            root,
            file,
            images=images,
            crops=crops,
            crop_images=crop_images,
            max_crops=max_crops,
            missing_crops=missing_crops,
            blank_images=blank_images,
        )
        self.none_label = none_label

    @classmethod
    def recognize(cls, path: Path, head: bytes) -> Guess | None:
        """Nothing: `mmkit.mnre.v1` reads the same files, one pair at a time."""
        return None

    def __iter__(self) -> Iterator[Example]:
        first: dict[tuple[Any, ...], Example] = {}
        relations: dict[str, list[Relation]] = {}
        places: dict[str, Place] = {}
        for record, instance in self.instances():
            example = first.setdefault((record.text("img_id"), *instance.tokens), instance)
            places.setdefault(example.id, Place(record.where))
            found = relations.setdefault(example.id, [])
            [relation] = instance.relations
            if relation.label == self.none_label:
                self.repairs[f"pair without a relation ({self.none_label}) left out"] += 1
                continue
            try:
                found.append(_typed(relation, record.where, self.none_label))
            except DataError as error:
                self.refuse(error)
        for example in first.values():
            self.place = places[example.id]
            if relations[example.id]:
                yield replace(example, **joint(relations[example.id], self.repairs))
            else:
                self.repairs["sentence without a relation left out"] += 1

    @classmethod
    def sample(cls, folder: Path, seed: int) -> dict[str, dict[str, Any]]:
        from mmkit.data.sample.joint import mnre_joint_sample

        return mnre_joint_sample(folder, seed)


def _typed(relation: Relation, where: str, none_label: str) -> Relation:
    """The relation by its short name, its ends labelled with their types."""
    label = relation.label or ""
    root, *names = label.split("/")
    if root or len(names) != 3 or not all(names):
        raise DataError(
            f"the relation {label!r} does not name the types of its entities",
            where=where,
            hint="names are /HEAD TYPE/TAIL TYPE/RELATION, such as /per/loc/place_of_birth, or "
            f"none_label = {none_label!r} for no relation",
            code="mnre.untyped-relation",
        )
    head, tail, name = names
    return Relation(replace(relation.head, label=head), replace(relation.tail, label=tail), name)
