"""`mmkit.kb_melbench.v1`: the entities that a MELBench dataset names, as a knowledge base."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from mmkit.data.mel import split_of
from mmkit.data.melbench import SOURCE, links, melbench_records
from mmkit.data.problems import Place
from mmkit.data.reader import Reader
from mmkit.data.types import Entity
from mmkit.errors import DataError


class KbMelbenchReader(Reader):
    """Reads every entity that a file of `mmkit.wikimel.v1` or `mmkit.richpedia.v1` names, in order of appearance.

    An entity's id is its `answer`, and its name is its title in `entities`; further titles become aliases and are
    counted. The words that mention an entity are not aliases, because those of the test split would give it away;
    `mention_aliases_of = "train"` takes them from the training split only (see `mmkit.data.mel.split_of`).
    """

    form: ClassVar[str] = "a JSON object of records with `mentions`, as MELBench publishes it"
    kinds: ClassVar[frozenset[str]] = frozenset({"melbench"})

    source: ClassVar[str] = SOURCE

    def __init__(
        self,
        root: str,
        file: str,
        *,
        mention_aliases_of: Literal["none", "train"] = "none",
        blank_images: bool = False,
    ) -> None:
        super().__init__(root, file, blank_images)
        self.mention_aliases_of = mention_aliases_of

    def __iter__(self) -> Iterator[Entity]:
        self.repairs.clear()
        self.place = None
        titles: dict[str, dict[str, None]] = {}
        mentions: dict[str, dict[str, None]] = {}
        for key, record in melbench_records(self):
            mentioned = self.mention_aliases_of == "train" and split_of(key) == "train"
            try:
                found = links(record)
            except DataError as error:
                self.refuse(error)
                continue
            self.place = Place(record.where)
            for link in found:
                if not link.answer:
                    self.repairs["mention without answer, skipped"] += 1
                    continue
                names = titles.setdefault(link.answer, {})
                if link.title:
                    names[link.title] = None
                if mentioned and link.mention:
                    mentions.setdefault(link.answer, {})[link.mention] = None
        for id, names in titles.items():
            yield self._entity(id, list(names), mentions.get(id, {}))

    def _entity(self, id: str, titles: list[str], mentions: dict[str, None]) -> Entity:
        if not titles:
            self.repairs["entity without a title, so named by its id"] += 1
        if len(titles) > 1:
            self.repairs["further title of an entity, taken as an alias"] += len(titles) - 1
        name, *others = titles or [id]
        aliases = tuple(alias for alias in dict.fromkeys([*others, *mentions]) if alias != name)
        return Entity(id, name, aliases)

    @classmethod
    def sample(cls, folder: Path, seed: int) -> dict[str, dict[str, Any]]:
        from mmkit.data.sample.mel import kb_melbench_sample

        return kb_melbench_sample(folder, seed)
