"""Entities of `[model.entities]` that faiss finds: as exact search does, with a reranker, and after an update."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mmkit.batch import Batch, Features, States
from mmkit.config.entities import EntitySettings
from mmkit.data.knowledge import KnowledgeBase
from mmkit.data.types import Entity, Example, Mention
from mmkit.decoders.entity_matcher import EntityMatcher
from mmkit.entities.linked import LinkedEntities
from mmkit.entities.one_vector import OneVector
from mmkit.entities.side import EntitySide
from mmkit.entities.tensors import EntityTensors, Vectors
from mmkit.scorers.base import SCORE, Scorer
from mmkit.scorers.cosine import CosineScorer
from mmkit.testing import WordEncoder
from mmkit.testing.stand_ins import plain_views
from raising import raises

pytest.importorskip("faiss")

SIZE, DIM, QUERIES = 150, 16, 6


class Names(WordEncoder):
    """Reads an entity's name."""

    def check_reads(self, kind: type[Example] | type[Entity]) -> None: ...

    def collate(self, examples, views):
        tokens = [Example.from_tokens(x.id, x.name.split()) for x in examples]
        return super().collate(tokens, [plain_views(x) for x in tokens])


class First(Scorer):
    """Whose first number is larger."""

    requires, entity_requires = frozenset({"query"}), frozenset({"pooled"})

    def build(self, dims, entity_dims): ...

    def query(self, states: States) -> Features:
        return {"query": states["query"]}

    def entity(self, features: Features) -> Features:
        return {"pooled": features["pooled"]}

    def scores(self, query: Features, entities: Features) -> Features:
        return {SCORE: entities["pooled"][:, 0].expand(len(query["query"]), -1)}

    def pairs(self, query: Features, entities: Features) -> Features:
        return {SCORE: entities["pooled"][..., 0]}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> KnowledgeBase:
    names = (f"{chr(97 + i % 26)}{i * 7919} {i * 104729}" for i in range(SIZE))
    entities = [Entity(f"Q{i}", name) for i, name in enumerate(names)]
    return KnowledgeBase.build(tmp_path_factory.mktemp("kb") / "base", entities)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def side() -> EntitySide:
    """An entity model that is trained: an encoder of its own, and a cosine."""
    torch.manual_seed(0)
    encoder = Names(DIM)
    encoder.build()
    fuser, scorer = OneVector("text"), CosineScorer()
    fuser.build({"text": encoder})
    scorer.build({"query": DIM}, fuser.dims)
    return EntitySide({"text": encoder}, fuser, scorer, settings=EntitySettings(block=40)).eval()


def linker(base: KnowledgeBase, side: EntitySide, search: str, reranker: Scorer | None = None):
    side.reranker = reranker
    tensors = EntityTensors(side, base, torch.device("cpu"))
    matcher = EntityMatcher(search=search, top=10)
    matcher.build({"query": DIM}, {}, base)
    vectors = Vectors(tensors, "pooled", DIM)
    matcher.link_to(LinkedEntities(tensors, side.scorer, vectors, reranker, depth=12))
    return matcher.eval()


def queries() -> tuple[States, list[Example]]:
    query = torch.randn(QUERIES, DIM, generator=torch.Generator().manual_seed(3))
    mentions = [
        Example.from_tokens(f"x{i}", ["a"], mention=Mention("a"), entity=f"Q{9 * i}") for i in range(QUERIES)
    ]
    return States({"query": query}), mentions


def found(matcher: EntityMatcher) -> tuple[list[tuple[str, ...]], Tensor, list[int | None]]:
    states, mentions = queries()
    with torch.no_grad():
        predictions = matcher.decode(states, Batch(tuple(mentions), {}))
        ranks = matcher.rank(states, mentions)
    scores = torch.tensor([p.link_scores for p in predictions])
    return [p.links for p in predictions], scores, [rank.overall for rank in ranks]


@pytest.mark.parametrize("reranker", [None, First()])
def test_faiss_finds_what_exact_search_does(
    base: KnowledgeBase, side: EntitySide, reranker: Scorer | None
) -> None:
    """In so few lists faiss looks at all, so that only a gold entity beyond those found has another rank: none."""
    links, scores, ranks = found(linker(base, side, "exact", reranker))
    near_links, near_scores, near_ranks = found(linker(base, side, "faiss", reranker))
    assert near_links == links and all(len(row) == 10 for row in links)
    torch.testing.assert_close(near_scores, scores)
    beyond = 12 if reranker else 100
    assert near_ranks == [rank if rank <= beyond else None for rank in ranks]
    assert any(rank is not None for rank in near_ranks) and None in near_ranks


def test_a_reranker_s_order_is_its_own(base: KnowledgeBase, side: EntitySide) -> None:
    plain, *_ = found(linker(base, side, "faiss"))
    reranked, *_ = found(linker(base, side, "faiss", First()))
    assert plain != reranked


def test_candidates_of_an_example_are_compared_as_before(base: KnowledgeBase, side: EntitySide) -> None:
    states, _ = queries()
    listed = Example.from_tokens("x", ["a"], mention=Mention("a"), candidates=("Q5", "Q3", "Q140"))
    one = States({"query": states["query"][:1]})
    with torch.no_grad():
        exact, near = (
            linker(base, side, search).decode(one, Batch((listed,), {})) for search in ("exact", "faiss")
        )
    assert exact == near and set(near[0].links) == set(listed.candidates)


def test_what_is_found_follows_the_weights(base: KnowledgeBase, side: EntitySide) -> None:
    matcher = linker(base, side, "faiss")
    before, *_ = found(matcher)
    with torch.no_grad():
        nn.init.normal_(side.named_encoders["text"].embedding.weight)
    after, *_ = found(matcher)
    assert after != before
    assert after == found(linker(base, side, "exact"))[0]


def test_a_scorer_that_is_no_cosine_is_refused_with_what_to_set() -> None:
    with raises("part.search", match="First compares otherwise") as error:
        EntityMatcher(loss="cross_entropy", search="faiss").check_scorer(First())
    assert 'search = "exact"' in error.value.hint
    EntityMatcher(loss="cross_entropy", search="exact").check_scorer(First())
