"""The names of entities' fields in a file, and which field an unknown name probably means."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from mmkit.data.node import Node
from mmkit.errors import DataError, did_you_mean

FIELDS = ("id", "name", "description")

SYNONYMS = {
    "id": ("qid", "wikiid", "wiki_id", "wikidata_id", "entity_id", "entity", "uid", "key", "answer"),
    "name": ("entity_name", "label", "title", "entity", "wiki_title", "en_name", "word"),
    "description": ("desc", "text", "abstract", "summary", "definition", "content", "attr", "intro"),
}
"""Field → other common names for it."""

IDS = ("qid", "wikiid", "wikidata_id")
"""Fields that hold a better id than one called `id`, which may be a number of the record."""


@dataclass(frozen=True)
class EntityFields:
    """`called` maps a field to its name in the file. `named`: names come from another file, so records need none.

    Raises `DataError` for a field that entities do not have.
    """

    called: Mapping[str, str]
    named: bool = False

    def __post_init__(self) -> None:
        for field in self.called:
            if field not in FIELDS:
                raise DataError(
                    f"`fields` maps {field!r}, which entities do not have",
                    hint=did_you_mean(field, FIELDS),
                    code="part.setting",
                )

    def of(self, node: Node, with_id: bool, repairs: Counter[str]) -> dict[str, str]:
        """The name of each field in a record. Fields of other meaning are counted in `repairs`.

        Raises `DataError` for a record that lacks what `fields` names, and for one that seems to call its fields
        otherwise.
        """
        names = {field: self.called.get(field, field) for field in FIELDS}
        others = [key for key in node.value if key not in names.values()]
        lacking = [field for field in FIELDS if names[field] not in node.value]
        lacking = [f for f in lacking if (f != "id" or with_id) and (f != "name" or not self.named)]
        meant = {field: other for field in lacking if (other := _meant(field, others))}
        set_wrongly = any(field in self.called for field in lacking)
        if meant or set_wrongly or ("name" in lacking and others):
            raise self._otherwise(node, [names[field] for field in lacking], meant)
        for key in others:
            repairs[f"field {key!r} of an entity, which is not read"] += 1
        return names

    def _otherwise(self, node: Node, lacking: list[str], meant: Mapping[str, str]) -> DataError:
        has = ", ".join(f"`{key}`" for key in list(node.value)[:12]) or "no field"
        better = [name for name in IDS if name in node.value]
        fields = {**({"id": better[0]} if better else {}), **meant, **self.called} or {
            "id": "...",
            "name": "...",
            "description": "...",
        }
        return DataError(
            f"the entity has no {' and no '.join(f'`{name}`' for name in lacking)}; it has {has}",
            where=node.where,
            hint=f"say what its fields are called: fields = {json.dumps(fields, ensure_ascii=False)}",
            code="knowledge.fields",
        )


def _meant(field: str, others: list[str]) -> str:
    """Which of the other fields of a record is probably the one that is lacking; empty if none is."""
    return next((name for name in SYNONYMS[field] if name in others), "")
