"""`mmkit.wikimel.v1` and `mmkit.richpedia.v1`: captions with mentions of entities (MELBench)."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from mmkit.data.crops import under
from mmkit.data.image_paths import Photos
from mmkit.data.json_text import read_json
from mmkit.data.mel import AUTHORS, MelReader, Sentence, split_of
from mmkit.data.problems import Place
from mmkit.data.reader import Guess, Reader
from mmkit.data.records import Node
from mmkit.data.types import Example, Image
from mmkit.errors import DataError

SOURCE = (
    "WikiMEL and Richpedia-MEL are published at https://github.com/seukgcode/MELBench, "
    f"and as DWE's authors split them at {AUTHORS}"
)
_HAS_LIST = re.compile(rb'"img_list"\s*:')


class Link(NamedTuple):
    """One mention of a record: its words, its entity's title and id ("" if the record has none)."""

    mention: str
    title: str
    answer: str


def melbench_records(reader: Reader) -> Iterator[tuple[str, Node]]:
    """(key, record) of a MELBench file, in its order. Errors name the file and the record's key.

    Others publish the same records as a list, each with its `id` (MIMIC's authors, for example). A record that is no
    object, or has no id, is refused by the reader (see `Reader.refuse`).
    """
    value = read_json(reader.path, reader.source, reader.repairs)
    listed = isinstance(value, list)
    named = enumerate(value) if listed else Node(value, str(reader.path)).object().items()
    for key, record in named:
        node = Node(record, f"{reader.path}, record {key!r}")
        try:
            node.object()
            name = _id(node["id"]) if listed else str(key)
        except DataError as error:
            reader.refuse(error)
            continue
        yield name, node


def _id(node: Node) -> str:
    return str(node.value) if type(node.value) is int else node.text()


def links(record: Node) -> list[Link]:
    """The mentions of a record. Raises `DataError` for lists of different lengths."""
    mentions = _one_or_more(record["mentions"])
    titles, answers = (
        _one_or_more(record[key]) if record.value.get(key) is not None else [""] * len(mentions)
        for key in ("entities", "answer")
    )
    if not len(mentions) == len(titles) == len(answers):
        raise DataError(
            f"{len(mentions)} `mentions`, {len(titles)} `entities`, {len(answers)} `answer`",
            where=record.where,
            code="melbench.lengths",
        )
    return [Link(*fields) for fields in zip(mentions, titles, answers, strict=True)]


def _one_or_more(node: Node) -> list[str]:
    """A string, or a list of strings in which null means none."""
    if isinstance(node.value, str):
        return [node.value]
    return ["" if item.value is None else item.text() for item in node.items()]


class _MelbenchReader(MelReader):
    source: ClassVar[str] = SOURCE
    split: Literal["train", "dev", "test"] | None

    def _examples(self) -> Iterator[Example]:
        for key, record in melbench_records(self):
            if self.split in (None, split_of(key)):
                self.place = Place(record.where)
                try:
                    found = list(self._of_record(key, record))
                except DataError as error:
                    self.refuse(error)
                    continue
                yield from found

    def _of_record(self, key: str, record: Node) -> Iterator[Example]:
        sentence = Sentence(record["sentence"].text(), self.repairs)
        images = self._pictures(key, record) if self.images is not None else ()
        found = links(record)
        for i, link in enumerate(found):
            if not link.answer or not link.mention:
                missing = "answer" if link.mention else "text"
                self.repairs[f"mention without {missing}, skipped"] += 1
                continue
            yield Example(
                key if len(found) == 1 else f"{key}:{i}",
                sentence.text,
                sentence.tokens,
                sentence.offsets,
                images=images,
                mention=sentence.mention(link.mention),
                entity=link.answer,
            )

    @abstractmethod
    def _pictures(self, key: str, record: Node) -> tuple[Image, ...]:
        """The images that a record names."""

    def _file(self, name: str) -> str | None:
        return Photos(under(self.root, self.images or ""), self.repairs, "").named(name, str(self.path))


