"""Ranking by any scorer, with and without a reranker, against plain loops; and learning by cross-entropy."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkit.batch import Features, States
from mmkit.data.knowledge import KnowledgeBase
from mmkit.data.types import Entity, Example, GoldRank
from mmkit.decoders import ranking
from mmkit.decoders.cosines import NONE
from mmkit.decoders.entity_matcher import EntityMatcher
from mmkit.decoders.ranking import CosineRanking, ScoredRanking
from mmkit.encoders.entity_features import StoredEntities
from mmkit.entities.linked import RERANKER, LinkedEntities
from mmkit.scorers.base import SCORE, Scorer
from mmkit.scorers.cosine import CosineScorer
from raising import raises

SIZE, DIM = 23, 4


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Distance(Scorer):
    """The nearer the better, scaled by a weight that can be learnt; its half is a part of its own."""

    requires = frozenset({"query"})
    entity_requires = frozenset({"pooled"})

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def build(self, dims, entity_dims): ...

    def scores(self, query: Features, entities: Features) -> Features:
        score = -self.scale * (query["query"][:, None] - entities["pooled"][None]).square().sum(2)
        return {SCORE: score, "half": score / 2}


class First(Scorer):
    """Looks at the first number alone."""

    def build(self, dims, entity_dims): ...

    def scores(self, query: Features, entities: Features) -> Features:
        return {SCORE: -(query["query"][:, None, 0] - entities["first"][None]).abs()}


class Table:
    """Tensors in memory, in blocks of 5; `looked` counts how often all are looked at."""

    def __init__(self, tensors: Features) -> None:
        self.tensors, self.looked = tensors, 0

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def gather(self, rows):
        return {name: tensor[rows] for name, tensor in self.tensors.items()}

    recent = gather

    def blocks(self):
        self.looked += 1
        for first in range(0, len(self), 5):
            yield first, {name: tensor[first : first + 5].half() for name, tensor in self.tensors.items()}


@pytest.fixture
def table():
    features = draw(SIZE, DIM).half().float()
    features[7] = features[3]  # a tie
    return Table({"pooled": features, RERANKER + "first": features[:, 0]})


def plain(query: Tensor, table: Table) -> Tensor:
    return -(query[:, None] - table.tensors["pooled"][None]).square().sum(2)


GOLD = torch.tensor([3, NONE, 11, 0, 22, 7])


def test_it_ranks_as_plain_loops_do(table, monkeypatch):
    query = draw(6, DIM, seed=1)
    states, scores = States({"query": query}), plain(query, table)
    for cells in (1 << 25, 50):  # all queries at once, and two at a time
        monkeypatch.setattr(ranking, "CELLS", cells)
        ranks = ScoredRanking(LinkedEntities(table, Distance()))
        best, rows = ranks.best(states, 4)
        expected = scores.sort(dim=1, descending=True, stable=True)
        assert torch.equal(rows, expected.indices[:, :4])
        torch.testing.assert_close(best, expected.values[:, :4])
        overall = ranks.overall(states, GOLD, 4).tolist()
        for b, gold in enumerate(GOLD.tolist()):
            above = sum(float(scores[b, j]) >= float(scores[b, gold]) for j in range(SIZE) if j != gold)
            assert overall[b] == (0 if gold == NONE else 1 + above)


def test_predictions_and_ranks_of_one_batch_score_all_entities_once(table):
    ranks = ScoredRanking(LinkedEntities(table, Distance()))
    for seed in (1, 2):
        states = States({"query": draw(6, DIM, seed=seed)})
        ranks.best(states, 4)
        ranks.overall(states, GOLD, 4)
        assert table.looked == seed


def test_candidates_are_ranked_among_themselves(table):
    query = draw(3, DIM, seed=1)
    states, scores = States({"query": query}), plain(query, table)
    rows = torch.tensor([[3, 9, NONE], [7, 3, 1], [NONE, NONE, NONE]])
    found, ranks = ScoredRanking(LinkedEntities(table, Distance())).listed(
        states, rows, torch.tensor([3, 5, 0])
    )
    real = rows != NONE
    torch.testing.assert_close(found[real], scores.gather(1, rows.clamp(min=0))[real])
    assert (found[~real] == -torch.inf).all()
    for b, gold in enumerate((3, 5, 0)):
        others = [j for j in rows[b].tolist() if j not in (NONE, gold)]
        assert ranks[b] == 1 + sum(float(scores[b, j]) >= float(scores[b, gold]) for j in others)


def test_a_reranker_orders_the_best_anew_and_nobody_else(table):
    query, depth = draw(6, DIM, seed=1), 5
    states, scores = States({"query": query}), plain(query, table)
    linked = LinkedEntities(table, Distance(), reranker=First(), depth=depth)
    ranks = ScoredRanking(linked)
    anew = -(query[:, :1] - table.tensors[RERANKER + "first"][None]).abs()
    _, rows = ranks.best(states, 3)
    overall = ranks.overall(states, GOLD, 3).tolist()
    for b, gold in enumerate(GOLD.tolist()):
        seen = scores[b].sort(descending=True, stable=True).indices[:depth].tolist()
        order = sorted(seen, key=lambda row: (-float(anew[b, row]), row))
        assert rows[b].tolist() == order[:3]
        if gold == NONE:
            assert overall[b] == 0
        elif gold in seen:
            above = sum(float(anew[b, j]) >= float(anew[b, gold]) for j in seen if j != gold)
            assert overall[b] == 1 + above
        else:
            assert overall[b] >= depth + 1
    listed = torch.tensor([[0, 1, 2, 9]] * 6)
    found, _ = ranks.listed(states, listed, GOLD)
    torch.testing.assert_close(found, anew.gather(1, listed))


def test_scores_that_are_not_finite_are_refused(table):
    table.tensors["pooled"][4] = torch.inf
    with raises("features.not-finite"):
        ScoredRanking(LinkedEntities(table, Distance())).best(States({"query": draw(2, DIM)}), 3)


def test_a_cosine_ranks_the_same_with_and_without_its_fast_path():
    features = draw(SIZE, DIM)
    query = draw(6, DIM, seed=1)
    states = States({"query": query})
    linked = LinkedEntities.of_vectors(StoredEntities([features]))
    fast, slow = CosineRanking(linked.vectors, linked.scorer), ScoredRanking(linked)
    for one, other in zip(fast.best(states, 5), slow.best(states, 5), strict=True):
        torch.testing.assert_close(one, other)
    assert torch.equal(fast.overall(states, GOLD, 5), slow.overall(states, GOLD, 5))


# the matcher


@pytest.fixture
def matcher(tmp_path, table):
    base = KnowledgeBase.build(tmp_path / "base", [Entity(f"Q{i}", f"name {i % 9}") for i in range(SIZE)])

    def make(reranker=None, **options):
        decoder = EntityMatcher(loss="cross_entropy", **options)
        decoder.build({}, {}, base)
        decoder.link_to(LinkedEntities(table, Distance(), reranker=reranker, depth=3))
        return decoder

    return make


def mentions(rows, candidates=()):
    return [
        Example.from_tokens(str(i), ["x"], entity=f"Q{r}", candidates=candidates) for i, r in enumerate(rows)
    ]


def test_each_score_is_held_to_the_gold_among_the_batch_s_entities(matcher, table):
    decoder, gold = matcher(), torch.tensor([3, 5, 3, 8])  # two mentions of one entity
    query = draw(4, DIM, seed=2)
    losses = decoder.loss(States({"query": query}), decoder.targets(mentions(gold.tolist()), {}))
    scores = plain(query, table)[:, gold]
    twin = (gold[None] == gold[:, None]) & ~torch.eye(4, dtype=torch.bool)
    scores = scores.masked_fill(twin, -torch.inf)  # an entity is no negative of its own mentions
    assert losses.keys() == {"matching", "half"}
    torch.testing.assert_close(losses["matching"], F.cross_entropy(scores, torch.arange(4)))
    torch.testing.assert_close(losses["half"], F.cross_entropy(scores / 2, torch.arange(4)))


def test_an_entity_is_a_negative_of_its_other_mentions_if_asked(matcher, table):
    decoder, gold = matcher(own_negatives=True), torch.tensor([3, 5, 3, 8])
    query = draw(4, DIM, seed=2)
    losses = decoder.loss(States({"query": query}), decoder.targets(mentions(gold.tolist()), {}))
    expected = F.cross_entropy(plain(query, table)[:, gold], torch.arange(4))
    torch.testing.assert_close(losses["matching"], expected)
    with pytest.raises(ValueError, match="own_negatives"):
        EntityMatcher(loss="n_pair", own_negatives=True)


@pytest.mark.parametrize("shared", [True, False])
def test_listed_negatives_are_everybody_s_or_each_mention_s_own(matcher, table, shared):
    decoder = matcher(negatives="listed", count=2, shared=shared)
    examples = mentions([3, 5], ("Q3", "Q5", "Q9"))
    query = draw(2, DIM, seed=2)
    found = decoder.loss(States({"query": query}), decoder.targets(examples, {}))["matching"]
    scores = plain(query, table)
    # the gold entity first; shared: the other mention's gold entity and both mentions' negatives
    columns = [[3, 5, 5, 9, 9], [5, 3, 9, 3, 9]] if shared else [[3, 5, 9], [5, 3, 9]]
    rows = [scores[b, c] for b, c in enumerate(columns)]
    expected = torch.stack([-F.log_softmax(row, 0)[0] for row in rows]).mean()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("negatives", ["batch", "random", "tfidf", "listed", "hard"])
@pytest.mark.parametrize("shared", [True, False])
def test_every_kind_of_negatives_teaches_the_scorer(matcher, negatives, shared):
    torch.manual_seed(0)
    decoder = matcher(negatives=negatives, shared=shared, count=3, reranker=First())
    targets = decoder.targets(mentions([3, 5, 9], ("Q1", "Q2", "Q9", "Q3")), {})
    query = draw(3, DIM, seed=2).requires_grad_()
    losses = decoder.loss(States({"query": query}), targets)
    assert losses.keys() == {"matching", "half"}  # the reranker has nothing to learn
    losses["matching"].backward()
    assert query.grad.isfinite().all() and query.grad.any()
    assert decoder.linked.scorer.scale.grad.any()


def test_hard_negatives_are_those_that_score_highest(matcher, table):
    decoder = matcher(negatives="hard", count=2)
    query = draw(3, DIM, seed=2)
    rows = decoder._negative_rows(States({"query": query}), {"gold": torch.tensor([3, 5, 9])})
    scores = plain(query, table)
    for b, gold in enumerate((3, 5, 9)):
        scores[b, gold] = -torch.inf
        assert sorted(rows[b].tolist()) == sorted(scores[b].topk(2).indices.tolist())


def test_links_and_ranks_come_of_the_scorer(matcher, table):
    decoder = matcher(top=4)
    query = draw(2, DIM, seed=2)
    examples = mentions([3, 5])
    scores = plain(query, table)
    for b, rank in enumerate(decoder.rank(States({"query": query}), examples)):
        gold = (3, 5)[b]
        above = sum(float(scores[b, j]) >= float(scores[b, gold]) for j in range(SIZE) if j != gold)
        assert rank == GoldRank(1 + above, True, 1 + above)


def test_a_loss_of_vectors_refuses_a_scorer_that_is_no_cosine():
    EntityMatcher().check_scorer(CosineScorer())
    EntityMatcher(loss="cross_entropy").check_scorer(Distance())
    with raises("part.loss", match="n_pair"):
        EntityMatcher().check_scorer(Distance())


def test_entities_that_are_no_knowledge_base_are_not_dropped_in_silence():
    with raises("knowledge.not-a-base"):
        EntityMatcher().build({"query": 2}, {}, [Entity("Q1", "one")])
