"""What is in the data: how many posts, which labels, which task; and a language that the usual encoders do not know."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmkit.data.expected import records
from mmkit.data.reader import Reader
from mmkit.data.shares import place_of
from mmkit.data.types import Example
from mmkit.errors import DataError, MMKitError
from mmkit.start.given import with_option
from mmkit.start.layout import Layout

NONE_WORDS = frozenset({"none", "na", "n/a", "no_relation", "no relation", "norelation", "null", "other"})
"""What a pair without a relation is called, in lower case."""
BUCKETS = 20
"""Parts by hash in which a shared file is read, so that the sizes of splits can be chosen afterwards."""
MANY = 500
"""Posts from which on 10 % are enough to choose an epoch by."""
SIZES = {
    2: ((90, 10), (80, 20), (70, 30), (50, 50)),
    3: ((80, 10, 10), (70, 15, 15), (60, 20, 20), (50, 25, 25)),
}
"""The sizes of the parts of a shared file in per cent, by their number."""
PAIR = frozenset({"head", "tail"})
"""The labels of spans that only name the pair whose relation is to be found."""


@dataclass
class Contents:
    """What the posts of one split hold."""

    posts: int = 0
    unread: int = 0
    spans: Counter[str] = field(default_factory=Counter)
    relations: Counter[str] = field(default_factory=Counter)
    pairs: int = 0
    """Posts that are one pair: one relation, and no spans but its own."""
    mentions: int = 0
    overlapping: int = 0
    longest: int = 0
    letters: int = 0
    foreign: int = 0
    """Letters that are not Latin."""

    def add(self, example: Example) -> None:
        self.posts += 1
        self.spans.update(span.label for span in example.spans)
        self.relations.update(str(relation.label) for relation in example.relations)
        self.mentions += example.mention is not None or example.entity is not None
        if len(example.relations) == 1:
            ends = {example.relations[0].head, example.relations[0].tail}
            self.pairs += set(example.spans) <= ends and {s.label for s in (*example.spans, *ends)} <= PAIR
        taken: set[int] = set()
        for span in dict.fromkeys(example.spans):
            tokens = range(span.start, span.end)
            if not taken.isdisjoint(tokens):
                self.overlapping += 1
                break
            taken.update(tokens)
        self.longest = max(self.longest, len(example.tokens))
        if self.posts <= 500:
            letters = [c for c in example.text if c.isalpha()]
            self.letters += len(letters)
            self.foreign += sum(not unicodedata.name(c, "").startswith("LATIN") for c in letters)

    def annotated(self, task: str) -> int:
        """How many things there are for a task to find."""
        if task == "links":
            return self.mentions
        if task == "relations":
            return sum(n for label, n in self.relations.items() if label.lower() not in NONE_WORDS)
        return self.spans.total()


@dataclass
class Read:
    """What the data hold, by split; `buckets` are those of the file that several splits share, by `place_of`."""

    splits: dict[str, Contents]
    buckets: list[Contents] = field(default_factory=list)
    first_errors: dict[str, MMKitError] = field(default_factory=dict)
    """Why the first record that cannot be read cannot be; by split, the first one for those that share a file."""

    @property
    def all(self) -> Contents:
        """All posts together."""
        return added([*self.splits.values(), *self.buckets])


def added(some: Iterable[Contents]) -> Contents:
    """The sums of several contents."""
    whole = Contents()
    for one in some:
        for name in vars(whole):
            old, new = getattr(whole, name), getattr(one, name)
            setattr(whole, name, max(old, new) if name == "longest" else old + new)
    return whole


def read(layout: Layout, roots: Mapping[str, Path], settings: Mapping[str, Mapping[str, Any]]) -> Read:
    """Read all posts, each file once; `roots` and `settings` are those of each split's reader.

    Raises `DataError` if a file cannot be read at all.
    """
    found = Read({})
    for split, part in layout.parts.items():
        if split in layout.shared and split != layout.shared[0]:
            continue
        reader: Reader = part.source.build(roots[split], **{**part.settings, **settings[split]})
        reader.errors = []
        mine = [Contents() for _ in range(BUCKETS if split in layout.shared else 1)]
        for record in records(reader):
            if isinstance(record, Example):
                mine[int(place_of(record) * len(mine)) if len(mine) > 1 else 0].add(record)
        mine[0].unread = len(reader.errors)
        if reader.errors:
            found.first_errors[split] = with_option(reader.errors[0], part.source.cls)
        if split in layout.shared:
            found.buckets = mine
        else:
            found.splits[split] = mine[0]
    return found


def with_cause(error: DataError, read: Read) -> DataError:
    """An error about what is missing in the data, with the reason if records could not be read."""
    if not read.first_errors:
        return error
    first, unread = next(iter(read.first_errors.values())), read.all.unread
    return DataError(
        f"{error.what}; but {unread:,} of {read.all.posts + unread:,} records cannot be read, the first because of: "
        f"{first.what}",
        where=first.where,
        hint=first.hint or "correct the records, and try again",
        code=error.code,
    )


def shares_for(read: Read, shared: Sequence[str], task: str, where: object) -> dict[str, int]:
    """How large the parts of a shared file are: the first of some usual sizes with which each part has annotations.

    Puts the parts' contents into `read`. Raises `DataError` if there are too few annotated posts.
    """
    posts = sum(bucket.posts for bucket in read.buckets)
    for sizes in SIZES[len(shared)][0 if posts >= MANY else 1 :]:
        shares = dict(zip(shared, sizes, strict=True))
        parts, at = {}, 0
        for split, size in shares.items():
            end = at + size * BUCKETS // 100
            parts[split], at = added(read.buckets[at:end]), end
        if all(part.annotated(task) for part in parts.values()):
            read.splits, read.buckets = {**parts, **read.splits}, []
            return shares
    annotated = sum(bucket.annotated(task) > 0 for bucket in read.buckets)
    raise DataError(
        f"there are too few annotated posts to make splits: {posts} posts, annotations in {annotated} of 20 parts",
        where=where,
        hint="annotate more, or write train and dev into files of their own (train.jsonl, dev.jsonl)",
        code="init.too-few",
    )


def task_of(train: Contents, where: object) -> str:
    """The task that annotations are for, as decoders call it. Raises `DataError` if there are none."""
    if train.mentions:
        return "links"
    if train.relations:
        untyped = not train.spans or set(train.spans) <= PAIR
        return "relations" if untyped and train.pairs else "entities and relations"
    if train.spans:
        return "entities"
    raise DataError(
        f"none of the {train.posts:,} posts is annotated: there are no spans, relations or entities",
        where=where,
        hint="annotate some posts; `mmkit predict` finds things in posts without annotations",
        code="init.no-labels",
    )


def is_foreign(contents: Contents) -> bool:
    """Whether most letters are not Latin, so that an English encoder does not know the words."""
    return contents.foreign > 0.5 * contents.letters
