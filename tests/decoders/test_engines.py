"""Search engines of plugins: what they propose is compared exactly, and what they leave out has no rank."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmkit.batch import Batch, Features, States
from mmkit.config.check import check
from mmkit.config.values import Problems
from mmkit.data.knowledge import KnowledgeBase
from mmkit.data.types import Entity, Example, Mention, Prediction
from mmkit.decoders.engines import EntityEngine, EntityVectors, engine_of
from mmkit.decoders.entity_matcher import EntityMatcher
from mmkit.encoders.entity_features import StoredEntities, identity_of
from mmkit.entities.linked import RERANKER, LinkedEntities
from mmkit.hooks import hookimpl, registered
from mmkit.scorers.base import SCORE, Scorer
from mmkit.scorers.cosine import CosineScorer
from raising import raises

SIZE, DIM, QUERIES = 300, 8, 12


class Half(EntityEngine):
    """Looks at every `step`-th entity only, and so finds fewer than there are."""

    most = 200

    def __init__(self, step: int = 2, name: str = "half") -> None:
        if step < 1:
            raise ValueError("step must be at least 1")
        self.step, self.name = step, name
        self.filled: list[str] = []

    def place(self) -> str:
        return self.name

    def fill(self, entities, progress):
        self.filled.append(entities.identity)
        self.vectors = np.concatenate([block for _, block in entities.blocks(7)])
        progress(len(entities), len(entities))
        return f"{len(entities)} entities were taken"

    def near(self, vectors, count):
        products = vectors @ self.vectors[:: self.step].T
        best = np.argsort(-products, axis=1)[:, :count] * self.step
        return np.pad(best, ((0, 0), (0, count - best.shape[1])), constant_values=-1)


class Plugin:
    @hookimpl
    def mmkit_search_engines(self) -> dict[str, str]:
        return {
            "half": f"{__name__}:Half",
            "missing": "mmkit.no_such_module:Engine",
            "wrong": f"{__name__}:Plugin",
        }


@pytest.fixture(autouse=True)
def _plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))
    with registered(Plugin()):
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> KnowledgeBase:
    entities = [Entity(f"Q{i}", f"name {i}") for i in range(SIZE)]
    return KnowledgeBase.build(tmp_path_factory.mktemp("kb") / "base", entities)


def features(seed: int = 1) -> StoredEntities:
    return StoredEntities([torch.randn(SIZE, DIM, generator=torch.Generator().manual_seed(seed))])


def matcher(base: KnowledgeBase, search: Any, top: int = 120) -> EntityMatcher:
    decoder = EntityMatcher(search=search, top=top)
    decoder.build({"query": DIM}, {}, base)
    decoder.attach(features())
    return decoder.eval()


def asked() -> tuple[States, list[Example]]:
    query = torch.randn(QUERIES, DIM, generator=torch.Generator().manual_seed(3))
    examples = [
        Example.from_tokens(f"x{i}", ["a"], mention=Mention("a"), entity=f"Q{7 * i}") for i in range(QUERIES)
    ]
    return States({"query": query}), examples


def linked(decoder: EntityMatcher) -> tuple[list[Prediction], list[int | None]]:
    states, examples = asked()
    with torch.no_grad():
        predictions = decoder.decode(states, Batch(tuple(examples), {}))
        return predictions, [rank.overall for rank in decoder.rank(states, examples)]


def test_what_an_engine_finds_has_its_exact_score_and_what_it_leaves_out_no_rank(base: KnowledgeBase) -> None:
    exact, exact_ranks = linked(matcher(base, "exact", top=SIZE))
    decoder = matcher(base, {"engine": "half", "step": 3}, top=120)
    told = decoder.prepare_search(lambda done, total: None)
    assert "half finds the 120 entities nearest to a mention" in told[0]
    assert told[1] == "model.decoder: 300 entities were taken"
    found, ranks = linked(decoder)
    for theirs, ours in zip(exact, found, strict=True):
        kept = [
            pair for pair in zip(theirs.links, theirs.link_scores, strict=True) if int(pair[0][1:]) % 3 == 0
        ]
        assert list(zip(ours.links, ours.link_scores, strict=True)) == kept and len(kept) == 100
    golds = [7 * i for i in range(QUERIES)]
    assert [rank is None for rank in ranks] == [gold % 3 != 0 for gold in golds]
    known = [(a, b) for a, b in zip(ranks, exact_ranks, strict=True) if a is not None and b is not None]
    assert all(ours <= theirs for ours, theirs in known)


def test_it_is_filled_once(base: KnowledgeBase) -> None:
    decoder = matcher(base, {"engine": "half"})
    done: list[int] = []
    decoder.prepare_search(lambda now, total: done.append(now))
    linked(decoder)
    linked(decoder)
    searched = decoder._searches_by
    assert isinstance(searched, Half) and searched.filled == [identity_of(features())] and done == [SIZE]


class First(Scorer):
    """Whose first number is larger."""

    requires, entity_requires = frozenset({"query"}), frozenset({"pooled"})

    def build(self, dims, entity_dims): ...

    def query(self, states: States) -> Features:
        return {"query": states["query"]}

    def scores(self, query: Features, entities: Features) -> Features:
        return {SCORE: entities["pooled"][:, 0].expand(len(query["query"]), -1)}

    def pairs(self, query: Features, entities: Features) -> Features:
        return {SCORE: entities["pooled"][..., 0]}


class Both:
    """The vectors, for the scorer and for the reranker."""

    def __init__(self, stored: StoredEntities) -> None:
        self.stored = stored

    def __len__(self) -> int:
        return len(self.stored)

    def gather(self, rows):
        return {"pooled": self.stored.gather(rows), f"{RERANKER}pooled": self.stored.gather(rows)}

    recent = gather

    def blocks(self):
        for first, block in self.stored.blocks():
            yield first, {"pooled": block, f"{RERANKER}pooled": block}


def test_a_reranker_orders_what_an_engine_finds(base: KnowledgeBase) -> None:
    stored = features()
    decoder = EntityMatcher(search={"engine": "half", "step": 4}, top=SIZE)
    decoder.build({"query": DIM}, {}, base)
    decoder.link_to(LinkedEntities(Both(stored), CosineScorer(), stored, First(), depth=90))
    with raises("part.search", match="at most 200 entities"):  # top and depth are too much for it
        linked(decoder.eval())
    decoder.top = 90
    found, ranks = linked(decoder)
    first = next(block for _, block in stored.blocks())[:, 0]
    for prediction in found:  # a quarter of all is fewer than depth
        rows = [int(id[1:]) for id in prediction.links]
        assert len(rows) == 75 and all(row % 4 == 0 for row in rows)
        assert first[rows].tolist() == sorted(first[rows].tolist(), reverse=True)
    assert [rank is None for rank in ranks] == [(7 * i) % 4 != 0 for i in range(QUERIES)]


def test_candidates_of_an_example_are_compared_as_before(base: KnowledgeBase) -> None:
    listed = Example.from_tokens("x", ["a"], mention=Mention("a"), candidates=("Q5", "Q3", "Q140"))
    one = States({"query": asked()[0]["query"][:1]})
    exact, near = (
        matcher(base, search).decode(one, Batch((listed,), {})) for search in ("exact", {"engine": "half"})
    )
    assert exact == near and set(near[0].links) == set(listed.candidates)


def test_a_scorer_that_is_no_cosine_is_refused() -> None:
    with raises("part.search", match='search = {"engine": "half"} finds entities by the cosine') as caught:
        EntityMatcher(loss="cross_entropy", search={"engine": "half"}).check_scorer(First())
    assert 'search = "exact"' in caught.value.hint and "reranker" in caught.value.hint


def test_an_engine_that_cannot_be_had_is_one_message() -> None:
    with raises("part.search-engine", match="no search engine 'hafl'") as caught:
        engine_of({"engine": "hafl"})
    assert "half" in caught.value.hint
    with raises("part.search-engine", match="`engine` is missing"):
        engine_of({"url": "x"})
    with raises("plugin.search-engine", match="cannot be loaded"):
        engine_of({"engine": "missing"})
    with raises("plugin.search-engine", match="must derive from"):
        engine_of({"engine": "wrong"})
    with raises("part.invalid", match=r"model\.decoder\.search\.stpe") as caught:
        engine_of({"engine": "half", "stpe": 3})
    assert "step" in str(caught.value)
    with raises("part.refused", match="step must be at least 1"):
        engine_of({"engine": "half", "step": 0})


def test_a_search_that_is_none_is_refused_with_those_there_are() -> None:
    problems = Problems()
    section = {"@decoders": "mmkit.entity_matcher.v1", "search": "fais"}
    check({"recipe": {"format": 1}, "model": {"decoder": section}}, problems)
    (said,) = [str(p) for p in problems.found if p.path == "model.decoder.search"]
    assert "faiss" in said and "exact" in said


@given(st.integers(1, 40), st.integers(0, 30), st.lists(st.integers(1, 9), min_size=1, max_size=4), st.data())
def test_blocks_are_the_rows_from_any_one_on(
    size: int, seed: int, parts: list[int], data: st.DataObject
) -> None:
    whole = torch.randn(sum(parts), 3, generator=torch.Generator().manual_seed(seed))
    vectors = EntityVectors(StoredEntities(list(whole.split(parts))))
    first = data.draw(st.integers(0, len(whole) - 1))
    blocks = list(vectors.blocks(size, first))
    assert [row for row, _ in blocks] == [
        first + sum(len(b) for _, b in blocks[:i]) for i in range(len(blocks))
    ]
    assert all(len(block) <= size for _, block in blocks)
    expected = torch.nn.functional.normalize(whole[first:])
    np.testing.assert_allclose(np.concatenate([block for _, block in blocks]), expected.numpy(), atol=1e-6)


def test_an_identity_follows_the_content() -> None:
    assert identity_of(features()) == identity_of(features()) != identity_of(features(seed=2))
    assert StoredEntities([torch.ones(2, 2)], "named").identity == identity_of(
        StoredEntities([torch.zeros(2, 2)], "named")
    )


def test_vectors_that_are_not_finite_are_refused(base: KnowledgeBase) -> None:
    broken = torch.ones(SIZE, DIM)
    broken[170] = torch.nan
    with raises("features.not-finite"):
        list(EntityVectors(StoredEntities([broken])).blocks(50))
