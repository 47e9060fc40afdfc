"""`mimic.mentions.v1`: mentions in captioned photos, as MIMIC's authors publish three datasets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import Any, ClassVar

from mmkit.data.json_text import read_json
from mmkit.data.node import Node
from mmkit.data.problems import Place
from mmkit.data.reader import Guess, Reader
from mmkit.data.tokenize import token_bounds, tokenize
from mmkit.data.types import Example, Image, Mention, Span
from mmkit.errors import DataError, PartError
from mmkit_mimic.published import SOURCE, names_of_rows, rows_by_id, words
from mmkit_mimic.sample import SPLITS, world

NIL = "nil"
"""The answer of a mention whose entity is not in the knowledge base."""


class MentionReader(Reader):
    """Reads a JSON list of `{"mentions": "Jordan", "sentence": ..., "imgPath": "x/y.jpg", "answer": "Q41421"}`.

    `mentions` is one name, percent-encoded. `answer` is a Wikidata id; `qids` is the table of these ids and entities
    (`qid2id.json`). Where several ids mean one entity, the example gets the first, as in `mimic.entities.v1`. Mentions
    with the answer "nil" are skipped and counted. The photo is the file of `images` that the last part of `imgPath`
    names; if there is none, the name up to its first dot with ".jpg", as in the authors' code. `first` is the share of
    the file that is read, from its beginning: 0.1 and 0.2 are the authors' low-resource setting.
    """

    source: ClassVar[str] = SOURCE
    form: ClassVar[str] = "a JSON list of records with `mentions`, `sentence`, `imgPath` and `answer`"
    pictures_in: ClassVar[str] = "images"

    def __init__(
        self,
        root: str,
        file: str,
        *,
        images: str | None = "mention_image",
        qids: str = "qid2id.json",
        first: float = 1.0,
        blank_images: bool = False,
    ) -> None:
        super().__init__(root, file, blank_images)
        if not 0 < first <= 1:
            raise PartError(
                f"first is a share of the file, above 0 and up to 1, not {first}", code="part.setting"
            )
        self.images, self.qids, self.first = images, qids, first

    def files(self) -> list[Path]:
        return [self.path, Path(self.root) / self.qids]

    def __iter__(self) -> Iterator[Example]:
        self.repairs.clear()
        self.place = None
        records = Node(read_json(self.path, self.source, self.repairs), str(self.path))
        rows = rows_by_id(Path(self.root) / self.qids, self.repairs)
        ids = names_of_rows(rows)
        every = list(records.items())
        for i, record in enumerate(every[: ceil(self.first * len(every))]):
            node = Node(record.value, f"{self.path}, record {i}")
            try:
                example = self._example(node, i, rows, ids)
            except DataError as error:
                self.refuse(error)
                continue
            if example is not None:
                self.place = Place(node.where)
                yield example

    def _example(self, node: Node, i: int, rows: dict[str, int], ids: dict[int, str]) -> Example | None:
        node.object()
        answer, text = node["answer"].text(), node["sentence"].text()
        if answer == NIL:
            self.repairs['mention with the answer "nil", skipped'] += 1
            return None
        if answer in rows:
            answer = ids[rows[answer]]
        else:
            self.repairs[f"mention whose answer is not in {self.qids}"] += 1
        tokens, offsets = tokenize(text)
        return Example(
            f"{self.path.stem}:{i}",
            text,
            tokens,
            offsets,
            images=self._photo(node),
            mention=_mention(words(node["mentions"]), text, offsets),
            entity=answer,
        )

    def _photo(self, node: Node) -> tuple[Image, ...]:
        if self.images is None:
            return ()
        name = (node.optional("imgPath", Node.text) or "").replace("\\", "/").rpartition("/")[2]
        if not name.strip():
            self.repairs["mention without a photo"] += 1
            return ()
        if self.blank_images:
            return (Image(None),)
        folder = os.path.join(self.root, self.images)  # noqa: PTH118 - pathlib is slow, and this is called a lot
        path, cut = (os.path.join(folder, n) for n in (name, f"{name.partition('.')[0]}.jpg"))  # noqa: PTH118
        if path != cut and not os.path.exists(path) and os.path.exists(cut):  # noqa: PTH110
            self.repairs["photo found by its name up to the first dot"] += 1
            path = cut
        return (Image(path),)

    @classmethod
    def recognize(cls, path: Path, head: bytes) -> Guess | None:
        """A file beside `qid2id.json` whose first record has the right fields."""
        fields = (b'"mentions"', b'"sentence"', b'"imgPath"', b'"answer"')
        there = head.lstrip().startswith(b"[") and all(field in head for field in fields)
        if not there or not path.with_name("qid2id.json").is_file():
            return None
        return Guess("mentions as MIMIC's authors publish them")

    @classmethod
    def sample(cls, folder: Path, seed: int) -> dict[str, dict[str, Any]]:
        root = str(world(folder, seed))
        shared = {"root": root, "images": "mention_image", "qids": "qid2id.json"}
        return {split: shared | {"file": f"sample_{split}.json"} for split in SPLITS}


def _mention(name: str, text: str, offsets: tuple[tuple[int, int], ...]) -> Mention:
    """The mention, with its place in the sentence if it stands there as whole tokens."""
    start = text.find(name) if name else -1
    while start >= 0:
        try:
            return Mention(name, Span(*token_bounds(text, offsets, start, start + len(name)), "mention"))
        except DataError:
            start = text.find(name, start + 1)
    return Mention(name)
