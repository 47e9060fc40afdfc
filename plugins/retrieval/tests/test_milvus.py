"""Pictures in Milvus, here its embedded form: an upload finds what the index finds, and errors are one message."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mmkit_retrieval.pictures.image_index import ImageIndex
from mmkit_retrieval.pictures.image_writer import ImageWriter
from mmkit_retrieval.pictures.vectors import Model, VectorStore
from mmkit_retrieval.servers import milvus
from mmkit_retrieval.servers.milvus import FACTS, MilvusImages, upload
from mmkit_retrieval.servers.milvus_client import checked_address
from raising import raises

pymilvus = pytest.importorskip("pymilvus")
server_manager_instance = pytest.importorskip("milvus_lite.server_manager").server_manager_instance

WIDTH = 16


def vectors(count: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((count, WIDTH)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def indexed(folder: Path, count: int, seed: int = 1) -> ImageIndex:
    """An index of random vectors, two to an article."""
    with VectorStore(folder) as store:
        store.model = Model("tiny", "main", tuple(vectors(1, 9)[0].tolist()))
        for n in range(count // 2):
            store.add_article(f"a{n}", f"'Title' \"{n}\"", "Lead é. " * 2000)
        fields = [(f"a{n // 2}", n % 2, f"{seed} {n}", f"{n}.png", f"caption {n}") for n in range(count)]
        store.add(fields, vectors(count, seed))
        store.commit()
    writer = ImageWriter(folder, "tiny", "main", "cpu")
    writer.finish()
    writer.close()
    return ImageIndex.open(folder)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    yield str(tmp_path / "milvus.db")
    server_manager_instance.release_all()  # else idle connections complain after minutes


def test_milvus_finds_what_the_index_finds(tmp_path: Path, server: str) -> None:
    index, seen = indexed(tmp_path / "index", 600), []
    upload(index, server, "pictures", "FLAT", lambda done, total: seen.append((done, total)))
    assert seen == [(256, 600), (512, 600), (600, 600)]
    collection = MilvusImages(server, "pictures")
    assert (len(collection), collection.identity) == (600, index.identity)
    assert index.model is not None
    assert (collection.model.clip, collection.model.revision) == ("tiny", "main")
    assert collection.model.probe == pytest.approx(index.model.probe, abs=1e-6)
    queries = np.concatenate([vectors(20, 3), 5 * vectors(1, 9)])  # the last is the probe, which is no image
    for theirs, ours in zip(collection.search(queries, 7), index.search(queries, 7), strict=True):
        assert [hit.id for hit in theirs] == [hit.id for hit in ours]
        assert [hit.score for hit in theirs] == pytest.approx([hit.score for hit in ours], abs=1e-5)
        for their, our in zip(theirs, ours, strict=True):
            assert (their.article, their.title, their.caption) == (our.article, our.title, our.caption)
            assert their.image == our.image and len(their.text) > 1000 and our.text.startswith(their.text)
    assert collection.search(queries[:0], 3) == []


def test_uploading_again_leaves_only_the_new(tmp_path: Path, server: str) -> None:
    upload(indexed(tmp_path / "one", 40), server, "pictures", "FLAT")
    index = indexed(tmp_path / "two", 10, seed=2)
    for _ in range(2):
        upload(index, server, "pictures", "FLAT")
        collection = MilvusImages(server, "pictures")
        assert collection.identity == index.identity
        assert {hit.image for hit in collection.search(vectors(1, 3), 100)[0]} == {
            f"{n}.png" for n in range(10)
        }
        collection.close()


def test_an_upload_that_was_cut_off_is_refused_and_may_be_made_again(tmp_path: Path, server: str) -> None:
    index = indexed(tmp_path / "index", 600)
    upload(index, server, "pictures", "FLAT")

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upload(index, server, "pictures", progress=stop)
    with raises("retrieval.index-unfinished") as caught:
        MilvusImages(server, "pictures")
    assert "upload" in caught.value.hint
    upload(index, server, "pictures")
    assert len(MilvusImages(server, "pictures").search(vectors(1, 3), 1000)[0]) == 600


def test_what_does_not_fit_is_one_message(
    tmp_path: Path, server: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with raises("retrieval.no-milvus-lite"):
        MilvusImages(server, "pictures")
    with raises("retrieval.milvus", match="not exist"):
        upload(indexed(tmp_path / "index", 10), str(tmp_path / "nowhere" / "milvus.db"), "pictures")
    upload(ImageIndex.open(tmp_path / "index"), server, "pictures", "FLAT")
    with raises("retrieval.no-collection", match="'picture'") as caught:
        MilvusImages(server, "picture")
    assert "existing collections: pictures" in caught.value.hint
    with raises("retrieval.query-width", match="16, but that of a query has 3"):
        MilvusImages(server, "pictures").search(np.ones((1, 3), np.float32), 1)
    client = pymilvus.MilvusClient(server)
    client.create_collection("other", dimension=5)
    caplog.clear()  # of what milvus-lite says to that
    with raises("retrieval.foreign-collection", match="width 16"):
        upload(ImageIndex.open(tmp_path / "index"), server, "other")
    with raises("retrieval.milvus"):
        MilvusImages("http://127.0.0.1:1", "pictures")
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "Traceback" not in capfd.readouterr().err


def test_a_newer_or_foreign_collection_is_refused(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milvus, "FORMAT", 2)
    upload(indexed(tmp_path / "index", 10), server, "pictures", "FLAT")
    monkeypatch.undo()
    with raises("retrieval.index-format", match="format 2"):
        MilvusImages(server, "pictures")
    client = pymilvus.MilvusClient(server)
    row = client.get("pictures", [FACTS])[0]
    client.upsert("pictures", [{**row, "text": "{}"}])
    with raises("retrieval.foreign-collection"):
        MilvusImages(server, "pictures")


def test_an_empty_index_is_not_uploaded(tmp_path: Path, server: str) -> None:
    writer = ImageWriter(tmp_path, "tiny", None, "cpu")
    writer.finish()
    writer.close()
    with raises("retrieval.empty-index"):
        upload(ImageIndex.open(tmp_path), server, "pictures")


def test_an_address_holds_no_credentials() -> None:
    assert checked_address("http://milvus:19530") == "http://milvus:19530"
    with raises("retrieval.credentials") as caught:
        checked_address("http://me:secret@milvus:19530")
    assert "secret" not in str(caught.value)
