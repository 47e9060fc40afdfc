"""Ranking entities for queries: by the exact cosine of vectors, or by any scorer."""

from __future__ import annotations

import weakref
from typing import Literal, Protocol

import torch
from torch import Tensor

from mmkit.batch import Features, States
from mmkit.decoders.approximate import ApproximateIndex
from mmkit.decoders.cosines import NONE
from mmkit.decoders.engine_search import EngineIndex
from mmkit.decoders.engines import EntityEngine, Progress
from mmkit.decoders.search import Found, rank_among, search
from mmkit.decoders.search_shares import search_shared
from mmkit.encoders.entity_features import EntityFeatures
from mmkit.encoders.entity_shares import SharedEntities
from mmkit.entities.linked import LinkedEntities, of_reranker, of_scorer
from mmkit.errors import DataError
from mmkit.ops.precision import full_float32
from mmkit.scorers.base import SCORE, Scorer

EXACT_UP_TO = 1_000_000
"""Up to this number of entities, `search = "auto"` compares all on a CPU; for more it uses faiss. A GPU compares
all."""

FOUND = 100
"""The number of entities that faiss or a search engine finds, at least: among these ranks are known."""

CELLS = 1 << 25
"""The number of scores in memory at the same time: 128 MB."""


class Ranking(Protocol):
    """How a matcher ranks. Rows with `NONE` are not entities; `gold [B]` rows with `NONE` have the rank 0."""

    def best(self, states: States, count: int) -> tuple[Tensor, Tensor]:
        """Scores and rows of each query's best entities `[B, count]`, best first (fewer if there are fewer)."""
        ...

    def overall(self, states: States, gold: Tensor, count: int, *, listing: bool = False) -> Tensor:
        """`[B]`: 1 + the number of other entities that score at least as high as the gold one, or 0 if unknown.

        `count` is the `count` of `best`; `listing` says whether that is called with the same states afterwards.
        """
        ...

    def listed(self, states: States, rows: Tensor, gold: Tensor) -> tuple[Tensor, Tensor]:
        """Scores `[B, C]` of each query's own `rows [B, C]`, -inf of none, and the rank of the gold among them."""
        ...

    def unit(self, score: float) -> float:
        """A score in [0, 1]."""
        ...


