"""Linking through Milvus, here its embedded form: what exact search finds is found, and nothing goes wrong silently."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import mmkit
from mmkit.access.network import without_network
from mmkit.batch import Batch, States
from mmkit.cli import main
from mmkit.data.knowledge import KnowledgeBase
from mmkit.data.types import Entity, Example, GoldRank, Mention
from mmkit.decoders.engine_search import EngineIndex
from mmkit.decoders.engines import EntityVectors, engine_of
from mmkit.decoders.entity_matcher import EntityMatcher
from mmkit.encoders.entity_features import StoredEntities
from mmkit.errors import MMKitError
from mmkit.inference.evaluate import evaluate
from mmkit.loading.sample import sampled
from mmkit.metrics.linking import Linking
from mmkit.recipe import load_recipe
from mmkit.training.train import train
from mmkit_retrieval.servers import milvus_entities
from mmkit_retrieval.servers.milvus_entities import FACTS, MilvusEntities
from raising import raises

pymilvus = pytest.importorskip("pymilvus")
server_manager_instance = pytest.importorskip("milvus_lite.server_manager").server_manager_instance

SIZE, DIM = 400, 16
ENGINE = "milvus"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    yield str(tmp_path / "milvus.db")
    server_manager_instance.release_all()  # else idle connections complain after minutes


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> KnowledgeBase:
    entities = [Entity(f"Q{i}", f"name {i}") for i in range(SIZE)]
    return KnowledgeBase.build(tmp_path_factory.mktemp("kb") / "base", entities)


def features(seed: int = 1, size: int = SIZE, dim: int = DIM) -> StoredEntities:
    """Random vectors; the last two are zero."""
    drawn = torch.randn(size, dim, generator=torch.Generator().manual_seed(seed))
    drawn[-2:] = 0
    return StoredEntities([drawn])


def queries(count: int = 30) -> States:
    query = torch.randn(count, DIM, generator=torch.Generator().manual_seed(3))
    query[-1] = 0
    return States({"query": query})


def mentions(count: int = 30) -> list[Example]:
    return [
        Example.from_tokens(f"x{i}", ["a"], mention=Mention("a"), entity=f"Q{13 * i}") for i in range(count)
    ]


def flat(server: str, **settings: Any) -> dict[str, Any]:
    return {"engine": ENGINE, "url": server, "collection": "entities", "index": "FLAT", **settings}


def matcher(base: KnowledgeBase, search: Any, stored: StoredEntities, top: int = 5) -> EntityMatcher:
    decoder = EntityMatcher(search=search, top=top)
    decoder.build({"query": DIM}, {}, base)
    decoder.attach(stored)
    return decoder.eval()


def linked(decoder: EntityMatcher) -> tuple[list[Any], list[GoldRank]]:
    with torch.no_grad():
        predictions = decoder.decode(queries(), Batch(tuple(mentions()), {}))
        ranks = decoder.rank(queries(), mentions())
    return [(p.links, p.link_scores) for p in predictions], ranks


def silent(done: int, total: int) -> None: ...


def engine(server: str, **settings: Any) -> MilvusEntities:
    built = engine_of(flat(server, **settings))
    assert isinstance(built, MilvusEntities)
    return built


def test_the_best_are_those_of_exact_search_and_a_rank_beyond_them_is_none(
    base: KnowledgeBase, server: str
) -> None:
    links, ranks = linked(matcher(base, "exact", features()))
    decoder = matcher(base, flat(server), features())
    told = decoder.prepare_search(silent)
    near_links, near_ranks = linked(decoder)
    assert near_links == links
    assert [r.overall for r in near_ranks[:-1]] == [
        r.overall if r.overall and r.overall <= 100 else None for r in ranks[:-1]
    ]
    assert None in [r.overall for r in near_ranks] and any(r.overall for r in near_ranks)
    assert "finds the 100 entities nearest to a mention" in told[0] and "counts as not found" in told[0]
    assert told[1].endswith(f"400 entities were sent to Milvus ({server}, collection entities)")

    metric = Linking()
    metric.update_ranks(mentions(), near_ranks)
    exact = Linking()
    exact.update_ranks(mentions(), ranks)
    assert metric.compute()["kb_top20"] == exact.compute()["kb_top20"] > 0
    assert metric.compute()["kb_mrr"] < exact.compute()["kb_mrr"]


def test_what_is_there_is_not_sent_again(base: KnowledgeBase, server: str) -> None:
    matcher(base, flat(server), features()).prepare_search(silent)
    sent: list[int] = []
    told = matcher(base, flat(server), features()).prepare_search(lambda done, total: sent.append(done))
    assert not sent and len(told) == 1


def test_a_filling_that_was_stopped_goes_on(
    base: KnowledgeBase, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milvus_entities, "BYTES", 4 * DIM * 30)
    monkeypatch.setattr(milvus_entities, "KEPT", 90)

    def stop(done: int, total: int) -> None:
        if done >= 240:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EngineIndex.of(engine(server), features(), stop)
    sent: list[int] = []
    index = EngineIndex.of(engine(server), features(), lambda done, total: sent.append(done))
    kept = int(index.said.rpartition(" ")[2])
    assert 0 < kept <= 240 and sent[0] <= kept + 30 and sent[-1] == SIZE
    assert linked(matcher(base, flat(server), features()))[0] == linked(matcher(base, "exact", features()))[0]


KILLED = """
import os, signal, sys, torch
from mmkit.decoders.engine_search import EngineIndex
from mmkit.decoders.engines import engine_of
from mmkit.encoders.entity_features import StoredEntities
from mmkit_retrieval.servers import milvus_entities