class WikimelReader(_MelbenchReader):
    """Reads `{"17": {"sentence": ..., "mentions": [...], "entities": [...], "answer": [...]}}`, or a list of such
    records with an `id` each.

    Each mention becomes an example whose entity is its `answer`, with the id "<key>", or "<key>:<i>" if the record
    has several. The photo is `imgPath` if the record has it, else `<key>.jpg`. The published file has no splits:
    `split` takes a part of it (see `mmkit.data.mel.split_of`). A file that is one split, as in DWE's authors'
    version, is read whole with `split = None`.
    """

    form: ClassVar[str] = "a JSON object of records with `mentions`, as MELBench publishes it"
    kinds: ClassVar[frozenset[str]] = frozenset({"melbench"})

    def __init__(
        self,
        root: str,
        file: str,
        *,
        split: Literal["train", "dev", "test"] | None = None,
        images: str | None = "images",
        candidates: str | None = None,
        missing_candidates: Literal["error", "none"] = "error",
        max_candidates: int | None = None,
        blank_images: bool = False,
    ) -> None:
        super().__init__(
            root,
            file,
            images=images,
            candidates=candidates,
            missing_candidates=missing_candidates,
            max_candidates=max_candidates,
            blank_images=blank_images,
        )
        self.split = split

    @classmethod
    def recognize(cls, path: Path, head: bytes) -> Guess | None:
        """Records without the list of photos that Richpedia's have."""
        guess = super().recognize(path, head)
        return None if guess is None or _HAS_LIST.search(head) else guess

    def _pictures(self, key: str, record: Node) -> tuple[Image, ...]:
        named = record.optional("imgPath", Node.text)
        path = self._file(f"{key}.jpg" if named is None else named)
        return () if path is None else (Image(path),)

    @classmethod
    def sample(cls, folder: Path, seed: int) -> dict[str, dict[str, Any]]:
        from mmkit.data.sample.mel import wikimel_sample

        return wikimel_sample(folder, seed)


class RichpediaReader(_MelbenchReader):
    """Reads what `mmkit.wikimel.v1` reads, but with the photos in a list, `img_list`.

    Only the JPEGs of the list are used, as DWE's authors do; the others are counted. A record without the list has no
    photo. `parts` adds every photo a second time, as an object: DWE uses the photos of a Richpedia record as its
    parts.
    """

    form: ClassVar[str] = "a JSON object of records with `mentions`, as MELBench publishes it"
    kinds: ClassVar[frozenset[str]] = frozenset({"melbench"})

    def __init__(
        self,
        root: str,
        file: str,
        *,
        split: Literal["train", "dev", "test"] | None = None,
        images: str | None = "images",
        parts: bool = True,
        candidates: str | None = None,
        missing_candidates: Literal["error", "none"] = "error",
        max_candidates: int | None = None,
        blank_images: bool = False,
    ) -> None:
        super().__init__(
            root,
            file,
            images=images,
            candidates=candidates,
            missing_candidates=missing_candidates,
            max_candidates=max_candidates,
            blank_images=blank_images,
        )
        self.split, self.parts = split, parts

    @classmethod
    def recognize(cls, path: Path, head: bytes) -> Guess | None:
        """Records of which some have a list of photos."""
        guess = super().recognize(path, head)
        return guess if guess is not None and _HAS_LIST.search(head) else None

    def _pictures(self, key: str, record: Node) -> tuple[Image, ...]:
        names = record.list("img_list", Node.text) if record.value.get("img_list") is not None else ()
        jpegs = [name for name in names if name.lower().endswith(".jpg")]
        if len(jpegs) < len(names):
            self.repairs["image that is not a .jpg left out"] += len(names) - len(jpegs)
        taken = [path for name in jpegs if (path := self._file(name)) is not None]
        photos = tuple(Image(path) for path in taken)
        return photos + tuple(Image(path, "object") for path in taken if self.parts)

    @classmethod
    def sample(cls, folder: Path, seed: int) -> dict[str, dict[str, Any]]:
        from mmkit.data.sample.mel import richpedia_sample

        return richpedia_sample(folder, seed)
