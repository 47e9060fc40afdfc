"""The image index: what it finds is what a plain comparison finds, and what is wrong with it is told."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from mmkit.data.types import Example
from mmkit.encoders.clip_sample import write_tiny_clip
from mmkit_retrieval.corpora.article import Article, CaptionedImage
from mmkit_retrieval.pictures import nearest
from mmkit_retrieval.pictures.image_facts import FACTS
from mmkit_retrieval.pictures.image_index import ImageIndex
from mmkit_retrieval.pictures.image_writer import ImageWriter
from mmkit_retrieval.pictures.vectors import DATABASE, Model, VectorStore
from raising import raises


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("clip")
    return str(write_tiny_clip(folder / "tiny", 3, [Example.from_tokens(w, [w]) for w in ("who", "is")]))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Files of twelve images of noise over a colour."""
    folder, draw = tmp_path_factory.mktemp("pictures"), np.random.default_rng(5)
    paths = []
    for number in range(12):
        pixels = draw.integers(0, 60, (40, 50, 3)) + draw.integers(0, 195, (1, 1, 3))
        paths.append(str(folder / f"{number}.png"))
        Pillow.fromarray(pixels.astype(np.uint8)).save(paths[-1])
    return paths


def article(id: str, *paths: str) -> Article:
    images = tuple(CaptionedImage(path, f"caption {Path(path).stem}") for path in paths)
    return Article(id, f"Title {id}", ("", f"Lead of {id}.", "More."), (), images)


def built(folder: Path, clip: str, articles: list[Article]) -> Path:
    writer = ImageWriter(folder, clip, None, "cpu", batch_size=5)
    writer.put(articles)
    writer.finish()
    writer.close()
    return folder


def queries(clip: str, paths: list[str]) -> np.ndarray:
    from mmkit_retrieval.pictures.clip_images import ClipImages

    model = ClipImages(clip)
    return model.vectors([model.pixels(Pillow.open(path)) for path in paths])


def test_a_picture_is_found_by_itself_with_its_article(
    tmp_path: Path, clip: str, pictures: list[str]
) -> None:
    articles = [article("a", *pictures[:3]), article("none"), article("b", *pictures[3:])]
    index = ImageIndex.open(built(tmp_path, clip, articles))
    assert len(index) == 12
    assert index.model is not None and index.model.clip == clip
    vectors = queries(clip, pictures)
    found = index.search(3 * vectors, 4)  # of any length
    for path, hits in zip(pictures, found, strict=True):
        assert [len(hits), hits[0].image] == [4, path]
        assert hits[0].score == pytest.approx(1, abs=2e-3)
        assert hits[0].caption == f"caption {Path(path).stem}"
    first = found[1][0]
    assert (first.id, first.article, first.title, first.text) == ("a#1", "a", "Title a", "Lead of a.")
    by_path = dict(zip(pictures, vectors, strict=True))
    for vector, hits in zip(vectors, found, strict=True):
        exact = sorted((float(vector @ other) for other in by_path.values()), reverse=True)[:4]
        assert [hit.score for hit in hits] == pytest.approx(exact, abs=2e-3)
    assert len(index.search(vectors[:1], 100)[0]) == 12
    assert index.search(vectors[:0], 3) == []


def test_missing_and_broken_pictures_are_counted_and_listed(
    tmp_path: Path, clip: str, pictures: list[str]
) -> None:
    broken, missing = tmp_path / "broken.png", str(tmp_path / "missing.png")
    broken.write_bytes(Path(pictures[0]).read_bytes()[:300])
    writer = ImageWriter(tmp_path / "images", clip, None, "cpu")
    writer.put([article("a", str(broken), pictures[1], missing)])
    writer.finish()
    assert (len(writer), writer.unreadable) == (1, 2)
    writer.close()
    index = ImageIndex.open(tmp_path / "images")
    assert [path for _, path, _ in index.unreadable()] == [str(broken), missing]
    assert "broken" in index.unreadable()[0][2]
    assert index.search(queries(clip, pictures[1:2]), 5)[0][0].id == "a#1"


def test_additions_and_removals_end_where_building_at_once_ends(
    tmp_path: Path, clip: str, pictures: list[str]
) -> None:
    built(tmp_path / "steps", clip, [article("a", *pictures[:4]), article("b", *pictures[4:6])])
    before = ImageIndex.open(tmp_path / "steps").identity
    writer = ImageWriter(tmp_path / "steps", clip, None, "cpu")
    writer.put([article("c", *pictures[6:9]), article("a", pictures[9], pictures[0])])
    writer.put([article("c", pictures[10])])  # while the first one's images still wait
    writer.remove(["b"])
    writer.finish()
    assert len(writer) == 3
    writer.close()
    steps = ImageIndex.open(tmp_path / "steps")
    once = ImageIndex.open(
        built(tmp_path / "once", clip, [article("c", pictures[10]), article("a", pictures[9], pictures[0])])
    )
    assert steps.identity == once.identity != before
    vectors = queries(clip, pictures)
    assert [[h.id for h in hits] for hits in steps.search(vectors, 9)] == [
        [h.id for h in hits] for hits in once.search(vectors, 9)
    ]


