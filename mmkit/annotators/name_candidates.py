"""`mmkit.name_candidates.v1`: the entities whose names are most similar to a mention, as its candidates."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from mmkit.annotators.base import Annotator
from mmkit.annotators.name_index import VERSION, NameIndex
from mmkit.cache import cache_dir
from mmkit.data.candidates import merge_candidates
from mmkit.data.types import Entity, Example
from mmkit.errors import PartError

_PART = "mmkit.name_candidates.v1"


class NameCandidates(Annotator):
    """Lists the knowledge base's entities whose names are similar to the mention, most similar first.

    DWE (Song et al., AAAI 2024) and DIM choose among 100 fuzzy matches of each mention string; this part makes such
    lists for any knowledge base. Similarity is that of `mmkit.annotators.name_index.NameIndex`: shared trigrams and
    words of name or alias, which handles parts of names, typos, accents and case. It uses neither the sentence nor
    the gold entity, which may be missing from a list. An example without a mention stays as it is.

    Args:
        top: the largest number of candidates of a mention. There are fewer if fewer names share anything with it.
        replace: whether candidates that an example already has, from a reader or a user, are replaced; by default
            they stay, and only empty lists are filled.
        output: a JSON file for the lists, mention → entity ids, in the form of the published
            `search_top100.json`, which readers take as `candidates`. Lists of each split, and of later runs, are
            added to it; a mention's list replaces an earlier one.
    """

    writes: ClassVar[tuple[str, ...]] = ("output",)
    batch_size = 1024

    def __init__(self, top: int = 100, replace: bool = False, output: str | None = None) -> None:
        if top < 1:
            raise PartError(
                f"top = {top}, but a mention needs at least one candidate", where=_PART, code="part.setting"
            )
        self.top, self.replace = top, replace
        self.output = Path(output) if output else None
        self._lists: dict[str, list[str]] = {}
        self._index: NameIndex | None = None

    @classmethod
    def sample(cls, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        """No file: lists of synthetic mentions do not belong in the user's file."""
        return {"output": None}

    def check_computable(self) -> None:
        _ = self._entities

    def fingerprint(self) -> str:
        """Versions, knowledge base and `top`. Raises `PartError` if there is no knowledge base."""
        return json.dumps({"part": _PART, "index": VERSION, "entities": self._entities, "top": self.top})

    @cached_property
    def _entities(self) -> str:
        """The identity of the knowledge base."""
        if not len(self.entities):
            raise PartError(
                "there are no entities to choose candidates from",
                where=_PART,
                hint="name the knowledge base in the recipe's [data.entities]",
                code="annotator.no-entities",
            )
        return getattr(self.entities, "fingerprint", None) or _hash_of_names(self.entities)

    def key(self, x: Example) -> str:
        """A hash of the mention's text: equal mentions have equal candidates."""
        if x.mention is None or (x.candidates and not self.replace):
            return ""
        return hashlib.sha256(x.mention.text.encode("utf-8", "surrogatepass")).hexdigest()

    def prepare(self, device: str) -> None:
        """Open the index of all names; it is made once for each knowledge base and is stored in the cache."""
        if self._index is None:
            identity = hashlib.sha256(f"{VERSION} {self._entities}".encode()).hexdigest()[:32]
            self._index = NameIndex.build(cache_dir("names") / identity, self.entities)

    def annotate(self, batch: Sequence[Example]) -> list[list[str]]:
        """For each example the ids of its candidates, best first."""
        return [self._candidates(x.mention.text) if x.mention else [] for x in batch]

    def apply(self, x: Example, result: list[str]) -> Example:
        """`x` with these candidates."""
        if self.output is not None and x.mention is not None:
            self._lists[x.mention.text] = result
        return dataclasses.replace(x, candidates=tuple(result))

    def finish(self) -> None:
        """Add the split's lists to `output`."""
        if self.output is not None:
            merge_candidates(self.output, self._lists)

    def _candidates(self, text: str) -> list[str]:
        assert self._index is not None, "prepare() comes first"
        rows, _ = self._index.search(text, self.top)
        return self._index.ids(rows)


def _hash_of_names(entities: Iterable[Entity]) -> str:
    """A hash of everything that matters for candidates, for entities that are not a `KnowledgeBase`."""
    digest = hashlib.sha256()
    for entity in entities:
        digest.update(json.dumps([entity.id, entity.name, *entity.aliases]).encode())
    return digest.hexdigest()
