"""Negatives for training a matcher: rows of a knowledge base that are not the gold entity's.

Everything is drawn on the device with a separate generator, whose seed follows from the update: no process waits, and
a resumed run draws the same negatives.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmkit.data.types import Entity
from mmkit.encoders.entity_features import EntityFeatures
from mmkit.ops.losses import unit

WORDS = 5
"""The number of significant words of an entity: those with the highest TF-IDF."""


def random_rows(gold: Tensor, size: int, count: int) -> Tensor:
    """`[B, count]` rows below `size`, uniformly from all except each one's `gold [B]` (-1: from all)."""
    if size == 1:
        return gold.new_zeros(len(gold), count)  # there is no other entity: the caller excludes it
    known = (gold >= 0)[:, None]
    highest = torch.where(known, size - 1, size)
    rows = (torch.rand(len(gold), count, device=gold.device, dtype=torch.float64) * highest).long()
    return rows + (known & (rows >= gold[:, None])).long()


def hard_rows(query: Tensor, gold: Tensor, features: EntityFeatures, count: int, pool: int) -> Tensor:
    """`[B, count]` rows most similar to `query [B, D]` by cosine among `pool` random ones, without the gold.

    If there are fewer than `count`, the others are -1.
    """
    rows = pool_rows(len(features), pool, gold.device)
    with torch.no_grad(), torch.autocast(query.device.type, enabled=False):
        cosines = unit(query.float()) @ unit(features.gather(rows)).t()
    return hardest(cosines, rows, gold, count)


def pool_rows(size: int, pool: int, device: torch.device) -> Tensor:
    """At most `pool` random rows of `size`, each once, so that none is chosen twice."""
    return torch.arange(size, device=device) if size <= pool else torch.randperm(size, device=device)[:pool]


def hardest(scores: Tensor, rows: Tensor, gold: Tensor, count: int) -> Tensor:
    """`[B, count]` of the `rows [P]` with the highest `scores [B, P]`, each one's `gold [B]` left out; -1 for none."""
    scores = scores.masked_fill(rows[None] == gold[:, None], float("-inf"))
    best = scores.topk(min(count, len(rows)), dim=1)
    found = torch.where(best.values > float("-inf"), rows[best.indices], -1)
    return torch.nn.functional.pad(found, (0, count - found.shape[1]), value=-1)


@dataclass(frozen=True, slots=True)
class SharedWords:
    """Which entities share a word that is significant for both; DWE draws its negatives in this way.

    Compressed rows: entity e has the words `words[word_starts[e] : word_starts[e + 1]]`, and word w the entities
    `entities[entity_starts[w] : entity_starts[w + 1]]`.
    """

    words: Tensor
    word_starts: Tensor
    entities: Tensor
    entity_starts: Tensor

    @classmethod
    def of(cls, entities: Iterable[Entity], again: Iterable[Entity]) -> SharedWords:
        """The words of each entity's name and description; the entities are read twice, `again` the second time.

        Words of only one entity are left out.
        """
        frequency: Counter[str] = Counter()
        total = 0
        for words in _words_of(entities):
            frequency.update(words.keys())
            total += 1
        numbers: dict[str, int] = {}
        chosen: list[int] = []
        starts = [0]
        for words in _words_of(again):
            weights = {w: n * np.log(total / frequency[w]) for w, n in words.items() if frequency[w] > 1}
            best = sorted(weights, key=lambda w: (-weights[w], w))[:WORDS]
            chosen.extend(numbers.setdefault(w, len(numbers)) for w in best)
            starts.append(len(chosen))
        words_of = np.array(chosen, dtype=np.int64)
        owners = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        order = np.argsort(words_of, kind="stable")
        entity_starts = np.searchsorted(words_of[order], np.arange(len(numbers) + 1))
        return cls(*map(torch.from_numpy, (words_of, np.array(starts), owners[order], entity_starts)))

    def to(self, device: torch.device) -> SharedWords:
        """The same on `device`."""
        return SharedWords(
            *(t.to(device) for t in (self.words, self.word_starts, self.entities, self.entity_starts))
        )

    def draw(self, gold: Tensor, count: int, share: float) -> Tensor:
        """`[B, count]` rows: with probability `share` one that shares a random word of `gold [B]`, else any other.

        Also any other if the gold itself is drawn, or no entity shares its words.
        """
        size = len(self.word_starts) - 1
        any_other = random_rows(gold, size, count)
        if not len(self.words):
            return any_other
        first = self.word_starts[gold]
        of_gold = self.word_starts[gold + 1] - first
        word = self.words[(first[:, None] + self._pick(of_gold, count)).clamp(max=len(self.words) - 1)]
        start = self.entity_starts[word]
        sharing = self.entity_starts[word + 1] - start
        uniform = torch.rand(sharing.shape, device=gold.device, dtype=torch.float64)
        drawn = self.entities[start + (uniform * sharing).long().clamp(max=sharing - 1)]
        kin = (torch.rand(drawn.shape, device=gold.device) < share) & (of_gold > 0)[:, None]
        return torch.where(kin & (drawn != gold[:, None]), drawn, any_other)

    def _pick(self, of: Tensor, count: int) -> Tensor:
        """`[B, count]` random numbers below `of [B]`; 0 where that is 0."""
        uniform = torch.rand(len(of), count, device=of.device, dtype=torch.float64)
        return (uniform * of[:, None]).long()


def _words_of(entities: Iterable[Entity]) -> Iterator[Counter[str]]:
    for entity in entities:
        yield Counter(re.findall(r"\w+", f"{entity.name} {entity.description}".lower()))
