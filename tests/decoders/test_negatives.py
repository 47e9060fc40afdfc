"""Negatives are never the gold entity, and come from where they are said to come."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linking import Table
from mmkit.data.types import Entity
from mmkit.decoders.negatives import SharedWords, hard_rows, random_rows

ENTITIES = [
    Entity("0", "Michael Jordan", (), "American basketball player"),
    Entity("1", "Jordan", (), "country in Asia"),
    Entity("2", "Scottie Pippen", (), "American basketball player"),
    Entity("3", "Syria", (), "country in Asia"),
    Entity("4", "Unseen", (), "nothing alike"),
]


@settings(max_examples=50, deadline=None)
@given(size=st.integers(2, 7), count=st.integers(1, 9), seed=st.integers(0, 999))
def test_random_rows_are_all_others_and_equally_likely(size, count, seed):
    torch.manual_seed(seed)
    gold = torch.tensor([0, size - 1, -1])
    rows = random_rows(gold, size, count)
    assert rows.shape == (3, count) and rows.min() >= 0 and rows.max() < size
    assert not (rows == gold[:, None]).any()


def test_random_rows_reach_every_other_entity():
    torch.manual_seed(0)
    counts = torch.bincount(random_rows(torch.full((4000,), 2), 5, 1).flatten(), minlength=5)
    assert counts[2] == 0
    assert all(900 < count < 1100 for count in counts[[0, 1, 3, 4]].tolist())


def test_shared_words_lead_to_entities_that_share_one():
    torch.manual_seed(0)
    words = SharedWords.of(ENTITIES, ENTITIES)
    gold = torch.tensor([0, 1, 2, 3]).repeat_interleave(500)
    drawn = words.draw(gold, 2, share=1.0).view(4, -1)
    kin = {0: {1, 2}, 1: {0, 3}, 2: {0}, 3: {1}}
    for entity, rows in enumerate(drawn):
        # where the word leads back to the gold itself, any other entity is drawn
        assert entity not in rows.tolist()
        share = torch.isin(rows, torch.tensor(sorted(kin[entity]))).float().mean()
        assert share > len(kin[entity]) / 4 + 0.1, entity


@pytest.mark.parametrize("share", [0.0, 0.3, 0.95, 1.0])
def test_the_share_decides_how_often_words_lead(share):
    """Each of Syria's three words belongs to it and to Jordan: half of what a word leads to is Syria itself."""
    torch.manual_seed(0)
    words = SharedWords.of(ENTITIES, ENTITIES)
    drawn = torch.bincount(words.draw(torch.full((4000,), 3), 2, share).flatten(), minlength=5) / 8000
    by_word = share / 2
    assert drawn[3] == 0
    assert drawn[1].item() == pytest.approx(by_word + (1 - by_word) / 4, abs=0.02)
    assert drawn[[0, 2, 4]].tolist() == pytest.approx([(1 - by_word) / 4] * 3, abs=0.02)


def test_the_most_telling_words_lead():
    """A word told twice weighs double, one that every entity has weighs nothing, and five count."""
    telling = ["vega", "wolf", "xenon", "yard", "zinc"]
    first = Entity("0", " ".join(["mars", "pond", *telling, *telling, "aster", "aster"]))
    others = [Entity(word, f"{word} aster {word}") for word in (*telling, "pond", "mars")]
    entities = [first, *others]
    words = SharedWords.of(entities, entities)
    own = words.words[words.word_starts[0] : words.word_starts[1]].tolist()
    lists = [words.entities[words.entity_starts[w] : words.entity_starts[w + 1]].tolist() for w in own]
    assert sorted(lists) == [[0, 1], [0, 2], [0, 3], [0, 4], [0, 5]]


def test_an_entity_whose_words_nobody_shares_gets_any_other():
    torch.manual_seed(0)
    words = SharedWords.of(ENTITIES, ENTITIES)
    drawn = words.draw(torch.full((500,), 4), 3, share=1.0).flatten()
    assert set(drawn.tolist()) == {0, 1, 2, 3}


def test_entities_without_any_shared_word():
    alone = [Entity("a", "x"), Entity("b", "y"), Entity("c", "")]
    drawn = SharedWords.of(alone, alone).draw(torch.tensor([0, 1, 2]), 4, share=1.0)
    assert not (drawn == torch.tensor([[0], [1], [2]])).any()


def test_equal_seeds_draw_equally():
    words = SharedWords.of(ENTITIES, ENTITIES)
    draws = []
    for _ in range(2):
        torch.manual_seed(5)
        draws.append(words.draw(torch.tensor([0, 1, 2, 3, 4]), 3, 0.95))
    assert torch.equal(*draws)


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 12), count=st.integers(1, 5), seed=st.integers(0, 999))
def test_hard_rows_are_the_most_similar_others(size, count, seed):
    torch.manual_seed(seed)
    features, query = torch.randn(size, 6), torch.randn(4, 6)
    gold = torch.randint(size, (4,))
    rows = hard_rows(query, gold, Table(features), count, pool=100)
    cosines = torch.cosine_similarity(query[:, None], features[None], dim=2)
    for q in range(4):
        others = [r for r in cosines[q].argsort(descending=True).tolist() if r != gold[q]]
        wanted = others[:count]
        assert rows[q].tolist() == wanted + [-1] * (count - len(wanted))


def test_a_pool_bounds_what_hard_rows_look_at():
    torch.manual_seed(0)
    features = torch.randn(1000, 4)
    query = features[:1].clone()
    found = {hard_rows(query, torch.tensor([0]), Table(features), 1, pool=50).item() for _ in range(20)}
    assert len(found) > 1 and 0 not in found


def test_hard_rows_of_a_pool_are_different_ones():
    features = Table(torch.randn(40, 6))
    for seed in range(5):
        torch.manual_seed(seed)
        rows = hard_rows(torch.randn(8, 6), torch.arange(8), features, count=10, pool=30)
        assert all(len(set(row)) == 10 for row in rows.tolist())


def test_hard_rows_are_the_same_under_autocast():
    features = Table(1 + 1e-3 * torch.randn(50, 6))  # bfloat16 cannot tell them apart
    query, gold = torch.randn(4, 6), torch.arange(4)
    plain = hard_rows(query, gold, features, count=5, pool=50)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(hard_rows(query, gold, features, count=5, pool=50), plain)
