"""`mmkit.entity_matcher.v1`: links a mention to the entity whose features are nearest to its query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mmkit.batch import Batch, Features, States
from mmkit.data.knowledge import KnowledgeBase
from mmkit.data.types import Entity, Example, GoldRank, Prediction
from mmkit.decoders.approximate import ApproximateIndex
from mmkit.decoders.base import Decoder, Labels
from mmkit.decoders.negatives import SharedWords, hard_rows, random_rows
from mmkit.decoders.search import rank_among, search
from mmkit.encoders.entity_features import EntityFeatures
from mmkit.errors import DataError
from mmkit.ops.distributed import gathered, same_key
from mmkit.ops.losses import circle_loss, clip_loss, n_pair_loss, triplet_loss
from mmkit.tasks import LinkTask, Task

NONE = -1
"""The row of an entity that is not in the knowledge base."""

EXACT_UP_TO = 1_000_000
"""Entities that `search = "auto"` compares one by one on a CPU; beyond, and not on a GPU, it asks faiss."""


class _Links(NamedTuple):
    """Entities that a query comes near, best first."""

    ids: list[str]
    cosines: list[float]


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
    elsewhere: exactly, or with `search = "faiss"` (large ones on a CPU) nearly so. `top` links are given.
    """

    requires: frozenset[str] = frozenset({"query"})
    task: Task = LinkTask()
    compares_examples: ClassVar[bool] = True

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
        query, examples, base = states["query"].float(), batch.examples, self.knowledge
        everywhere: list[_Links] = []
        if not all(example.candidates for example in examples):
            scores, rows = self._nearest(query)
            everywhere = [
                _Links(base.ids(row), score)
                for score, row in zip(scores.tolist(), rows.tolist(), strict=True)
            ]
        among = self._best_candidates(query, examples)
        predictions = []
        for i, example in enumerate(examples):
            links = among[i] if example.candidates else everywhere[i]
            scores = tuple(_unit_interval(cosine) for cosine in links.cosines)
            predictions.append(Prediction(example.id, links=tuple(links.ids), link_scores=scores))
        return predictions

    def rank(self, states: States, examples: Sequence[Example]) -> list[GoldRank]:
        """Where the gold entities stand, exactly (with faiss: none where the gold is not among those found)."""
        query = states["query"].float()
        gold = torch.tensor([self._gold_row(example) for example in examples], device=query.device)
        if self._asks_faiss:
            overall = self._approximate_ranks(query, gold)
        else:
            overall = search(query, self._features, 0, gold).rank
        rows = self._listed_rows(examples, query.device)
        is_gold = (rows == gold[:, None]) & (rows != NONE)
        _, among = self._compared(query, rows, gold, is_gold)
        among = torch.where(gold == NONE, 0, among)
        found = zip(overall.tolist(), among.tolist(), is_gold.any(1).tolist(), examples, strict=True)
        return [
            GoldRank(listed_rank or None, has_gold, rank or None)
            if example.candidates
            else GoldRank(rank or None, rank > 0, rank or None)
            for rank, listed_rank, has_gold, example in found
        ]

    def _nearest(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and rows of the whole knowledge base's best `[B, top]`."""
        if self._asks_faiss:
            scores, rows = self._found(query)
            return scores[:, : self.top], rows[:, : self.top]
        found = search(query, self._features, self.top)
        return found.scores, found.rows

    @property
    def _asks_faiss(self) -> bool:
        features = self._features
        large = len(features) > EXACT_UP_TO and features.device.type == "cpu"
        return self.search == "faiss" or (self.search == "auto" and large)

    def _found(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and rows of what faiss finds."""
        if self._index is None:
            self._index = ApproximateIndex.of(self._features)
        return self._index.search(query, max(self.top, 100))

    def _approximate_ranks(self, query: Tensor, gold: Tensor) -> Tensor:
        """`[B]`; a gold entity that is not among those found has no rank (0)."""
        scores, rows = self._found(query)
        hit = rows == gold[:, None].to(rows.device)
        own = torch.where(hit, scores, torch.inf).amin(1, keepdim=True)
        ranks = ((scores >= own) & ~hit).sum(1) + 1
        return torch.where(hit.any(1), ranks, 0)

    def _best_candidates(self, query: Tensor, examples: Sequence[Example]) -> list[_Links]:
        """The best of each example's candidates; none where it lists none."""
        rows = self._listed_rows(examples, query.device)
        nobody = torch.full((len(examples),), NONE, device=query.device)
        cosines, _ = self._compared(query, rows, nobody, torch.zeros_like(rows, dtype=torch.bool))
        best = cosines.sort(dim=1, descending=True, stable=True)
        found = zip(
            examples,
            (rows != NONE).sum(1).tolist(),
            best.indices[:, : self.top].tolist(),
            best.values[:, : self.top].tolist(),
            strict=True,
        )
        return [
            _Links([example.candidates[i] for i in order[:known]], ordered[:known])
            for example, known, order, ordered in found
        ]

    def _compared(self, query: Tensor, rows: Tensor, gold: Tensor, is_gold: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines `[B, C]` of candidates' `rows`, -inf for none, and the rank `[B]` of `gold [B]` among them."""
        features = self._features.gather(rows.clamp(min=0))
        own = self._features.gather(gold.clamp(min=0))
        return rank_among(query, features, rows != NONE, own, is_gold)

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

    def _listed_rows(self, examples: Sequence[Example], device: torch.device) -> Tensor:
        """The rows of each example's candidates `[B, C]`, -1 for none; C is the most that one lists."""
        listed = [self._candidate_rows(example) for example in examples]
        padded = np.full((len(examples), max(map(len, listed), default=0)), NONE)
        for i, found in enumerate(listed):
            padded[i, : len(found)] = found
        return torch.from_numpy(padded).to(device)

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
