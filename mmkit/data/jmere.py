"""`mmkit.jmere.v1`: sentences with typed entities and the relations between them (JMERE)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from mmkit.data.crops import post_images, under
from mmkit.data.image_paths import Photos
from mmkit.data.joint import joint
from mmkit.data.json_text import read_json
from mmkit.data.problems import Place
from mmkit.data.reader import Reader
from mmkit.data.records import Node
from mmkit.data.types import Example, Image, Relation, Span
from mmkit.errors import DataError

ITC_SCORE = "mmkit.jmere.itc_score"
"""Note key: the cosine of photo and sentence by BLIP, as the authors computed it."""

ITM_SCORE = "mmkit.jmere.itm_score"
"""Note key: BLIP's probability that photo and sentence belong together, as the authors computed it."""

_SCORES = {"itc_score": ITC_SCORE, "itm_score": ITM_SCORE}


class JmereReader(Reader):
    """Reads a JSON list of `{"text", "img_id", "triple_list", "ent_pair_list", "itm_score", "itc_score"}`.

    `text` is words separated by single spaces. `triple_list` holds `[head, relation, tail, head type, tail type]` and
    `ent_pair_list` holds `[[start, end], [start, end]]`, the positions of head and tail in words, end exclusive. If
    the words at a position are not those of the triple, the position is used and the difference is counted. A span
    with two types is an entity of each. The scores may be missing; they become notes (`ITC_SCORE`, `ITM_SCORE`).

    The photo is `<root>/<images>/<img_id>`; `images = None` reads text alone. The id is the photo's name without its
    ending, with `:2`, `:3`, ... if a photo occurs again. The whole file is parsed before the first example; errors
    name the record by its number from 0.
    """

    form: ClassVar[str] = "a JSON list of sentences, as JMERE publishes it"
    kinds: ClassVar[frozenset[str]] = frozenset({"jmere"})
    pictures_in: ClassVar[str] = "images"

    source: ClassVar[str] = (
        "JMERE is published with TESGA (Wang et al., 2024); its photos are those of MNRE, "
        "at https://github.com/thecharm/MNRE"
    )

    def __init__(
        self, root: str, file: str, *, images: str | None = "images", blank_images: bool = False
    ) -> None:
        super().__init__(root, file, blank_images)
        self.images = images

    def __iter__(self) -> Iterator[Example]:
        self.repairs.clear()
        ids = Ids(self.repairs)
        file = Node(read_json(self.path, self.source, self.repairs), str(self.path), "file")
        for number, item in enumerate(file.items()):
            record = Node(item.value, f"{self.path}, record {number}")
            try:
                record.object()
                example = self._example(record, ids)
            except DataError as error:
                self.refuse(error)
                continue
            self.place = Place(record.where)
            yield example

    def _example(self, record: Node, ids: Ids) -> Example:
        tokens = words(record, self.repairs)
        photo = record["img_id"].text()
        images: tuple[Image, ...] = ()
        if self.images:
            path = Photos(under(self.root, self.images), self.repairs, "").named(photo, record.where)
            images = post_images(path, (), self.blank_images)
        return Example.from_tokens(
            ids.of(photo),
            tokens,
            images=images,
            notes=scores(record),
            **joint(self._relations(record, tokens), self.repairs),
        )

    def _relations(self, record: Node, tokens: list[str]) -> list[Relation]:
        triples, pairs = list(record["triple_list"].items()), list(record["ent_pair_list"].items())
        if len(triples) != len(pairs):
            raise DataError(
                f"{len(triples)} triples in `triple_list`, but {len(pairs)} pairs of places in `ent_pair_list`",
                where=record.where,
                code="jmere.pair-count",
            )
        return [self._relation(*both, tokens) for both in zip(triples, pairs, strict=True)]

    def _relation(self, triple: Node, pair: Node, tokens: list[str]) -> Relation:
        parts = triple.strings()
        if len(parts) != 5:
            triple.fail("[head, relation, tail, head type, tail type]")
        head, name, tail, *types = parts
        places = list(pair.items())
        if len(places) != 2:
            pair.fail("[[start, end], [start, end]]")
        ends = _span(places[0], types[0], tokens), _span(places[1], types[1], tokens)
        for named, span in zip((head, tail), ends, strict=True):
            if named != " ".join(tokens[span.start : span.end]):
                self.repairs["name other than the words at its place (the place is used)"] += 1
        return Relation(*ends, name)

    @classmethod
    def sample(cls, folder: Path, seed: int) -> dict[str, dict[str, Any]]:
        from mmkit.data.sample.joint import jmere_sample

        return jmere_sample(folder, seed)


class Ids:
    """Unique ids of records, by their photo; repeated photos are counted in `repairs`."""

    def __init__(self, repairs: Counter[str]) -> None:
        self._repairs, self._seen = repairs, Counter[str]()

    def of(self, photo: str) -> str:
        """The photo's name without its ending; with `:2`, `:3`, ... if it occurs again."""
        name = id = photo.rpartition(".")[0] or photo
        while self._seen[id]:
            self._seen[name] += 1
            id = f"{name}:{self._seen[name]}"
        self._seen[id] += 1
        if id != name:
            self._repairs["repeated photo: its record is given its own id"] += 1
        return id


def words(record: Node, repairs: Counter[str]) -> list[str]:
    """The words of a record's `text`; empty ones, between two spaces, count as words and are counted in `repairs`."""
    tokens = record["text"].text().split(" ")
    if not any(tokens):
        raise DataError("an empty sentence", where=record.where, code="data.empty-sentence")
    if "" in tokens:
        repairs["word without characters"] += tokens.count("")
    return tokens


def scores(record: Node) -> dict[str, float]:
    """Notes with the similarities in a record."""
    found = {note: record.optional(key, Node.number) for key, note in _SCORES.items()}
    return {note: score for note, score in found.items() if score is not None}


def _span(place: Node, type: str, tokens: list[str]) -> Span:
    bounds = [bound.count() for bound in place.items()]
    if len(bounds) != 2 or not bounds[0] < bounds[1] <= len(tokens):
        place.fail(f"[start, end] within the sentence's {len(tokens)} words")
    return Span(bounds[0], bounds[1], type)
