"""Scorers: what the base class makes of a subclass's scores, and the cosine of one vector or several."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmkit.batch import Features, States
from mmkit.scorers.base import SCORE, Scorer, together
from mmkit.scorers.cosine import CosineScorer
from raising import raises


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Attending(Scorer):
    """What an entity's tokens find among a mention's, all with all."""

    def build(self, dims, entity_dims):
        torch.manual_seed(0)
        self.key = nn.Linear(5, 5)

    def scores(self, query: Features, entities: Features) -> Features:
        weights = torch.einsum("bld,ntd->bntl", self.key(query["tokens"]), entities["tokens"]).softmax(-1)
        found = torch.einsum("bntl,bld->bntd", weights, query["tokens"])
        return {
            SCORE: (found * entities["tokens"]).sum((2, 3)),
            "flat": query["tokens"].sum((1, 2))[:, None] * 2,
        }


def test_pairs_are_what_all_with_all_gives_each_mention_s_own():
    scorer = Attending()
    scorer.build({}, {})
    query, tokens = {"tokens": draw(3, 4, 5)}, draw(7, 2, 5, seed=1)
    whole = scorer.scores(query, {"tokens": tokens})[SCORE]
    rows = torch.tensor([[0, 6], [3, 3], [5, 1]])
    own = scorer.pairs(query, {"tokens": tokens[rows]})[SCORE]
    torch.testing.assert_close(own, whole.gather(1, rows))
    own.sum().backward()
    assert scorer.key.weight.grad.any()


def test_a_score_is_shown_between_0_and_1_in_order():
    scorer = Attending()
    shown = [scorer.unit(score) for score in (-30.0, -1.0, 0.0, 17.9, 18.0)]
    assert shown == sorted(set(shown)) and shown[0] > 0 and shown[-1] < 1 and shown[2] == 0.5
    assert [CosineScorer().unit(cosine) for cosine in (-1.0, 0.0, 1.0, 1.0000001)] == [0.0, 0.5, 1.0, 1.0]


def test_a_cosine_is_that_of_the_named_tensors():
    scorer = CosineScorer("asked", "kept")
    assert scorer.vectors == ("asked", "kept")
    assert scorer.requires == {"asked"} and scorer.entity_requires == {"kept"}
    asked, kept = draw(3, 5), draw(7, 5, seed=1)
    kept[2] = 0
    states = States({"asked": asked, "more": draw(3, 9)})
    query, entities = scorer.query(states), scorer.entity({"kept": kept, "more": draw(7, 1)})
    assert query.keys() == {"asked"} and entities.keys() == {"kept"}
    expected = torch.nn.functional.cosine_similarity(asked[:, None], kept[None], dim=2)
    torch.testing.assert_close(scorer.scores(query, entities)[SCORE], expected)
    rows = torch.tensor([[0, 6], [2, 3], [5, 1]])
    found = scorer.pairs(query, {"kept": kept[rows]})[SCORE]
    torch.testing.assert_close(found, expected.gather(1, rows))


def test_of_several_vectors_the_nearest_counts_and_zeros_are_none():
    scorer = CosineScorer(several=True)
    assert scorer.vectors is None
    asked, kept = draw(3, 5), draw(4, 2, 5, seed=1)
    kept[1, 1] = 0
    kept[3] = 0
    expected = torch.nn.functional.cosine_similarity(asked[:, None, None], kept[None], dim=3)
    expected[:, 1, 1] = -2
    expected = expected.amax(2)
    found = scorer.scores({"query": asked}, {"pooled": kept})[SCORE]
    torch.testing.assert_close(found, expected)
    assert (found[:, 1] < 0).any()  # the zero vector did not count as cosine 0
    rows = torch.tensor([[0, 3], [1, 2], [1, 1]])
    own = scorer.pairs({"query": asked}, {"pooled": kept[rows]})[SCORE]
    torch.testing.assert_close(own, expected.gather(1, rows))


def test_widths_that_differ_are_refused():
    CosineScorer().build({"query": 4}, {"pooled": 4})
    with raises("part.widths", match="query is 4 .* pooled of entities 5"):
        CosineScorer().build({"query": 4}, {"pooled": 5})


def test_tensors_of_other_sizes_are_filled_up():
    first, second = {"x": draw(2, 3, 4)}, {"x": draw(1, 5, 4)}
    joined = together([first, second])["x"]
    assert joined.shape == (3, 5, 4)
    assert torch.equal(joined[:2, :3], first["x"]) and not joined[:2, 3:].any()
    assert torch.equal(joined[2:], second["x"])
    assert together([first]) is first