milvus_entities.BYTES, milvus_entities.KEPT = 4 * 16 * 30, 60
drawn = torch.load(sys.argv[2])
engine = engine_of({"engine": "milvus", "url": sys.argv[1], "collection": "entities", "index": "FLAT"})
EngineIndex.of(
    engine,
    StoredEntities([drawn]),
    lambda done, total: os.kill(os.getpid(), signal.SIGKILL) if done >= 200 else None,
)
"""


@pytest.mark.matrix
def test_a_filling_that_was_killed_goes_on(base: KnowledgeBase, server: str, tmp_path: Path) -> None:
    stored = features()
    whole = torch.cat([block for _, block in stored.blocks()])
    torch.save(whole, tmp_path / "vectors.pt")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, server, tmp_path / "vectors.pt"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    one = StoredEntities([whole])
    sent: list[int] = []
    index = EngineIndex.of(engine(server), one, lambda done, total: sent.append(done))
    assert "went on after the first" in index.said and sent[-1] == SIZE
    assert linked(matcher(base, flat(server), one))[0] == linked(matcher(base, "exact", one))[0]


@pytest.mark.parametrize("change", ["vectors", "fewer", "width", "index"])
def test_other_entities_replace_those_that_are_there(server: str, change: str) -> None:
    EngineIndex.of(engine(server), features(), silent)
    other = {
        "vectors": features(seed=2),
        "fewer": features(size=150),
        "width": features(dim=8),
        "index": features(),
    }[change]
    again = engine(server, **({"index": "AUTOINDEX"} if change == "index" else {}))
    index = EngineIndex.of(again, other, silent)
    assert "had 400 entities of another knowledge base, model or index" in index.said
    assert f"{len(other)} entities were sent" in index.said
    vectors = EntityVectors(other)
    whole = np.concatenate([block for _, block in vectors.blocks(100)])
    rows = again.near(whole[:5], len(other))
    assert rows[:, :].max() == len(other) - 1 and {0, 1, 2, 3, 4} <= set(rows[:, 0].tolist())
    assert all(sorted(row) == list(range(len(other))) for row in rows.tolist())


def test_a_collection_that_another_model_filled_meanwhile_is_not_searched(server: str) -> None:
    index = EngineIndex.of(engine(server), features(), silent)
    index.search(queries()["query"], 5)
    EngineIndex.of(engine(server), features(seed=2, size=500), silent)
    with raises("retrieval.other-entities", match="filled with other entities"):
        index.search(queries()["query"], 5)


def test_what_goes_wrong_is_one_message(base: KnowledgeBase, server: str) -> None:
    with without_network("runs/theirs"), raises("network.not-allowed"):
        EngineIndex.of(engine("http://milvus:19530"), features(), silent)
    client = pymilvus.MilvusClient(server)
    client.create_collection("other", dimension=DIM)
    with raises("retrieval.foreign-collection"):
        EngineIndex.of(engine(server, collection="other"), features(), silent)
    index = EngineIndex.of(engine(server), features(), silent)
    with raises("part.search", match="at most 16,383 entities of a mention"):
        EngineIndex(engine(server), StoredEntities([torch.randn(20_000, DIM)])).search(
            queries()["query"], 17_000
        )
    (row,) = client.get("entities", [FACTS])
    client.upsert("entities", [{**row, "facts": '{"format": 2}'}])
    with raises("retrieval.index-format", match="format 2"):
        index.search(queries()["query"], 5)
    client.upsert("entities", [{**row, "facts": "{}"}])
    with raises("retrieval.foreign-collection"):
        EngineIndex.of(engine(server), features(), silent)


@pytest.mark.parametrize("width", [DIM, 8])
def test_rows_that_nothing_describes_are_not_replaced(server: str, width: int) -> None:
    """They are somebody else's, although the collection has the same fields."""
    EngineIndex.of(engine(server), features(), silent)
    client = pymilvus.MilvusClient(server)
    client.delete("entities", ids=[FACTS])
    with raises("retrieval.foreign-collection"):
        EngineIndex.of(engine(server), features(dim=width), silent)
    assert len(client.get("entities", [0, 1])) == 2


