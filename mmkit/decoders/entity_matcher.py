"""`mmkit.entity_matcher.v1`: links a mention to the entity whose features are nearest to its query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from mmkit.batch import Batch, Features, States
from mmkit.data.knowledge import KnowledgeBase
from mmkit.data.types import Entity, Example, Prediction
from mmkit.decoders.approximate import ApproximateIndex
from mmkit.decoders.base import Decoder, Labels
from mmkit.decoders.negatives import SharedWords, hard_rows, random_rows
from mmkit.decoders.search import rank_among, search
from mmkit.encoders.entity_features import EntityFeatures
from mmkit.errors import DataError
from mmkit.ops.distributed import gathered, same_key
from mmkit.ops.losses import circle_loss, clip_loss, n_pair_loss, triplet_loss

NOTE = "mmkit.entity_matcher"
"""Note key of a prediction: ranks of the gold entity, and what the whole knowledge base offers."""

NONE = -1
"""The row of an entity that is not in the knowledge base."""

EXACT_UP_TO = 1_000_000
"""Entities that `search = "auto"` compares one by one on a CPU; beyond, and not on a GPU, it asks faiss."""


class EntityMatcher(Decoder):
    """Draws a query to its entity in training; ranks entities by cosine in prediction.

    `entities` names the encoder that reads the knowledge base. Losses (`mmkit.ops.losses`): `n_pair` with weight `l2`
    on the norms, `triplet` with `margin`, `circle` with `margin` and `scale`, and `clip`, symmetric over the batch
    with a learned scale. `negatives` are

    - `batch`: the other mentions' entities (the only ones `clip` knows);
    - `random`: `count` entities a mention;
    - `tfidf`: the same, with probability `share` one that has a telling word in common with the gold (DWE);
    - `listed`: the first `count` of a mention's candidates that are not the gold;
    - `hard`: the `count` most similar now among `pool` random entities.

    With `shared`, a mention's negatives are those of all mentions of the batch, over all processes, as N-pair has
    it; an entity is never a negative of its own mentions. With `accumulate`, the batch is the micro-batch.

    Predictions: see `docs/data.md`. Candidates are ranked where an example lists some, and the whole knowledge base
    always: exactly, or with `search = "faiss"` (large ones on a CPU) nearly so. `top` links are given.
    """

    requires: frozenset[str] = frozenset({"query"})
    links: ClassVar[bool] = True

    def __init__(
        self,
        entities: str = "entity",
        *,
        loss: Literal["n_pair", "clip", "triplet", "circle"] = "n_pair",
        negatives: Literal["batch", "random", "tfidf", "listed", "hard"] = "batch",
        count: int = 1,
        shared: bool = True,
        share: float = 0.95,
        pool: int = 65_536,
        l2: float = 0.02,
        margin: float = 0.25,
        scale: float = 32.0,
        top: int = 20,
        search: Literal["auto", "exact", "faiss"] = "auto",
    ) -> None:
        super().__init__()
        if loss == "clip" and negatives != "batch":
            raise ValueError(
                f'the clip loss has the batch\'s negatives, not {negatives} ones: negatives = "batch"'
            )
        if min(count, top, pool) < 1:
            raise ValueError("count, pool and top must be at least 1")
        self.entity_encoder = entities
        self.loss_name, self.negatives, self.count, self.shared = loss, negatives, count, shared
        self.share, self.pool, self.l2, self.margin, self.circle_scale = share, pool, l2, margin, scale
        self.top, self.search = top, search
        if loss == "clip":
            self.log_scale = nn.Parameter(torch.tensor(1 / 0.07).log())
        self.base: KnowledgeBase | None = None
        self.features: EntityFeatures | None = None
        self._words: SharedWords | None = None
        self._index: ApproximateIndex | None = None
        self._gold: dict[str, int] = {}
        self._listed: dict[tuple[str, ...], np.ndarray[Any, np.dtype[np.int64]]] = {}

    def fit(self, examples: Iterable[Example]) -> Labels:
        """Nothing: entities come from the knowledge base, also those that training never saw."""
        return {}

    def build(self, dims: Mapping[str, int], labels: Labels, entities: Sequence[Entity] = ()) -> None:
        """Take the knowledge base. A model without one (an imported checkpoint) can be saved, and no more."""
        self.base = entities if isinstance(entities, KnowledgeBase) else None

    def attach(self, features: EntityFeatures) -> None:
        """Take the features of the knowledge base, row by row."""
        self.features, self._words, self._index = features, None, None

    # training

    def check(self, examples: Sequence[Example]) -> None:
        lacking = [example for example in examples if self._gold_row(example) == NONE]
        if not lacking:
            return
        first, others = lacking[0], len(lacking) - 1
        raise DataError(
            (
                "there is no entity to train this mention on"
                if first.entity is None
                else f"its entity {first.entity!r} is not in the knowledge base ([data.entities])"
            )
            + (f", and {others:,} more mentions are like it" if others else ""),
            where=first.id,
            hint="leave such mentions out, or complete the knowledge base",
        )

    def targets(self, examples: Sequence[Example], inputs: Mapping[str, Features]) -> Features:
        """`gold [B]`, the rows of the examples' entities, and with listed negatives `listed [B, count]`, -1 none.

        Raises `DataError` naming an example without an entity, or whose entity the knowledge base lacks.
        """
        self.check(examples)
        gold = [self._gold_row(example) for example in examples]
        targets = {"gold": torch.tensor(gold)}
        if self.negatives == "listed":
            listed = np.full((len(examples), self.count), NONE)
            for i, example in enumerate(examples):
                rows = self._candidate_rows(example)
                others = rows[(rows != gold[i]) & (rows != NONE)][: self.count]
                listed[i, : len(others)] = others
            targets["listed"] = torch.from_numpy(listed)
        return targets

    def loss(self, states: States, targets: Features) -> dict[str, Tensor]:
        """`matching`: the chosen loss of `states["query"] [B, D]`."""
        query, gold = states["query"], targets["gold"]
        positive = self._features.gather(gold)
        if self.loss_name == "clip":
            return {"matching": clip_loss(query, positive, self.log_scale, same=same_key(gold))}
        rows = self._negative_rows(query, gold, targets)
        if self.shared or self.negatives == "batch":
            rows = gathered(rows.reshape(-1))  # [M]
            excluded = (rows[None] == gold[:, None]) | (rows < 0)[None]
        else:
            excluded = (rows == gold[:, None]) | (rows < 0)
        negatives = self._features.gather(rows.clamp(min=0))
        if self.loss_name == "n_pair":
            matching = n_pair_loss(query, positive, negatives, excluded=excluded, l2=self.l2)
        elif self.loss_name == "triplet":
            matching = triplet_loss(query, positive, negatives, excluded=excluded, margin=self.margin)
        else:
            matching = circle_loss(
                query, positive, negatives, excluded=excluded, margin=self.margin, scale=self.circle_scale
            )
        return {"matching": matching}

    def _negative_rows(self, query: Tensor, gold: Tensor, targets: Features) -> Tensor:
        """`[B, n]` rows, -1 for none."""
        if self.negatives == "batch":
            return gold[:, None]
        if self.negatives == "listed":
            return targets["listed"]
        if self.negatives == "hard":
            return hard_rows(query, gold, self._features, self.count, self.pool)
        if self.negatives == "random":
            return random_rows(gold, len(self._features), self.count)
        if self._words is None:
            base = self.knowledge
            self._words = SharedWords.of(base, base).to(gold.device)
        return self._words.draw(gold, self.count, self.share)

    # prediction

    def decode(self, states: States, batch: Batch) -> list[Prediction]:
        """Ranked entities for each example; see the class."""
        query, examples = states["query"].float(), batch.examples
        gold = torch.tensor([self._gold_row(example) for example in examples], device=query.device)
        everywhere = self._everywhere(query, gold)
        among = self._among_candidates(query, gold, examples)
        predictions = []
        for example, found, listed in zip(examples, everywhere, among, strict=True):
            links, scores = listed.pop("best") if listed else (found["links"], found["scores"])
            notes = {"candidates": listed} if listed else {}
            predictions.append(
                Prediction(
                    example.id,
                    links=tuple(links),
                    link_scores=tuple(scores),
                    notes={NOTE: {**notes, "knowledge_base": found}},
                )
            )
        return predictions

    def _everywhere(self, query: Tensor, gold: Tensor) -> list[dict[str, Any]]:
        """What the whole knowledge base offers each query, as JSON."""
        features, base = self._features, self.knowledge
        if self._asks_faiss:
            scores, rows, ranks = self._approximately(query, gold)
        else:
            found = search(query, features, min(self.top, len(features)), gold)
            scores, rows, ranks = found.scores, found.rows, found.rank
        return [
            {
                "size": len(features),
                "rank": rank if rank > 0 else None,
                "links": base.ids(row),
                "scores": [_unit_interval(s) for s in score],
            }
            for score, row, rank in zip(scores.tolist(), rows.tolist(), ranks.tolist(), strict=True)
        ]

    @property
    def _asks_faiss(self) -> bool:
        features = self._features
        large = len(features) > EXACT_UP_TO and features.device.type == "cpu"
        return self.search == "faiss" or (self.search == "auto" and large)

    def _approximately(self, query: Tensor, gold: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As exact search, but a gold entity that is not among those found has no rank (0)."""
        if self._index is None:
            self._index = ApproximateIndex.of(self._features)
        scores, rows = self._index.search(query, max(self.top, 100))
        hit = rows == gold[:, None].to(rows.device)
        own = torch.where(hit, scores, torch.inf).amin(1, keepdim=True)
        ranks = ((scores >= own) & ~hit).sum(1) + 1
        ranks = torch.where(hit.any(1), ranks, 0)
        return scores[:, : self.top], rows[:, : self.top], ranks

    def _among_candidates(
        self, query: Tensor, gold: Tensor, examples: Sequence[Example]
    ) -> list[dict[str, Any]]:
        """What each example's candidates offer, as JSON and `best` (ids, scores); empty where it lists none."""
        listed = [self._candidate_rows(example) for example in examples]
        widest = max(map(len, listed))
        if widest == 0:
            return [{} for _ in examples]
        padded = np.full((len(examples), widest), NONE)
        for i, found in enumerate(listed):
            padded[i, : len(found)] = found
        rows = torch.from_numpy(padded).to(query.device)
        is_gold = (rows == gold[:, None]) & (rows != NONE)
        features = self._features.gather(rows.clamp(min=0))
        own = self._features.gather(gold.clamp(min=0))
        scores, ranks = rank_among(query, features, rows != NONE, own, is_gold)
        best = scores.sort(dim=1, descending=True, stable=True)
        results: list[dict[str, Any]] = []
        for example, rank, known, has_gold, order, ordered in zip(
            examples,
            torch.where(gold == NONE, 0, ranks).tolist(),
            (rows != NONE).sum(1).tolist(),
            is_gold.any(1).tolist(),
            best.indices[:, : self.top].tolist(),
            best.values[:, : self.top].tolist(),
            strict=True,
        ):
            if not example.candidates:
                results.append({})
                continue
            kept = min(known, self.top)
            ids = [example.candidates[i] for i in order[:kept]]
            best_links = ids, [_unit_interval(s) for s in ordered[:kept]]
            size = len(set(example.candidates))
            results.append({"size": size, "found": has_gold, "rank": rank or None, "best": best_links})
        return results

    # rows

    def _gold_row(self, example: Example) -> int:
        if example.entity is None:
            return NONE
        if example.entity not in self._gold:
            self._gold[example.entity] = int(self.knowledge.rows([example.entity])[0])
        return self._gold[example.entity]

    def _candidate_rows(self, example: Example) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The row of each candidate, -1 for one that the knowledge base lacks or that is listed again."""
        if example.candidates not in self._listed:
            if len(self._listed) >= 100_000:  # a stream of predictions may have no end
                self._listed.clear()
            found = self.knowledge.rows(example.candidates)
            _, first = np.unique(found, return_index=True)
            rows = np.full(len(found), NONE)
            rows[first] = found[first]
            self._listed[example.candidates] = rows
        return self._listed[example.candidates]

    @property
    def knowledge(self) -> KnowledgeBase:
        """The knowledge base. Raises `DataError` if there is none."""
        if self.base is None:
            raise DataError(
                "there is no knowledge base to link to",
                where="data.entities",
                hint="add [data.entities] to the recipe",
            )
        return self.base

    @property
    def _features(self) -> EntityFeatures:
        if self.features is None:
            raise RuntimeError("the features of the knowledge base were not attached")
        return self.features


def _unit_interval(cosine: float) -> float:
    """A cosine as a score in [0, 1]."""
    return min(1.0, max(0.0, (1 + cosine) / 2))
