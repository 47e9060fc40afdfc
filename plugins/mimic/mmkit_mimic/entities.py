"""`mimic.entities.v1`: a knowledge base with photos of its entities, as MIMIC's authors publish it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from mmkit.data.crops import under
from mmkit.data.image_paths import Photos
from mmkit.data.json_text import read_json
from mmkit.data.node import Node
from mmkit.data.problems import Place
from mmkit.data.reader import Guess, Reader
from mmkit.data.types import Entity, Image
from mmkit.errors import DataError
from mmkit_mimic.published import SOURCE, names_of_rows, rows_by_id, words
from mmkit_mimic.sample import world

ENTITY = "entity"


class EntityReader(Reader):
    """Reads a JSON list of `{"id": 0, "type": "entity", "entity_name": ..., "attr": ..., "image_list": [...]}`.

    An entity's id is the first Wikidata id that the table `qids` (`qid2id.json`) gives for its `id`. Its name is
    `entity_name`, percent-encoded; its description is `attr`; its photos are the files of `images` that `image_list`
    names. A record of another `type` is an error. `more` names further files of the same form.
    """

    source: ClassVar[str] = SOURCE
    form: ClassVar[str] = "a JSON list of records with `id`, `entity_name`, `attr` and `image_list`"
    pictures_in: ClassVar[str] = "images"

    def __init__(
        self,
        root: str,
        file: str = "kb_entity.json",
        *,
        more: list[str] | None = None,
        images: str | None = "kb_image",
        qids: str = "qid2id.json",
        blank_images: bool = False,
    ) -> None:
        super().__init__(root, file, blank_images)
        self.more, self.images, self.qids = list(more or ()), images, qids

    def files(self) -> list[Path]:
        return [Path(self.root) / name for name in (self.file, *self.more, self.qids)]

    def __iter__(self) -> Iterator[Entity]:
        self.repairs.clear()
        self.place = None
        ids: dict[int, str] | None = None
        for name in (self.file, *self.more):
            path = Path(self.root) / name
            records = Node(read_json(path, self.source, self.repairs), str(path))
            if ids is None:  # after the first file, which is the one that is named if both are missing
                ids = names_of_rows(rows_by_id(Path(self.root) / self.qids, self.repairs))
            for i, record in enumerate(records.items()):
                node = Node(record.value, f"{path}, record {i}")
                try:
                    entity = self._entity(node, ids)
                except DataError as error:
                    self.refuse(error)
                    continue
                self.place = Place(node.where)
                yield entity

    def _entity(self, node: Node, ids: dict[int, str]) -> Entity:
        node.object()
        if node["type"].text() != ENTITY:
            node["type"].fail(f'"{ENTITY}": other records have no text of their own')
        number = node["id"].count()
        if number not in ids:
            raise DataError(
                f"its id, {number}, is in no line of {self.qids}",
                where=node.where,
                hint=f"add its Wikidata id to {self.qids}, or remove the record",
                code="mimic.no-wikidata-id",
            )
        photos = self._photos(node)
        if not photos and self.images is not None:
            self.repairs["entity without a photo"] += 1
        attributes = node.optional("attr", Node.text) or ""
        return Entity(ids[number], words(node["entity_name"]), description=attributes.strip(), images=photos)

    def _photos(self, node: Node) -> tuple[Image, ...]:
        names = node["image_list"].strings() if node.value.get("image_list") is not None else ()
        if self.images is None:
            return ()
        if self.blank_images:
            return tuple(Image(None) for _ in names)
        photos = Photos(under(self.root, self.images), self.repairs, "")
        return tuple(Image(photos.path(name, node.where)) for name in names if name.strip())

    @classmethod
    def recognize(cls, path: Path, head: bytes) -> Guess | None:
        """A file beside `qid2id.json` whose first record has the right fields."""
        fields = (b'"entity_name"', b'"image_list"', b'"attr"')
        there = head.lstrip().startswith(b"[") and all(field in head for field in fields)
        if not there or not path.with_name("qid2id.json").is_file():
            return None
        return Guess("entities as MIMIC's authors publish them")

    @classmethod
    def sample(cls, folder: Path, seed: int) -> dict[str, dict[str, Any]]:
        shared = {"images": "kb_image", "qids": "qid2id.json", "more": None}
        return {"entities": {"root": str(world(folder, seed)), "file": "kb_entity.json", **shared}}
