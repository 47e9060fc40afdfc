"""The faiss index: recall against exact search, the cache, damage."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from linking import Table
from mmkit.decoders import approximate
from mmkit.decoders.approximate import ApproximateIndex
from mmkit.decoders.search import search
from raising import raises

N, D = 6000, 32


def clustered(seed: int = 0) -> tuple[Table, Tensor]:
    """Entities around 80 centres, of different lengths, and queries near some of them."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(80, D, generator=draw)
    near = centres[torch.randint(80, (N + 50,), generator=draw)]
    points = (near + 0.8 * torch.randn(N + 50, D, generator=draw)) * torch.rand(N + 50, 1, generator=draw) * 9
    return Table(points[:N].half(), 700), points[N:]


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(approximate, "PART", 1500)  # several of them
    return tmp_path / "indexes"


def recall(rows: Tensor, truly: Tensor) -> float:
    return (rows.unsqueeze(2) == truly.unsqueeze(1)).any(2).float().mean().item()


def test_finds_most_of_the_nearest_with_their_exact_cosines(cache):
    table, query = clustered()
    index = ApproximateIndex.of(table, probes=16)
    scores, rows = index.search(query, 20)
    exact = search(query, table, 20)
    _, from_one_list = ApproximateIndex.of(table, probes=1).search(query, 20)
    assert recall(rows, exact.rows) > 0.99
    assert 0.5 < recall(from_one_list, exact.rows) < recall(rows, exact.rows)
    cosines = torch.nn.functional.cosine_similarity(query[:, None], table.gather(rows), dim=2)
    torch.testing.assert_close(scores, cosines)
    assert (scores[:, :-1] >= scores[:, 1:]).all()


def test_with_all_lists_it_is_exact(cache):
    table, query = clustered()
    table.features[2000:2010] = table.features[5]
    query[0] = table.features[5].float()
    index = ApproximateIndex.of(table, lists=16, probes=999)
    scores, rows = index.search(query, 20)
    exact = search(query, table, 20)
    assert torch.equal(rows, exact.rows)
    assert torch.equal(scores, exact.scores)
    assert rows[0, :11].tolist() == [5, *range(2000, 2010)]


def test_more_is_asked_for_than_the_probed_lists_hold(cache):
    table, query = clustered()
    _, rows = ApproximateIndex.of(table, probes=1).search(query, 3500)
    assert rows.shape == (50, 3500)
    assert (rows >= 0).all()
    assert all(len(set(row)) == 3500 for row in rows.tolist())
    small = Table(table.features[:3], 700)
    assert ApproximateIndex.of(small).search(query, 20)[1].sort(dim=1).values.tolist() == [[0, 1, 2]] * 50


def test_an_index_is_built_once_and_again_when_damaged(cache, monkeypatch):
    table, query = clustered()
    built = []
    build = approximate._build
    monkeypatch.setattr(approximate, "_build", lambda *given: (built.append(given), build(*given)))
    first = ApproximateIndex.of(table).search(query, 5)
    (folder,) = [path for path in cache.iterdir() if path.is_dir()]
    files = {path.name for path in folder.iterdir()}
    again = ApproximateIndex.of(table).search(query, 5)
    assert len(built) == 1
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))

    for damage in (truncate, flip, lambda path: path.unlink()):
        for name in ("0.faiss", "2.faiss", approximate.FACTS):
            before = len(built)
            damage(folder / name)
            again = ApproximateIndex.of(table).search(query, 5)
            assert len(built) == before + 1
            assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert {path.name for path in folder.iterdir()} == files

    table.features[0] += 1  # other features, another index
    before = len(built)
    ApproximateIndex.of(table)
    assert len(built) == before + 1


def truncate(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def test_a_query_that_is_not_finite_is_refused(cache):
    table, query = clustered()
    query[3, 1] = float("nan")
    with raises("features.not-finite", match="of a query"):
        ApproximateIndex.of(table).search(query, 5)


def test_without_faiss_it_says_what_to_install(cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with raises("part.needs-package") as error:
        ApproximateIndex.of(clustered()[0])
    assert "mmkit-core[faiss]" in error.value.hint
