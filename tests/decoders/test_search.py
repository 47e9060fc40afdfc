"""Exact search against rational arithmetic and float64 over all entities."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from linking import Table
from mmkit.decoders import cosines, sweep
from mmkit.decoders.search import Found, rank_among
from mmkit.decoders.search import search as searched
from raising import raises


def search(query: Tensor, entities: Table, k: int, gold: Tensor | None = None) -> Found:
    """What a search finds block by block, which must be what it finds without waiting for any block."""
    found = searched(query, entities, k, gold, waiting=True)
    swept = searched(query, entities, k, gold, waiting=False)
    assert torch.equal(swept.rows, found.rows)
    assert torch.equal(swept.rank, found.rank)
    torch.testing.assert_close(swept.scores, found.scores, rtol=0, atol=1e-7)
    assert torch.equal(searched(query, entities, k, gold).rows, found.rows)
    return found


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def float64_cosines(query: Tensor, features: Tensor) -> Tensor:
    """`[B, N]`, pair by pair, so that equal features have equal cosines."""
    query, features = query.double(), features.double()
    products = (query[:, None] * features[None]).sum(2)
    norms = (query[:, None] ** 2).sum(2).sqrt() * (features[None] ** 2).sum(2).sqrt()
    return products / norms.masked_fill(norms == 0, 1.0)


def float64_ranks(cosines: Tensor, gold: Tensor) -> list[int]:
    return [
        1 + sum(c >= row[g] for j, c in enumerate(row) if j != g) if g >= 0 else 0
        for row, g in zip(cosines.tolist(), gold.tolist(), strict=True)
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("size", [37, 5000])
def test_equals_float64_over_all_entities(dtype, size):
    features, query = draw(3000, 48).to(dtype), draw(9, 48, seed=1)
    gold = torch.tensor([5, 2999, 0, -1, 77, 78, 79, 1000, 999])
    found = search(query, Table(features, size), 25, gold)
    cosines = float64_cosines(query, features)
    expected = cosines.sort(dim=1, descending=True, stable=True)
    assert torch.equal(found.rows, expected.indices[:, :25])
    torch.testing.assert_close(found.scores, expected.values[:, :25].float(), rtol=0, atol=1e-7)
    assert found.scores.dtype == torch.float32
    assert found.rank.tolist() == float64_ranks(cosines, gold)


def test_near_ties_are_decided_as_float64_decides_them():
    """Thousands of entities whose cosines float32 cannot tell from the gold one's."""
    features, query = (
        draw(1, 64) + 1e-7 * draw(4000, 64, seed=1),
        draw(4, 64) + 1e-1 * draw(4, 64, seed=2),
    )
    features[100:120] = features[7]
    gold = torch.tensor([7, 110, 3, 3999])
    cosines = float64_cosines(query, features)
    in_float32 = torch.nn.functional.normalize(query) @ torch.nn.functional.normalize(features).t()
    assert float64_ranks(in_float32, gold) != float64_ranks(cosines, gold)
    found = search(query, Table(features), 30, gold)
    assert found.rank.tolist() == float64_ranks(cosines, gold)
    assert torch.equal(found.rows, cosines.sort(dim=1, descending=True, stable=True).indices[:, :30])


vectors = st.lists(st.integers(-2, 2), min_size=3, max_size=3)


def squared_cosine(a: list[int], b: list[int]) -> Fraction:
    """A cosine's square with its sign, exactly: it orders as the cosine does."""
    dot, norms = sum(x * y for x, y in zip(a, b, strict=True)), sum(x * x for x in a) * sum(x * x for x in b)
    return Fraction(dot * abs(dot), norms) if norms else Fraction(0)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.lists(vectors, min_size=1, max_size=4),
    st.lists(vectors, min_size=1, max_size=20),
    st.integers(1, 25),
    st.integers(1, 7),
    st.randoms(use_true_random=False),
)
def test_equals_rational_arithmetic_with_ties_and_zero_vectors(queries, entities, k, size, random):
    """Small whole numbers: parallel, equal and zero vectors abound, and ties are true ones."""
    exact = [[squared_cosine(q, e) for e in entities] for q in queries]
    gold = [random.randrange(-1, len(entities)) for _ in queries]
    query, features = torch.tensor(queries).float() * 0.75, torch.tensor(entities).half()
    found = search(query, Table(features, size), k, torch.tensor(gold))
    for b, squares in enumerate(exact):
        order = sorted(range(len(entities)), key=lambda j: (-squares[j], j))
        assert found.rows[b].tolist() == order[:k]
        above = sum(c >= squares[gold[b]] for j, c in enumerate(squares) if j != gold[b])
        assert found.rank[b] == (1 + above if gold[b] >= 0 else 0)

    lists = [random.choices(range(len(entities)), k=5) for _ in queries]
    real = [[random.random() < 0.7 for _ in range(5)] for _ in queries]
    rows, valid, golds = torch.tensor(lists), torch.tensor(real), torch.tensor(gold).clamp(min=0)
    _, ranks = rank_among(
        query, features.float()[rows], valid, features.float()[golds], rows == golds.unsqueeze(1)
    )
    for b, squares in enumerate(exact):
        others = [j for j, use in zip(lists[b], real[b], strict=True) if use and j != golds[b]]
        assert ranks[b] == 1 + sum(squares[j] >= squares[golds[b]] for j in others)