def test_putting_the_same_changes_nothing_and_encodes_nothing(
    tmp_path: Path, clip: str, pictures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    articles = [article("a", *pictures[:3]), article("b", pictures[0])]
    built(tmp_path, clip, articles)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir() if path.name != ".lock"}
    built(tmp_path, clip, [])
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in before} == before
    identity = ImageIndex.open(tmp_path).identity
    monkeypatch.setattr(ImageWriter, "_load", lambda self: pytest.fail("CLIP is not needed"))
    built(tmp_path, clip, articles)
    assert ImageIndex.open(tmp_path).identity == identity


def test_an_index_without_pictures_finds_nothing(tmp_path: Path, clip: str) -> None:
    index = ImageIndex.open(built(tmp_path, clip, [article("a")]))
    assert (len(index), index.model) == (0, None)
    assert index.search(np.ones((2, 7), np.float32), 3) == [[], []]


def test_another_clip_is_refused_and_the_same_elsewhere_is_not(
    tmp_path: Path, clip: str, pictures: list[str]
) -> None:
    folder = built(tmp_path / "images", clip, [article("a", *pictures[:2])])
    other = str(write_tiny_clip(tmp_path / "other", 4, []))
    with raises("retrieval.other-clip"):
        ImageWriter(folder, other, None, "cpu")
    (tmp_path / "moved").symlink_to(clip)
    built(folder, str(tmp_path / "moved"), [article("b", pictures[2])])
    index = ImageIndex.open(folder)
    assert (len(index), index.model and index.model.clip) == (3, clip)
    with raises("encoder.unloadable", match="the CLIP model"):
        built(tmp_path / "new", str(tmp_path / "nothing"), [article("a", pictures[0])])


def test_half_precision_makes_nearly_the_same_vectors(clip: str, pictures: list[str]) -> None:
    from mmkit_retrieval.pictures.clip_images import ClipImages, same_model

    whole, half = ClipImages(clip, precision="float32"), ClipImages(clip, precision="bfloat16")
    whole_vectors, half_vectors = (
        model.vectors([model.pixels(Pillow.open(path)) for path in pictures]) for model in (whole, half)
    )
    assert half_vectors.dtype == np.float32
    assert ((whole_vectors * half_vectors).sum(axis=1) > 0.995).all()
    assert same_model(whole.probe().tolist(), half.probe().tolist())


def test_queries_that_do_not_fit_are_refused(tmp_path: Path, clip: str, pictures: list[str]) -> None:
    index = ImageIndex.open(built(tmp_path, clip, [article("a", pictures[0])]))
    with raises("retrieval.query-width", match="256, but that of a query has 3"):
        index.search(np.ones((1, 3), np.float32), 1)
    with raises("retrieval.query-not-finite"):
        index.search(np.full((1, 256), np.nan, np.float32), 1)


def test_a_reader_notices_that_the_index_was_changed(tmp_path: Path, clip: str, pictures: list[str]) -> None:
    index = ImageIndex.open(built(tmp_path, clip, [article("a", *pictures[:3])]))
    vectors = queries(clip, pictures[:1])
    writer = ImageWriter(tmp_path, clip, None, "cpu")
    writer.put([article("a", pictures[5])])
    assert len(index.search(vectors, 3)[0]) == 3, "nothing is committed yet"
    writer.commit()
    with raises("retrieval.index-changed"):
        index.search(vectors, 3)
    with raises("retrieval.index-unfinished") as caught:
        ImageIndex.open(tmp_path)
    assert "build-index" in caught.value.hint
    writer.close()


@pytest.fixture
def whole(tmp_path: Path, clip: str, pictures: list[str]) -> Iterator[Path]:
    yield built(tmp_path / "whole", clip, [article("a", *pictures[:6])])


@pytest.mark.parametrize("pattern", ["vectors-*.f16", "nearest-*.faiss", DATABASE])
@pytest.mark.parametrize("how", ["altered", "short", "missing"])
def test_damage_is_noticed_when_it_is_opened(whole: Path, pattern: str, how: str) -> None:
    (path,) = whole.glob(pattern)
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(data if how == "altered" else data[:-1])
    with raises("retrieval.index-damaged"):
        ImageIndex.open(whole)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": "1"}'])
def test_damaged_facts_are_noticed(whole: Path, text: str) -> None:
    (whole / FACTS).write_text(text)
    with raises("retrieval.index-damaged"):
        ImageIndex.open(whole)


