"""Helpers for readers of entity linking: candidate lists, the position of a mention, splits by hash."""

from __future__ import annotations

import sys
from abc import abstractmethod
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import ClassVar, Literal

from mmkit.data.crops import blanked
from mmkit.data.json_text import read_json
from mmkit.data.reader import Reader
from mmkit.data.records import Node
from mmkit.data.tokenize import tokenize
from mmkit.data.types import Example, Mention, Span
from mmkit.errors import DataError

SplitName = Literal["train", "dev", "test"]
Listed = Literal["mention", "entity"]

LABEL = "mention"
"""The label of a mention's span."""

AUTHORS = "https://github.com/season1blue/DWE"
"""Where DWE's authors publish their splits, candidate lists and entity texts."""


def split_of(id: str) -> SplitName:
    """The split of a record in a dataset without published ones: 70 / 10 / 20 by a hash of its id.

    BLAKE2b of eight bytes, read as a big-endian number, times ten, over 2**64: 0 to 6 is train, 7 dev, 8 and 9 test.
    It depends on nothing else, so records may be reordered, added and removed.
    """
    digest = blake2b(id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    tenth = int.from_bytes(digest, "big") * 10 >> 64
    return "train" if tenth < 7 else "dev" if tenth == 7 else "test"


def token_span(offsets: Sequence[tuple[int, int]], start: int, end: int) -> Span | None:
    """The tokens of the characters [start, end); None if these do not begin and end with tokens."""
    first = bisect_left(offsets, start, key=lambda bounds: bounds[0])
    last = bisect_left(offsets, end, key=lambda bounds: bounds[1])
    if not first <= last < len(offsets) or (offsets[first][0], offsets[last][1]) != (start, end):
        return None
    return Span(first, last + 1, LABEL)


def mention_span(mention: str, text: str, offsets: Sequence[tuple[int, int]]) -> Span | None:
    """The first position in `text` where `mention` occurs as whole tokens, if there is one."""
    at = text.find(mention) if mention else -1
    while at >= 0:
        if span := token_span(offsets, at, at + len(mention)):
            return span
        at = text.find(mention, at + 1)
    return None


@dataclass(frozen=True)
class Sentence:
    """A tokenised text in which mentions are searched; mentions that are not found are counted in `repairs`."""

    text: str
    repairs: Counter[str]
    tokens: tuple[str, ...] = field(init=False)
    offsets: tuple[tuple[int, int], ...] = field(init=False)

    def __post_init__(self) -> None:
        tokens, offsets = tokenize(self.text)
        object.__setattr__(self, "tokens", tokens)
        object.__setattr__(self, "offsets", offsets)

    def mention(self, text: str, bounds: tuple[int, int] | None = None) -> Mention:
        """The mention with its span: at `bounds` (characters) if it is there, else at its first occurrence."""
        if text not in self.text:
            self.repairs["mention that does not occur in its sentence, so without a span"] += 1
            return Mention(text)
        span = None
        if bounds is not None and self.text[slice(*bounds)] == text:
            span = token_span(self.offsets, *bounds)
        elif bounds is not None:
            self.repairs["mention that is not where its record says, so looked for"] += 1
        span = span or mention_span(text, self.text, self.offsets)
        if span is None:
            self.repairs["mention that is no whole tokens, so without a span"] += 1
        return Mention(text, span)


@dataclass(frozen=True)
class CandidateLists:
    """Entity ids to choose from, by mention string, or by gold entity, which then comes first.

    On disk: a JSON object, `{"Jordan": ["Q41421", "Q810", ...]}` or `{"Q41421": ["Q810", ...]}`.
    """

    lists: Mapping[str, tuple[str, ...]]
    by: Listed = "mention"
    limit: int | None = None

    @classmethod
    def load(
        cls, path: Path, by: Listed, limit: int | None, source: str, repairs: Counter[str]
    ) -> CandidateLists:
        """Read a file of lists; an id that occurs again in a list is dropped and counted in `repairs`."""
        lists = {}
        for key, ids in Node(read_json(path, source, repairs), str(path)).object().items():
            listed = Node(ids, str(path), key).strings()
            lists[key] = tuple(map(sys.intern, dict.fromkeys(listed)))
            if dropped := len(listed) - len(lists[key]):
                repairs["candidate listed again, dropped"] += dropped
        return cls(lists, by, limit)

    def of(self, x: Example, repairs: Counter[str]) -> tuple[str, ...]:
        """The candidates of an example; none if its mention (or entity) is not listed, which is counted."""
        key = x.entity if self.by == "entity" else x.mention.text if x.mention is not None else None
        if key is None or key not in self.lists:
            repairs[f"{self.by} without a candidate list"] += 1
            return ()
        listed = self.lists[key]
        if self.by == "entity":
            listed = (key, *(id for id in listed if id != key))
        return listed[: self.limit]


class MelReader(Reader):
    """Base of the readers of mentions: images, and lists of candidates beside the dataset.

    Images are in `<root>/<images>`; `images = None` reads text alone. `candidates` is a file of lists (see
    `CandidateLists`), of which the first `max_candidates` are used; `missing_candidates = "none"` counts a file
    that does not exist instead of stopping. All paths are relative to `root`.
    """

    listed_by: ClassVar[Listed] = "mention"
    pictures_in: ClassVar[str] = "images"

    def __init__(
        self,
        root: str,
        file: str,
        *,
        images: str | None = "images",
        candidates: str | None = None,
        missing_candidates: Literal["error", "none"] = "error",
        max_candidates: int | None = None,
        blank_images: bool = False,
    ) -> None:
        super().__init__(root, file, blank_images)
        if max_candidates is not None and max_candidates < 1:
            raise DataError(f"max_candidates must be at least 1, not {max_candidates}", code="part.setting")
        self.images, self.candidates, self.max_candidates = images, candidates, max_candidates
        self.missing_candidates = missing_candidates

    def files(self) -> list[Path]:
        lists = self._candidate_file()
        return [self.path] if lists is None else [self.path, lists]

    def __iter__(self) -> Iterator[Example]:
        self.repairs.clear()
        lists = self._candidate_lists()
        for x in self._examples():
            if lists is not None:
                x = replace(x, candidates=lists.of(x, self.repairs))
            yield blanked(x) if self.blank_images else x

    @abstractmethod
    def _examples(self) -> Iterator[Example]:
        """The file's examples, with the candidates that the file itself contains, if any."""

    def _candidate_file(self) -> Path | None:
        """The file of lists, if one is to be read."""
        if self.candidates is None:
            return None
        path = Path(self.root) / self.candidates
        return path if self.missing_candidates == "error" or path.exists() else None

    def _candidate_lists(self) -> CandidateLists | None:
        path = self._candidate_file()
        if path is not None:
            hint = (
                f'the lists come from {AUTHORS}; the annotator "mmkit.name_candidates.v1" makes others, and '
            )
            hint += '`missing_candidates = "none"` uses no lists'
            return CandidateLists.load(path, self.listed_by, self.max_candidates, hint, self.repairs)
        if self.candidates is not None:
            missing = Path(self.root) / self.candidates
            self.repairs[f"candidate lists that do not exist, so no candidates: {missing}"] += 1
        return None
