"""`mmkit.wikiperson.v1`: people in news photos, without a sentence (WIKIPerson)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from mmkit.data.crops import under
from mmkit.data.image_paths import Photos
from mmkit.data.json_text import parse_line, read_json
from mmkit.data.mel import AUTHORS, Listed, MelReader
from mmkit.data.problems import Place
from mmkit.data.records import Node
from mmkit.data.types import Box, Example, Image
from mmkit.errors import DataError


class WikipersonReader(MelReader):
    """Reads `[{"id": 0, "image": "17.jpg", "boundingbox": "[50.5, 15.0, 75.0, 42.5]", "wikiid": "Q41421"}]`.

    Each record becomes an example without words: its text is empty and it has no mention. Its images are the photo
    and, as an object, the person's face, `boundingbox` (left, top, right, bottom in pixels; it may reach beyond the
    photo). Records without `wikiid` are skipped and counted. Candidate files list, for each gold entity, the other
    candidates.
    """

    form: ClassVar[str] = "a JSON list of photos, as WIKIPerson publishes it"
    kinds: ClassVar[frozenset[str]] = frozenset({"wikiperson"})

    source: ClassVar[str] = (
        "WIKIPerson is published at https://github.com/ict-bigdatalab/VNEL, "
        f"and as DWE's authors split it at {AUTHORS}"
    )
    listed_by: ClassVar[Listed] = "entity"

    def _examples(self) -> Iterator[Example]:
        value = Node(read_json(self.path, self.source, self.repairs), str(self.path), "file")
        for number, item in enumerate(value.items()):
            node = Node(item.value, f"{self.path}, record {number}")
            self.place = Place(node.where)
            try:
                example = self._example(node)
            except DataError as error:
                self.refuse(error)
                continue
            if example is not None:
                yield example

    def _example(self, node: Node) -> Example | None:
        """The example that a record is, if it has an entity."""
        node.object()
        entity = node.optional("wikiid", Node.text)
        if not entity:
            self.repairs["record without an entity, skipped"] += 1
            return None
        return Example(_id(node["id"]), "", (), (), images=self._pictures(node), entity=entity)

    def _pictures(self, node: Node) -> tuple[Image, ...]:
        box = _box(node["boundingbox"])
        if self.images is None:
            return ()
        photos = Photos(under(self.root, self.images), self.repairs, "")
        path = photos.named(node["image"].text(), node.where)
        return () if path is None else (Image(path), Image(path, "object", box))

    @classmethod
    def sample(cls, folder: Path, seed: int) -> dict[str, dict[str, Any]]:
        from mmkit.data.sample.mel import wikiperson_sample

        return wikiperson_sample(folder, seed)


def _id(node: Node) -> str:
    return node.value if isinstance(node.value, str) else str(node.count())


def _box(node: Node) -> Box:
    """A list of four numbers, or a JSON string of one, as published."""
    if isinstance(node.value, str):
        node = Node(parse_line(node.value, node.where), node.where, node.name)
    numbers = [item.number() for item in node.items()]
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        node.fail("[left, top, right, bottom]")
    left, top, right, bottom = numbers
    if left >= right or top >= bottom:
        raise DataError(f"the box {numbers} is empty", where=node.where, code="wikiperson.empty-box")
    return left, top, right, bottom