class CosineRanking:
    """By the cosine of a state and one vector of each entity: exactly, or among those that an index finds.

    The index is faiss's (`search = "faiss"`, and "auto" for many entities on a CPU), or a search engine's.
    """

    def __init__(
        self,
        features: EntityFeatures,
        scorer: Scorer,
        search: Literal["auto", "exact", "faiss"] | EntityEngine = "auto",
    ) -> None:
        assert scorer.vectors is not None
        self.features, self.scorer, self.search = features, scorer, search
        self._state = scorer.vectors[0]
        self._index: tuple[int, ApproximateIndex | EngineIndex] | None = None
        self._progress: Progress = lambda done, total: None
        self._last: tuple[weakref.ref[States], int, Found] | None = None

    def prepare(self, found: int, fill: bool, progress: Progress) -> list[str]:
        """Notes on what an index may miss that finds `found` entities; with `fill`, an engine gets the entities now."""
        self._progress = progress
        if not self.asks_index:
            return []
        notes = []
        name = self.search.place() if isinstance(self.search, EntityEngine) else "faiss"
        if found < len(self.features):
            notes.append(
                f"model.decoder: {name} finds the {found:,} entities nearest to a mention. A gold entity that is not "
                "among them counts as not found, so scores over the knowledge base may be lower than with exact search"
            )
        if fill and (said := getattr(self._searched(), "said", "")):
            notes.append(f"model.decoder: {said}")
        return notes

    def best(self, states: States, count: int) -> tuple[Tensor, Tensor]:
        if self.asks_index:
            scores, rows = self._found(self._query(states), count)
            return scores[:, :count], rows[:, :count]
        if self._last is not None and self._last[0]() is states and self._last[1] == count:
            found = self._last[2]
        else:
            found = self._exactly(states, count)
        return found.scores, found.rows

    def overall(self, states: States, gold: Tensor, count: int, *, listing: bool = False) -> Tensor:
        if not self.asks_index:
            found = self._exactly(states, count if listing else 0, gold)
            self._last = (weakref.ref(states), count, found) if listing else None
            return found.rank
        scores, rows = self._found(self._query(states), count)
        hit = (rows == gold[:, None].to(rows.device)) & (rows != NONE)
        own = torch.where(hit, scores, torch.inf).amin(1, keepdim=True)
        ranks = ((scores >= own) & ~hit).sum(1) + 1
        return torch.where(hit.any(1), ranks, 0)  # a gold entity that is not among those found has no rank

    def listed(self, states: States, rows: Tensor, gold: Tensor) -> tuple[Tensor, Tensor]:
        size = max(1, CELLS // max(1, rows.shape[1] * self.features.dim))
        parts = zip(self._query(states).split(size), rows.split(size), gold.split(size), strict=True)
        scores, ranks = zip(*(self._listed(*part) for part in parts), strict=True)
        return torch.cat(scores), torch.cat(ranks)

    def _listed(self, query: Tensor, rows: Tensor, gold: Tensor) -> tuple[Tensor, Tensor]:
        candidates, own = self.features.gather(rows.clamp(min=0)), self.features.gather(gold.clamp(min=0))
        is_gold = (rows == gold[:, None]) & (rows != NONE)
        scores, ranks = rank_among(query, candidates, rows != NONE, own, is_gold)
        return scores, torch.where(gold == NONE, 0, ranks)

    def unit(self, score: float) -> float:
        return self.scorer.unit(score)

    def _query(self, states: States) -> Tensor:
        return states[self._state].float()

    def _exactly(self, states: States, count: int, gold: Tensor | None = None) -> Found:
        if isinstance(self.features, SharedEntities):
            return search_shared(self._query(states), self.features, count, gold)
        return search(self._query(states), self.features, count, gold)

    @property
    def asks_index(self) -> bool:
        """Whether faiss or an engine finds the entities."""
        if isinstance(self.search, EntityEngine):
            return True
        large = len(self.features) > EXACT_UP_TO and self.features.device.type == "cpu"
        return self.search == "faiss" or (self.search == "auto" and large)

    def _found(self, query: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Cosines and rows of the entities that the index finds, `NONE` and -inf where it finds no more."""
        return self._searched().search(query, max(count, FOUND))

    def _searched(self) -> ApproximateIndex | EngineIndex:
        """The index of the features as they are now."""
        version = getattr(self.features, "version", 0)  # features of trained encoders change
        if self._index is None or self._index[0] != version:
            if isinstance(self.search, EntityEngine):
                index: ApproximateIndex | EngineIndex = EngineIndex.of(
                    self.search, self.features, self._progress
                )
            else:
                index = ApproximateIndex.of(self.features)
            self._index = version, index
        return self._index[1]


class ScoredRanking:
    """By a scorer's score of each entity, and the best of them by a reranker's.

    Where `nearest` asks an index, it finds those that the reranker orders: then not every entity is scored, and one
    that is not found has no rank. Equal scores come by row, but where they meet the end of a list any of them may be
    on it.
    """

    def __init__(self, entities: LinkedEntities, nearest: CosineRanking | None = None) -> None:
        self.entities, self.scorer, self.reranker = entities, entities.scorer, entities.reranker
        self.nearest = nearest
        self._last: tuple[weakref.ref[States], Tensor] | None = None

    @torch.no_grad()
    def best(self, states: States, count: int) -> tuple[Tensor, Tensor]:
        if self.reranker is None:
            return _highest(self._all(states), count)
        rows = self._to_rerank(states, count)
        order = self._reranked(states, rows).sort(dim=1, descending=True, stable=True)
        return order.values[:, :count], rows.gather(1, order.indices)[:, :count]

    @torch.no_grad()
    def overall(self, states: States, gold: Tensor, count: int, *, listing: bool = False) -> Tensor:
        if self._asks_index:
            ranks = torch.zeros_like(gold)  # of a gold entity that is not among those found
        else:
            scores = self._all(states)
            own = scores.gather(1, gold.clamp(min=0)[:, None])
            ranks = (scores >= own).sum(1)  # the gold one itself among them
        if self.reranker is not None:
            rows = self._to_rerank(states, count)
            anew, is_gold = self._reranked(states, rows), (rows == gold[:, None]) & (rows != NONE)
            best = torch.where(is_gold, anew, -torch.inf).amax(1, keepdim=True)
            among, beyond = (anew >= best).sum(1), ranks.clamp(min=rows.shape[1] + 1)
            ranks = torch.where(is_gold.any(1), among, ranks if self._asks_index else beyond)
        return torch.where(gold != NONE, ranks, 0)

    @torch.no_grad()
    def listed(self, states: States, rows: Tensor, gold: Tensor) -> tuple[Tensor, Tensor]:
        real, wanted = rows != NONE, torch.cat([rows, gold[:, None]], dim=1).clamp(min=0)
        if self.reranker is not None:
            scores = self._reranked(states, wanted)
        else:
            distinct, back = wanted.unique(return_inverse=True)
            scores = self._of(states, self.entities.tensors.gather(distinct)).gather(1, back)
        scores, own = scores[:, :-1], scores[:, -1:]
        above = (scores >= own) & real & (rows != gold[:, None])
        return scores.masked_fill(~real, -torch.inf), torch.where(gold == NONE, 0, 1 + above.sum(1))

    @torch.no_grad()
    def recent(self, states: States, rows: Tensor) -> Tensor:
        """The scorer's scores `[B, P]` of `rows [P]`, from tensors that may be older than the weights."""
        return self._of(states, self.entities.tensors.recent(rows))

    def unit(self, score: float) -> float:
        return (self.reranker or self.scorer).unit(score)

    @property
    def _asks_index(self) -> bool:
        return self.reranker is not None and self.nearest is not None and self.nearest.asks_index

    def _to_rerank(self, states: States, count: int) -> Tensor:
        """The rows of the entities that the reranker orders, best first."""
        count = max(count, self.entities.depth)
        if self._asks_index and self.nearest is not None:
            return self.nearest.best(states, count)[1]
        return _highest(self._all(states), count)[1]

    def _all(self, states: States) -> Tensor:
        """`[B, N]`. The scores of the last states are kept, because predictions and ranks need the same scores."""
        if self._last is not None and self._last[0]() is states:
            return self._last[1]
        query, device = self._query(states, self.scorer), next(iter(states.tensors.values())).device
        size = max(1, CELLS // max(1, len(self.entities.tensors)))
        batches = [{k: v[at : at + size] for k, v in query.items()} for at in range(0, _length(query), size)]
        parts: list[list[Tensor]] = [[] for _ in batches]
        with full_float32(device):
            for _, block in self.entities.tensors.blocks():
                wide = _wide(of_scorer(block))
                for part, some in zip(parts, batches, strict=True):
                    part.append(self.scorer.scores(some, wide)[SCORE].float())
        scores = torch.cat([torch.cat(part, dim=1) for part in parts])
        if not scores.isfinite().all():
            raise DataError(
                "scores of entities are not finite",
                hint="check the encoders' features of texts and images",
                code="features.not-finite",
            )
        self._last = weakref.ref(states), scores
        return scores

    def _reranked(self, states: States, rows: Tensor) -> Tensor:
        """The reranker's scores `[B, C]` of each query's own entities; -inf of none."""
        assert self.reranker is not None
        entities = of_reranker(self.entities.tensors.gather(rows.clamp(min=0)))
        query = self._query(states, self.reranker)
        with full_float32(rows.device):
            scores = self.reranker.pairs(query, entities)[SCORE].float()
            return scores.masked_fill(rows == NONE, -torch.inf)

    def _of(self, states: States, entities: Features) -> Tensor:
        """The scorer's scores `[B, n]` of entities that all queries share."""
        query = self._query(states, self.scorer)
        with full_float32(next(iter(query.values())).device):
            return self.scorer.scores(query, of_scorer(entities))[SCORE].float()

    def _query(self, states: States, scorer: Scorer) -> Features:
        with full_float32(next(iter(states.tensors.values())).device):
            return scorer.query(States(_wide(states.tensors)))


def _highest(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` highest of `scores [B, N]`, and their positions; equal ones in order of position."""
    found = scores.topk(min(count, scores.shape[1]), dim=1)
    rows = found.indices.sort(dim=1).values
    order = scores.gather(1, rows).sort(dim=1, descending=True, stable=True)
    return order.values, rows.gather(1, order.indices)


def _wide(features: Features) -> Features:
    return {name: t.float() if t.is_floating_point() else t for name, t in features.items()}


def _length(features: Features) -> int:
    return len(next(iter(features.values())))
