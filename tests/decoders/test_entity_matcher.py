"""The matcher against a plain reference: losses, negatives, ranks, links."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmkit.batch import Batch, States
from mmkit.data.knowledge import KnowledgeBase
from mmkit.data.types import Entity, Example, GoldRank, Mention, Prediction
from mmkit.decoders.abilities import RanksGold
from mmkit.decoders.entity_matcher import EntityMatcher
from mmkit.encoders.entity_features import StoredEntities
from mmkit.ops.losses import n_pair_loss
from raising import raises

SIZE, DIM = 9, 5


@pytest.fixture
def features():
    return StoredEntities([torch.randn(SIZE, DIM, generator=torch.Generator().manual_seed(1))])


@pytest.fixture
def matcher(tmp_path, features):
    base = KnowledgeBase.build(tmp_path / "base", [Entity(f"Q{i}", f"name {i}") for i in range(SIZE)])

    def make(**options):
        decoder = EntityMatcher(**options)
        decoder.build({"query": DIM}, decoder.fit([]), base)
        decoder.attach(features)
        return decoder

    return make


def mention(i, entity, candidates=()):
    example = Example.from_tokens(f"x{i}", ["some", "name"], mention=Mention("name"), entity=entity)
    return Example(
        **{**{f: getattr(example, f) for f in example.__dataclass_fields__}, "candidates": candidates}
    )


def predict(decoder, query, examples):
    """Predictions for the examples without their gold."""
    questions = tuple(replace(example, entity=None) for example in examples)
    return decoder.decode(States({"query": query}), Batch(questions, {}))


def ranks(decoder, query, examples):
    return decoder.rank(States({"query": query}), examples)


def cosines(query, features):
    table = features.gather(torch.arange(SIZE)).double().numpy()
    q = query.double().numpy()
    return (q @ table.T) / np.outer(np.linalg.norm(q, axis=1), np.linalg.norm(table, axis=1))


def test_the_whole_knowledge_base_is_ranked(matcher, features):
    query = torch.randn(6, DIM, generator=torch.Generator().manual_seed(2))
    examples = [mention(i, f"Q{i}") for i in range(6)]
    scores = cosines(query, features)
    decoder = matcher(top=4)
    gold = ranks(decoder, query, examples)
    for i, found in enumerate(predict(decoder, query, examples)):
        order = np.argsort(-scores[i], kind="stable")[:4]
        assert found.links == tuple(f"Q{r}" for r in order)
        assert found.link_scores == pytest.approx((1 + scores[i][order]) / 2, abs=1e-6)
        assert found.notes == {}
        rank = 1 + sum(scores[i][r] >= scores[i][i] for r in range(SIZE) if r != i)
        assert gold[i] == GoldRank(rank, True, rank)


def test_candidates_are_ranked_among_themselves(matcher, features):
    query = torch.randn(3, DIM, generator=torch.Generator().manual_seed(3))
    lists = [("Q4", "Q0", "Q7"), ("Q2", "Q3"), ()]
    examples = [mention(i, f"Q{i}", listed) for i, listed in enumerate(lists)]
    scores = cosines(query, features)
    found, gold = predict(matcher(), query, examples), ranks(matcher(), query, examples)
    for i, listed in enumerate(lists[:2]):
        rows = [int(id[1:]) for id in listed]
        order = sorted(rows, key=lambda r: -scores[i][r])
        assert found[i].links == tuple(f"Q{r}" for r in order)
        among = 1 + sum(scores[i][r] >= scores[i][i] for r in rows if r != i)
        overall = 1 + sum(scores[i][r] >= scores[i][i] for r in range(SIZE) if r != i)
        assert gold[i] == GoldRank(among, i in rows, overall)
    assert gold[2].among == gold[2].overall  # no list: the whole knowledge base
    assert len(found[2].links) == SIZE  # no list: the whole knowledge base


def test_a_candidate_that_the_knowledge_base_lacks_is_no_link(matcher):
    lacking, without = mention(0, "Q1", ("Q99", "Q1", "Q2")), mention(0, "Q1", ("Q1", "Q2"))
    (found,) = predict(matcher(), torch.ones(1, DIM), [lacking])
    assert set(found.links) == {"Q1", "Q2"}
    assert ranks(matcher(), torch.ones(1, DIM), [lacking]) == ranks(matcher(), torch.ones(1, DIM), [without])


def test_a_candidate_listed_twice_competes_once(matcher):
    query = torch.randn(1, DIM, generator=torch.Generator().manual_seed(3))
    listed = tuple(f"Q{row}" for row in range(SIZE))
    for asked in (predict, ranks):
        thrice, once = mention(0, "Q4", listed * 3), mention(0, "Q4", listed)
        assert asked(matcher(), query, [thrice]) == asked(matcher(), query, [once])


def test_ties_count_against_the_model(tmp_path):
    base = KnowledgeBase.build(tmp_path / "ties", [Entity("a", "a"), Entity("b", "b"), Entity("c", "c")])
    decoder = EntityMatcher()
    decoder.build({"query": 2}, {}, base)
    decoder.attach(StoredEntities([torch.tensor([[1.0, 0], [2, 0], [0, 1]])]))
    (found,) = ranks(decoder, torch.tensor([[3.0, 0]]), [mention(0, "a", ("b", "c"))])
    assert found == GoldRank(2, False, 2)


@pytest.mark.parametrize("entity", [None, "Q77"])
def test_a_gold_entity_that_is_not_there_has_no_rank(matcher, entity):
    listed, everywhere = mention(0, entity, ("Q1",)), mention(1, entity)
    found = ranks(matcher(), torch.ones(2, DIM), [listed, everywhere])
    assert found == [GoldRank(None, False, None)] * 2


def test_predictions_follow_from_no_gold(matcher):
    query = torch.randn(4, DIM, generator=torch.Generator().manual_seed(5))
    examples = [mention(i, f"Q{i}", ("Q1", "Q2", "Q3") if i % 2 else ()) for i in range(4)]
    decoder = matcher()
    assert isinstance(decoder, RanksGold)
    with_gold = decoder.decode(States({"query": query}), Batch(tuple(examples), {}))
    assert with_gold == predict(decoder, query, examples)
    assert all(isinstance(p, Prediction) and not p.notes for p in with_gold)


def test_training_needs_an_entity_that_is_there(matcher):
    with raises("task.no-entity", match=r"x5: .*'Q77'"):
        matcher().targets([mention(1, "Q1"), mention(5, "Q77")], {})
    with raises("task.no-entity", match="x2: there is no entity"):
        matcher().targets([mention(2, None)], {})


def test_listed_negatives_are_the_first_candidates_but_the_gold(matcher):
    decoder = matcher(negatives="listed", count=2)
    lists = [("Q4", "Q0", "Q7", "Q8"), ("Q1", "Q99"), ()]
    targets = decoder.targets([mention(i, f"Q{i}", listed) for i, listed in enumerate(lists)], {})
    assert targets["listed"].tolist() == [[4, 7], [-1, -1], [-1, -1]]
    loss = decoder.loss(States({"query": torch.ones(3, DIM, requires_grad=True)}), targets)["matching"]
    assert loss.isfinite()


def test_all_negatives_of_the_batch_are_every_query_s(matcher, features):
    decoder = matcher(negatives="listed")
    lists = [("Q3",), ("Q0",), ("Q5",)]  # the second mention's negative is the first one's entity
    targets = decoder.targets([mention(i, f"Q{i}", listed) for i, listed in enumerate(lists)], {})
    query = torch.randn(3, DIM, generator=torch.Generator().manual_seed(4))
    excluded = torch.tensor([[False, True, False], [False] * 3, [False] * 3])
    wanted = n_pair_loss(
        query,
        features.gather(torch.arange(3)),
        features.gather(torch.tensor([3, 0, 5])),
        excluded=excluded,
        l2=0.02,
    )
    torch.testing.assert_close(decoder.loss(States({"query": query}), targets)["matching"], wanted)


SAMPLED = ("batch", "random", "tfidf", "listed", "hard")
PAIRS = [(loss, negatives) for loss in ("n_pair", "triplet", "circle") for negatives in SAMPLED]


@pytest.mark.parametrize(("loss", "negatives"), [*PAIRS, ("clip", "batch")])
@pytest.mark.parametrize("shared", [True, False])
def test_every_combination_learns_which_entity_is_meant(matcher, loss, negatives, shared):
    torch.manual_seed(0)
    count = SIZE if negatives == "listed" else 2  # the first ones are always the same
    decoder = matcher(loss=loss, negatives=negatives, shared=shared, count=count, scale=8.0)
    examples = [mention(i, f"Q{i}", tuple(f"Q{j}" for j in range(SIZE))) for i in range(SIZE)]
    targets = decoder.targets(examples, {})
    query = torch.nn.Parameter(torch.randn(SIZE, DIM))
    optimizer = torch.optim.Adam([query, *decoder.parameters()], lr=0.1)

    def right():
        found = predict(decoder, query.detach(), examples)
        return sum(p.links[0] == e.entity for p, e in zip(found, examples, strict=True))

    before = right()
    for _ in range(120):
        optimizer.zero_grad()
        decoder.loss(States({"query": query}), targets)["matching"].backward()
        optimizer.step()
    assert right() >= max(7, before)


def test_clip_has_the_batch_s_negatives_only():
    with pytest.raises(ValueError, match='negatives = "batch"'):
        EntityMatcher(loss="clip", negatives="hard")


def test_without_a_knowledge_base_there_is_nothing_to_link_to():
    decoder = EntityMatcher()
    decoder.build({"query": 3}, {}, ())
    with raises("task.no-knowledge-base", match=r"data\.entities"):
        predict(decoder, torch.ones(1, 3), [mention(0, "Q1")])


def test_a_loss_gathers_its_entities_at_once(matcher, features, monkeypatch):
    """An encoder that is trained would encode an entity twice that is one mention's gold and another's negative."""
    decoder = matcher(negatives="batch")
    asked = []
    gather = features.gather

    def watched(rows):
        asked.append(rows.tolist())
        return gather(rows)

    monkeypatch.setattr(features, "gather", watched)
    query = torch.randn(3, DIM, generator=torch.Generator().manual_seed(2))
    gold = torch.tensor([4, 0, 4])
    loss = decoder.loss(States({"query": query}), {"gold": gold})["matching"]
    assert asked == [[4, 0, 4, 4, 0, 4]]
    vectors = gather(gold)
    expected = n_pair_loss(query, vectors, vectors, excluded=gold[None] == gold[:, None], l2=decoder.l2)
    torch.testing.assert_close(loss, expected)