def test_blocks_change_nothing(monkeypatch):
    features, query = draw(500, 16).half(), draw(7, 16, seed=1)
    features[50:90] = features[3]
    query[2] = features[3].float()
    query[4] = 0
    gold = torch.tensor([60, 3, 77, -1, 5, 6, 499])
    whole = search(query, Table(features), 60, gold)
    monkeypatch.setattr(cosines, "CELLS", 160)  # ten rows at a time, one pair at a time
    for size in (1, 13, 500):
        parts = search(query, Table(features, size), 60, gold)
        for one, other in zip(whole, parts, strict=True):
            assert torch.equal(one, other)
    assert whole.rows[2, :41].tolist() == [3, *range(50, 90)]
    assert whole.rank.tolist()[2:5] == [41, 0, 500]  # all its twins, none, and everybody


def test_a_query_alone_finds_the_same():
    features, query = draw(400, 16).half(), draw(6, 16, seed=1)
    gold = torch.arange(6)
    together = search(query, Table(features), 10, gold)
    for b in range(6):
        alone = search(query[b : b + 1], Table(features), 10, gold[b : b + 1])
        assert torch.equal(alone.scores[0], together.scores[b])
        assert torch.equal(alone.rows[0], together.rows[b])
        assert alone.rank[0] == together.rank[b]


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_lengths_do_not_matter(scale):
    features, query = draw(300, 16), draw(4, 16, seed=1)
    expected = search(query, Table(features), 10, torch.arange(4))
    found = search(query * scale, Table(features * scale), 10, torch.arange(4))
    assert torch.equal(found.rows, expected.rows)
    assert torch.equal(found.rank, expected.rank)


def test_autocast_changes_nothing():
    features, query = draw(300, 16), draw(4, 16, seed=1)
    candidates, nobody = features.view(4, 75, 16), torch.zeros(4, 75, dtype=torch.bool)

    def results() -> list[Tensor]:
        among = rank_among(query, candidates, ~nobody, features[:4], nobody)
        return [*search(query, Table(features), 10, torch.arange(4)), *among]

    expected = results()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = results()
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_without_gold_and_with_few_entities():
    found = search(draw(2, 4), Table(draw(3, 4, seed=1)), 20)
    assert found.rank.tolist() == [0, 0]
    assert found.rows.sort(dim=1).values.tolist() == [[0, 1, 2]] * 2


def test_candidates_get_their_cosines():
    query, candidates, gold = draw(5, 8), draw(5, 4, 8, seed=1), draw(5, 8, seed=2)
    valid = torch.tensor([[True, True, False, True]] * 5)
    nobody = torch.zeros(5, 4, dtype=torch.bool)
    scores, rank = rank_among(query, candidates, valid, gold, nobody)
    expected = torch.nn.functional.cosine_similarity(query[:, None], candidates, dim=2)
    torch.testing.assert_close(scores[valid], expected[valid])
    assert (scores[~valid] == float("-inf")).all()
    own = torch.nn.functional.cosine_similarity(query, gold)
    assert rank.tolist() == (1 + ((expected >= own[:, None]) & valid).sum(1)).tolist()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_refused(bad):
    features, query, gold = draw(30, 4), draw(2, 4, seed=1), torch.tensor([0, 1])
    nobody, everybody = torch.zeros(2, 3, dtype=torch.bool), torch.ones(2, 3, dtype=torch.bool)
    candidates = draw(2, 3, 4, seed=2)
    broken = query.clone()
    broken[1, 2] = bad
    with raises("features.not-finite", match="of a query"):
        search(broken, Table(features), 3)
    with raises("features.not-finite"):
        rank_among(broken, candidates, everybody, query, nobody)
    candidates[0, 1, 2] = features[25, 0] = bad
    with raises("features.not-finite", match="entities 20 to 29"):
        search(query, Table(features, 10), 3, gold)
    with raises("features.not-finite", match="of a candidate"):
        rank_among(query, candidates, everybody, query, nobody)


def test_a_sweep_decides_nearly_everything_itself_and_says_what_it_cannot(monkeypatch):
    """Queries whose gold entity has many twins are searched for again, and only those."""
    features, query = draw(3000, 48), draw(40, 48, seed=1)
    features[100:400] = features[7]  # more than are compared in one block
    gold = torch.arange(40) + 1000
    gold[3], gold[17] = 7, 250
    query[3] = query[17] = features[7] + 0.1 * draw(48, seed=2)
    again: list[int] = []
    some = cosines.Wanted.some

    def watched(self: cosines.Wanted, queries: Tensor) -> cosines.Wanted:
        again.extend(queries.tolist())
        return some(self, queries)

    monkeypatch.setattr(cosines.Wanted, "some", watched)
    found = searched(query, Table(features), 10, gold, waiting=False)
    assert again == [3, 17]
    assert found.rank.tolist() == float64_ranks(float64_cosines(query, features), gold)
    assert found.rows[3].tolist() == [7, *range(100, 109)]
    again.clear()
    monkeypatch.setattr(sweep, "PAIRS", 0)  # no place for a pair that float32 cannot decide
    assert torch.equal(searched(query, Table(features), 10, gold, waiting=False).rank, found.rank)
    assert {3, 17} <= set(again)
