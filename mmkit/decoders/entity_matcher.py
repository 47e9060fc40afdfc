"""`mmkit.entity_matcher.v1`: links a mention to the entity that fits it best."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from mmkit.batch import Batch, Features, States
from mmkit.data.knowledge import KnowledgeBase
from mmkit.data.types import Entity, Example, GoldRank, Prediction
from mmkit.decoders.base import Decoder, LabelAxes, Labels
from mmkit.decoders.cosines import NONE
from mmkit.decoders.engines import EntityEngine, Progress, engine_of
from mmkit.decoders.entity_rows import EntityRows
from mmkit.decoders.negatives import SharedWords, hard_rows, hardest, pool_rows, random_rows
from mmkit.decoders.ranking import FOUND, CosineRanking, ScoredRanking
from mmkit.encoders.entity_features import EntityFeatures
from mmkit.encoders.entity_shares import SharedEntities
from mmkit.entities.linked import LinkedEntities, of_reranker, of_scorer
from mmkit.errors import DataError, PartError
from mmkit.ops.distributed import Gather, gathered, same_key
from mmkit.ops.losses import circle_loss, clip_loss, n_pair_loss, softmax_loss, triplet_loss
from mmkit.scorers.base import SCORE, Scorer
from mmkit.tasks import LinkTask, Task


class EntityMatcher(Decoder):
    """Moves a query towards its entity in training; ranks entities in prediction.

    `[model.entities]` says how entities are compared. In a recipe without that section, `entities` names the encoder
    of `[model.encoders]` that reads the knowledge base, and its vectors are compared with the state `query` by
    cosine.

    Losses (`mmkit.ops.losses`) of vectors: `n_pair` with weight `l2` on the norms, `triplet` with `margin`, `circle`
    with `margin` and `scale`, and `clip`, symmetric over the batch with a learned scale. For any scorer:
    `cross_entropy` over the gold entity and its negatives, called `matching`; one more for each part that the scorer
    scores separately, called like the part; and one for a reranker that learns (`reranking`). `negatives` are

    - `batch`: the other mentions' entities (`clip` uses only these);
    - `random`: `count` entities for each mention;
    - `tfidf`: the same, but with probability `share` one that has a significant word in common with the gold (DWE);
    - `listed`: the first `count` of a mention's candidates that are not the gold;
    - `hard`: the `count` entities among `pool` random ones that are most similar at the moment (if a scorer that is
      not a cosine is trained: by their tensors of the last evaluation).

    With `shared`, a mention's negatives are those of all mentions of the batch, over all processes, as in N-pair; an
    entity is never a negative of its own mentions, unless `own_negatives` says so (some released code does this; only
    for `cross_entropy`). With `accumulate`, the batch is the micro-batch.

    Predictions: see `docs/data.md`. If an example lists candidates, these are ranked, else the whole knowledge base:
    exactly, or with `search = "faiss"` (for large ones on a CPU) approximately. `search = {"engine": ...}` asks a
    search engine that a plugin brings, such as Milvus. A prediction has at most `top` links. faiss and engines need a
    scorer that is a cosine; with a reranker they find the entities that this orders. A gold entity that they do not
    find has no rank.
    """

    captures = "it looks up entities and negatives in Python"
    task: Task = LinkTask()
    compares_examples: ClassVar[bool] = True

    def __init__(
        self,
        entities: str = "entity",
        *,
        loss: Literal["n_pair", "clip", "triplet", "circle", "cross_entropy"] = "n_pair",
        negatives: Literal["batch", "random", "tfidf", "listed", "hard"] = "batch",
        count: int = 1,
        shared: bool = True,
        own_negatives: bool = False,
        share: float = 0.95,
        pool: int = 65_536,
        l2: float = 0.02,
        margin: float = 0.25,
        scale: float = 32.0,
        top: int = 20,
        search: Literal["auto", "exact", "faiss"] | dict[str, Any] = "auto",
    ) -> None:
        super().__init__()
        if loss == "clip" and negatives != "batch":
            raise ValueError(f'loss = "clip" takes negatives = "batch", not {negatives}')
        if own_negatives and loss != "cross_entropy":
            raise ValueError(f'own_negatives is for loss = "cross_entropy", not {loss}')
        if min(count, top, pool) < 1:
            raise ValueError("count, pool and top must be at least 1")
        self.entity_encoder = entities
        self.loss_name, self.negatives, self.count, self.shared = loss, negatives, count, shared
        self.share, self.pool, self.l2, self.margin, self.circle_scale = share, pool, l2, margin, scale
        self.top, self.search, self.own_negatives = top, search, own_negatives
        self._searches_by = engine_of(search) if isinstance(search, dict) else search
        self._nearest: CosineRanking | None = None
        self.linked: LinkedEntities | None = None
        self._ranks_by: CosineRanking | ScoredRanking | None = None
        if loss == "clip":
            self.log_scale = nn.Parameter(torch.tensor(1 / 0.07).log())
        self.base: KnowledgeBase | None = None
        self._words: SharedWords | None = None
        self._named: EntityRows | None = None

    def fit(self, examples: Iterable[Example]) -> Labels:
        """Learns nothing: entities come from the knowledge base, also those that training never saw."""
        return {}

    def build(self, dims: Mapping[str, int], labels: Labels, entities: Sequence[Entity] = ()) -> None:
        """Take the knowledge base. A model without one (an imported checkpoint) can only be saved.

        Raises `DataError` for entities that are not a `KnowledgeBase`.
        """
        if len(entities) and not isinstance(entities, KnowledgeBase):
            raise DataError(
                f"entities are looked up by row and by id, which a {type(entities).__name__} of them cannot",
                hint="make a knowledge base of them: mmkit.data.knowledge.KnowledgeBase.build(folder, entities)",
                code="knowledge.not-a-base",
            )
        self.base = entities if isinstance(entities, KnowledgeBase) else None

    def label_axes(self) -> Mapping[str, LabelAxes] | None:
        return {}

    def check_scorer(self, scorer: Scorer) -> None:
        """Raise `PartError` for a scorer that the loss or the search cannot use."""
        if isinstance(self._searches_by, EntityEngine):
            self._searches_by.check()
        if scorer.vectors is None and self.search not in ("auto", "exact"):
            raise PartError(
                f"search = {json.dumps(self.search)} finds entities by the cosine of one vector, but "
                f"{type(scorer).__name__} compares otherwise",
                hint='set search = "exact" in [model.decoder], or compare by a cosine and make this scorer the '
                "[model.entities.reranker] of what is found",
                code="part.search",
            )
        if scorer.vectors is None and self.loss_name != "cross_entropy":
            raise PartError(
                f"the loss {self.loss_name!r} compares one vector of a mention with one of an entity, but "
                f"{type(scorer).__name__} compares in another way",
                hint='set loss = "cross_entropy" in [model.decoder]',
                code="part.loss",
            )

    def link_to(self, entities: LinkedEntities) -> None:
        """Take the entities' tensors, and the scorer that compares them."""
        self.linked, self._words = entities, None
        self._nearest = None
        if entities.vectors is not None:
            self._nearest = CosineRanking(entities.vectors, entities.scorer, self._searches_by)
        alone = self._nearest if entities.reranker is None else None
        self._ranks_by = alone or ScoredRanking(entities, self._nearest)

    def prepare_search(self, progress: Progress) -> list[str]:
        """Let a search engine have the entities, unless they are about to be trained. Returns notes: what it may miss.

        Raises `DataError` if the engine fails.
        """
        if self._nearest is None:
            return []
        reranked = self._linked.reranker is not None
        found = max(self.top, self._linked.depth if reranked else FOUND)
        fixed = not hasattr(self._nearest.features, "version")
        return self._nearest.prepare(found, fixed or not self.training, progress)

    def attach(self, features: EntityFeatures) -> None:
        """Take one vector for each entity of the knowledge base, to be compared with `query` by cosine."""
        self.link_to(LinkedEntities.of_vectors(features))

    # training

    def check(self, examples: Sequence[Example]) -> None:
        lacking = [example for example in examples if self._rows.gold(example) == NONE]
        if not lacking:
            return
        first, others = lacking[0], len(lacking) - 1
        raise DataError(
            (
                "there is no entity to train this mention on"
                if first.entity is None
                else f"its entity {first.entity!r} is not in the knowledge base ([data.entities])"
            )
            + (f", and {others:,} more mentions have the same problem" if others else ""),
            where=first.id,
            hint="remove such mentions, or complete the knowledge base",
            code="task.no-entity",
        )

    def targets(self, examples: Sequence[Example], inputs: Mapping[str, Features]) -> Features:
        """`gold [B]`, the rows of the examples' entities, and with listed negatives `listed [B, count]`, -1 none.

        Raises `DataError` naming an example without an entity, or whose entity is not in the knowledge base.
        """
        gold = [self._rows.gold(example) for example in examples]
        if NONE in gold:
            self.check(examples)
        targets = {"gold": torch.tensor(gold)}
        if self.negatives == "listed":
            listed = np.full((len(examples), self.count), NONE)
            for i, example in enumerate(examples):
                rows = self._rows.candidates(example)
                others = rows[(rows != gold[i]) & (rows != NONE)][: self.count]
                listed[i, : len(others)] = others
            targets["listed"] = torch.from_numpy(listed)
        return targets

    def loss(self, states: States, targets: Features) -> dict[str, Tensor]:
        """`matching`: the chosen loss of the mentions' states; see the class for others."""
        if self.loss_name == "cross_entropy":
            return self._cross_entropies(states, targets)
        query, gold = states[self._vectors[0]], targets["gold"]
        if self.loss_name == "clip":
            positive = self._features.gather(gold)
            same = same_key(gold, each=1)
            return {"matching": clip_loss(query, positive, self.log_scale, same=same, each=1)}
        rows = self._negative_rows(states, targets)
        if self.shared or self.negatives == "batch":
            rows = gathered(rows.reshape(-1), each=rows.shape[1])  # [M]
            excluded = (rows[None] == gold[:, None]) | (rows < 0)[None]
        else:
            excluded = (rows == gold[:, None]) | (rows < 0)
        wanted = torch.cat([gold, rows.clamp(min=0).reshape(-1)])
        both = self._features.gather(wanted)  # at once: an entity that is both is encoded once
        positive, negatives = both[: len(gold)], both[len(gold) :].unflatten(0, rows.shape)
        if self.loss_name == "n_pair":
            matching = n_pair_loss(query, positive, negatives, excluded=excluded, l2=self.l2)
        elif self.loss_name == "triplet":
            matching = triplet_loss(query, positive, negatives, excluded=excluded, margin=self.margin)
        else:
            matching = circle_loss(
                query, positive, negatives, excluded=excluded, margin=self.margin, scale=self.circle_scale
            )
        return {"matching": matching}

    def _cross_entropies(self, states: States, targets: Features) -> dict[str, Tensor]:
        """A loss for each of the scorer's scores; columns are entities that all mentions share, or each mention's
        own."""
        linked, gold = self._linked, targets["gold"]
        drawn = (
            gold.new_empty(len(gold), 0)
            if self.negatives == "batch"
            else self._negative_rows(states, targets)
        )
        everybodys = self.shared or self.negatives == "batch"
        if everybodys:
            own_rows = torch.cat([gold, drawn.reshape(-1)])
            gather = Gather.of(len(own_rows), gold.device, each=1 + drawn.shape[1])
            rows = gather(own_rows)  # [M], those of all processes
            own = torch.arange(len(gold), device=gold.device) + gather.offset
            excluded, absent = rows[None] == gold[:, None], (rows < 0)[None]
        else:
            rows, own = torch.cat([gold[:, None], drawn], dim=1), torch.zeros_like(gold)
            excluded, absent = rows == gold[:, None], rows < 0
        excluded = (absent if self.own_negatives else excluded | absent).expand_as(excluded)
        tensors = linked.tensors.gather(rows.clamp(min=0))

        def scores(scorer: Scorer, entities: Features) -> Features:
            return (scorer.scores if everybodys else scorer.pairs)(scorer.query(states), entities)

        found = scores(linked.scorer, of_scorer(tensors))
        losses = {"matching" if name == SCORE else name: score for name, score in found.items()}
        if linked.reranker is not None and any(p.requires_grad for p in linked.reranker.parameters()):
            losses["reranking"] = scores(linked.reranker, of_reranker(tensors))[SCORE]
        return {name: softmax_loss(score, own, excluded=excluded) for name, score in losses.items()}

    def _negative_rows(self, states: States, targets: Features) -> Tensor:
        """`[B, n]` rows, -1 for none."""
        gold = targets["gold"]
        if self.negatives == "batch":
            return gold[:, None]
        if self.negatives == "listed":
            return targets["listed"]
        if self.negatives == "hard":
            return self._hard_rows(states, gold)
        if self.negatives == "random":
            return random_rows(gold, len(self.knowledge), self.count)
        if self._words is None:
            base = self.knowledge
            self._words = SharedWords.of(base, base).to(gold.device)
        return self._words.draw(gold, self.count, self.share)

    def _hard_rows(self, states: States, gold: Tensor) -> Tensor:
        if self._linked.vectors is not None:
            return hard_rows(states[self._vectors[0]], gold, self._features, self.count, self.pool)
        rows = pool_rows(len(self.knowledge), self.pool, gold.device)
        assert isinstance(self._ranking, ScoredRanking)
        return hardest(self._ranking.recent(states, rows), rows, gold, self.count)

    # prediction

    def kept(self, states: States) -> States | None:
        """The vectors that are compared by cosine. A subclass may decode or rank from other states: nothing."""
        own = (type(self).decode, type(self).rank) == (EntityMatcher.decode, EntityMatcher.rank)
        compared = own and isinstance(self._ranking, CosineRanking)
        return States({self._vectors[0]: states[self._vectors[0]]}) if compared else None

    def collective(self) -> bool:
        """Whether the knowledge base is spread over the processes."""
        return isinstance(self._linked.vectors, SharedEntities)

    def decode(self, states: States, batch: Batch) -> list[Prediction]:
        """Ranked entities for each example; see the class."""
        base, examples = self.knowledge, batch.examples
        device = next(iter(states.tensors.values())).device
        everywhere: list[list[tuple[str, float]]] = []
        if not all(example.candidates for example in examples):
            scores, rows = self._ranking.best(states, self.top)
            found = (rows != NONE).sum(1).tolist()  # an engine may find fewer
            everywhere = [
                list(zip(base.ids(row[:count]), score[:count], strict=True))
                for score, row, count in zip(scores.tolist(), rows.tolist(), found, strict=True)
            ]
        among = self._best_candidates(states, examples, device)
        predictions = []
        for i, example in enumerate(examples):
            links = among[i] if example.candidates else everywhere[i]
            ids, units = tuple(id for id, _ in links), tuple(self._ranking.unit(score) for _, score in links)
            predictions.append(Prediction(example.id, links=ids, link_scores=units))
        return predictions

    def rank(self, states: States, examples: Sequence[Example]) -> list[GoldRank]:
        """The ranks of the gold entities: exactly; through faiss or an engine none if the gold entity was not found."""
        device = next(iter(states.tensors.values())).device
        gold = torch.tensor([self._rows.gold(x) for x in examples], dtype=torch.long, device=device)
        rows = self._rows.listed(examples, device)
        listing = not all(example.candidates for example in examples)
        overall = self._ranking.overall(states, gold, self.top, listing=listing)
        _, among = self._ranking.listed(states, rows, gold)
        has_gold = ((rows == gold[:, None]) & (rows != NONE)).any(1)
        found = zip(overall.tolist(), among.tolist(), has_gold.tolist(), examples, strict=True)
        return [
            GoldRank(listed_rank or None, listed, rank or None)
            if example.candidates
            else GoldRank(rank or None, rank > 0, rank or None)
            for rank, listed_rank, listed, example in found
        ]

    def _best_candidates(
        self, states: States, examples: Sequence[Example], device: torch.device
    ) -> list[list[tuple[str, float]]]:
        """The best of each example's candidates; none if it lists none."""
        rows = self._rows.listed(examples, device)
        if not rows.numel():
            return [[] for _ in examples]
        scores, _ = self._ranking.listed(states, rows, rows.new_full((len(examples),), NONE))
        best = scores.sort(dim=1, descending=True, stable=True)
        found = zip(
            examples,
            (rows != NONE).sum(1).tolist(),
            best.indices[:, : self.top].tolist(),
            best.values[:, : self.top].tolist(),
            strict=True,
        )
        return [
            [(example.candidates[i], score) for i, score in zip(order[:known], ordered[:known], strict=True)]
            for example, known, order, ordered in found
        ]

    @property
    def knowledge(self) -> KnowledgeBase:
        """The knowledge base. Raises `DataError` if there is none."""
        if self.base is None:
            raise DataError(
                "there is no knowledge base to link to",
                where="data.entities",
                hint="add [data.entities] to the recipe",
                code="task.no-knowledge-base",
            )
        return self.base

    @property
    def _rows(self) -> EntityRows:
        if self._named is None or self._named.base is not self.knowledge:
            self._named = EntityRows(self.knowledge)
        return self._named

    @property
    def _ranking(self) -> CosineRanking | ScoredRanking:
        if self._ranks_by is None:
            raise RuntimeError("the entities of the knowledge base were not given")
        return self._ranks_by

    @property
    def _linked(self) -> LinkedEntities:
        if self.linked is None:
            raise RuntimeError("the entities of the knowledge base were not given")
        return self.linked

    @property
    def _features(self) -> EntityFeatures:
        """The vectors whose cosine finds entities."""
        vectors = self._linked.vectors
        assert vectors is not None, "check_scorer"
        return vectors

    @property
    def _vectors(self) -> tuple[str, str]:
        names = self._linked.scorer.vectors
        assert names is not None, "check_scorer"
        return names