def test_a_missing_newer_or_unfinished_index_is_named(whole: Path, tmp_path: Path) -> None:
    with raises("retrieval.no-index") as caught:
        ImageIndex.open(tmp_path / "nowhere")
    assert "build-index" in caught.value.hint
    facts = json.loads((whole / FACTS).read_text())
    (whole / FACTS).write_text(json.dumps({**facts, "format": 2}))
    with raises("retrieval.index-format", match="format 2"):
        ImageIndex.open(whole)
    (whole / FACTS).unlink()
    with raises("retrieval.index-unfinished"):
        ImageIndex.open(whole)


def test_a_damaged_faiss_file_is_written_again(whole: Path, clip: str) -> None:
    identity = ImageIndex.open(whole).identity
    next(whole.glob("nearest-*")).write_bytes(b"")
    built(whole, clip, [])
    assert ImageIndex.open(whole).identity == identity


SPILLED = """
import os, sys
from pathlib import Path
from mmkit_retrieval.pictures.vectors import VectorStore

store = VectorStore(Path(sys.argv[1]))
store.remove(["a"])
for n in range(3000):
    store.add_article(f"b{n}", "title", "lead " * 1000)
assert list(Path(sys.argv[1]).glob("*-journal")), "the transaction is on the disk in part"
os._exit(9)
"""


def test_an_addition_killed_in_a_large_transaction_leaves_the_index_as_it_was(whole: Path) -> None:
    before = ImageIndex.open(whole)
    done = subprocess.run([sys.executable, "-c", SPILLED, str(whole)], check=False)
    assert done.returncode == 9
    assert [*whole.glob("*-journal")]
    index = ImageIndex.open(whole)
    query = np.ones((1, 256), np.float32)
    assert index.identity == before.identity
    assert index.search(query, 9) == before.search(query, 9)


# Many vectors, without pictures: the store and the faiss files alone

COUNT, WIDTH = 2000, 16


def clustered(count: int, seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((20, WIDTH))
    vectors = centres[draw.integers(20, size=count)] + 0.5 * draw.standard_normal((count, WIDTH))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def filled(folder: Path, clip: str, flat_below: int) -> ImageIndex:
    """An index of clustered vectors, in which every third article was removed."""
    with VectorStore(folder) as store:
        store.model = Model(clip, None, tuple(clustered(1, 9)[0].tolist()))
        for first in range(0, COUNT, 500):
            for n in range(first, first + 500):
                store.add_article(str(n), f"title {n}", "")
            store.add(
                [(str(n), 0, str(n), f"{n}.png", "") for n in range(first, first + 500)],
                clustered(COUNT, 1)[first : first + 500],
            )
            store.commit()
        store.remove([str(n) for n in range(0, COUNT, 3)])
        store.commit()
    writer = ImageWriter(folder, clip, None, "cpu", flat_below=flat_below, lists=8)
    writer.finish()
    writer.close()
    return ImageIndex.open(folder)


def brute_force(queries: np.ndarray, top: int) -> tuple[list[list[str]], np.ndarray]:
    """Articles and inner products, with numpy."""
    stored = clustered(COUNT, 1).astype(np.float16).astype(np.float32)
    products = queries @ stored.T
    products[:, ::3] = -np.inf
    order = np.argsort(-products, axis=1, kind="stable")[:, :top]
    return [[str(n) for n in row] for row in order], np.take_along_axis(products, order, axis=1)


@pytest.mark.parametrize("part_bytes", [1, 1 << 28])
def test_flat_search_is_exact(
    tmp_path: Path, clip: str, part_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "STEP", 256)
    monkeypatch.setattr(nearest, "PART_BYTES", part_bytes)
    index = filled(tmp_path, clip, flat_below=10**6)
    assert index.facts["kind"] == "flat"
    assert len([*tmp_path.glob("nearest-*")]) == (6 if part_bytes == 1 else 1)
    wanted = clustered(50, 2)
    found = index.search(wanted, 12)
    articles, products = brute_force(wanted, 12)
    assert [[hit.article for hit in hits] for hits in found] == articles
    assert np.allclose([[hit.score for hit in hits] for hits in found], products, atol=1e-6)


def test_inverted_lists_find_nearly_all_and_score_exactly(
    tmp_path: Path, clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "STEP", 256)
    monkeypatch.setattr(nearest, "PART_BYTES", 1)
    index = filled(tmp_path, clip, flat_below=1)
    assert index.facts["kind"] == "ivfpq"
    wanted = clustered(50, 2)
    articles, products = brute_force(wanted, 10)
    index.probes = 8
    found = index.search(wanted, 10)
    hit = [len({h.article for h in hits} & {*row}) for hits, row in zip(found, articles, strict=True)]
    assert np.mean(hit) > 9.5
    assert np.allclose([hits[0].score for hits in found], products[:, 0], atol=1e-6)
    assert all([h.score for h in hits] == sorted((h.score for h in hits), reverse=True) for hits in found)
    index.probes = 1  # more are searched where one list holds too few
    assert [len({h.id for h in hits}) for hits in index.search(wanted, 1200)] == [1200] * 50


# Killed at lines of the writer and of what it writes with: a forked child dies, and another one goes on.