def test_a_server_that_is_away_is_one_message() -> None:
    with raises("retrieval.milvus") as caught:
        EngineIndex.of(engine("http://127.0.0.1:1", timeout=2.0), features(), silent)
    assert (
        caught.value.where == "http://127.0.0.1:1" and "check that the server is running" in caught.value.hint
    )


def test_settings_are_checked_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    with raises("retrieval.credentials") as caught:
        EntityMatcher(search=flat("http://me:secret@milvus:19530"))
    assert "secret" not in str(caught.value)
    with raises("part.invalid", match="colection"):
        engine_of({"engine": ENGINE, "url": "http://milvus:19530", "colection": "x"})
    monkeypatch.setattr("mmkit_retrieval.servers.milvus_client.find_spec", lambda name: None)
    with raises("part.needs-package", match="pymilvus"):
        engine("http://milvus:19530").check()


def test_a_copy_has_a_connection_of_its_own(server: str) -> None:
    index = EngineIndex.of(engine(server), features(), silent)
    copied: EngineIndex = pickle.loads(pickle.dumps(index))
    query = queries()["query"]
    assert torch.equal(copied.search(query, 5)[1], index.search(query, 5)[1])


@pytest.mark.matrix
def test_a_trained_run_links_through_milvus(tmp_path: Path, server: str) -> None:
    """From the sample to an answer: trained with exact search, then evaluated and asked through Milvus."""
    settings = {"training.epochs": 2, "model.decoder.negatives": "random"}
    recipe = sampled(load_recipe("text_only_wikimel")).with_overrides(settings)
    run = tmp_path / "run"
    train(recipe, run, device="cpu", quiet=True)
    exact, _ = evaluate(run, device="cpu", output=tmp_path / "exact")
    through = recipe.with_overrides({"model.decoder.search": flat(server)})
    with raises("network.not-allowed"):
        evaluate(run, device="cpu", recipe=through, output=tmp_path / "milvus")
    found, _ = evaluate(run, device="cpu", recipe=through, output=tmp_path / "milvus", allow_network=True)
    assert found == exact
    asked = ("Paris again", "Paris")
    plain = mmkit.load(run, device="cpu").link(*asked)
    assert mmkit.load(run, device="cpu", search=flat(server), allow_network=True).link(*asked) == plain
    words = ["predict", run, "--text", "Paris again", "--mention", "Paris", "--device", "cpu"]
    search = f'{{"engine": "milvus", "url": "{server}", "collection": "entities", "index": "AUTOINDEX"}}'
    said = CliRunner().invoke(main, [str(w) for w in (*words, "--search", search, "--allow-network")])
    assert said.exit_code == 0 and plain[0].entity in said.stdout, said.output
    assert "56 entities were sent" in said.stderr
    refused = CliRunner().invoke(main, [str(w) for w in (*words, "--search", search)])
    assert refused.exit_code == 2 and isinstance(refused.exception, SystemExit | MMKitError)
