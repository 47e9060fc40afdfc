"""A knowledge base spread over two processes: what they find together is what one process finds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor

from mmkit.decoders.search import search
from mmkit.encoders.entity_features import StoredEntities

SIZE, DIM = 301, 16
CASES = {
    # queries of each process, and how many nearest it wants
    "as many": ((6, 20), (6, 20)),
    "fewer": ((9, 5), (2, 12)),
    "none in one": ((7, 4), (0, 0)),
    "more than there are": ((3, 400), (3, 10)),
    "ranks alone": ((4, 0), (4, 0)),
}


def given(case: str) -> tuple[Tensor, Tensor, Tensor]:
    """Entities with twins in both parts and zero vectors; queries and gold rows of both processes."""
    draw = torch.Generator().manual_seed(len(case))
    features = torch.randn(SIZE, DIM, generator=draw).half()
    features[200:210] = features[3]
    features[40:60] = 0
    features[280:290] = 0
    count = sum(queries for queries, _ in CASES[case])
    query = torch.randn(count, DIM, generator=draw)
    gold = torch.randint(SIZE, (count,), generator=draw)
    gold[0], gold[1], gold[2], gold[-1] = 3, -1, 285, 205
    query[0] = features[3].float()
    query[-1] = 0
    return features, query, gold


CHILD = """
import sys
import torch
import torch.distributed as dist

sys.path.insert(0, sys.argv[1])
from mmkit.decoders.search_shares import all_ask, search_shared, search_together
from mmkit.encoders import entity_shares
from mmkit.encoders.entity_features import StoredEntities
from mmkit.encoders.entity_shares import SharedEntities
from mmkit.errors import DataError
from test_search_shares import CASES, given

dist.init_process_group("gloo")
rank = dist.get_rank()
cpu = torch.device("cpu")
found = {}
for case, wanted in CASES.items():
    features, query, gold = given(case)
    stored = StoredEntities([features[:100], features[100:]])
    assert SharedEntities.of(stored, cpu, 1e9) is None  # all map the same files
    entity_shares.DEVICES = {"cpu"}
    assert SharedEntities.of(stored, cpu, 100 if rank else 1e9) is None  # it does not fit for one of them
    assert SharedEntities.of(stored, cpu, 1e9) is None  # everything fits everywhere
    assert SharedEntities.of(stored, cpu, stored.nbytes * 0.51 if rank else 1e9) is not None  # all decide the same
    damaged = features.clone()
    damaged[-1] = torch.nan  # in the last process's part: all must raise
    try:
        SharedEntities.of(StoredEntities([damaged]), cpu, stored.nbytes * 0.51)
        raise AssertionError("features that are not finite")
    except DataError:
        pass
    shared = SharedEntities.of(stored, cpu, stored.nbytes * 0.51)
    assert len(shared) == len(features) and len(shared.part) < len(features)
    entity_shares.DEVICES = {"cuda"}
    before = sum(queries for queries, _ in wanted[:rank])
    own = slice(before, before + wanted[rank][0])
    for waiting in (True, False):
        here = search_together(query[own], shared, wanted[rank][1], gold[own], waiting=waiting)
        found[case, waiting] = tuple(here)
    alone = search_together(query[own], shared, wanted[rank][1])
    assert torch.equal(alone.rows, here.rows) and not alone.rank.any()
    with all_ask():
        asked = search_shared(query[own], shared, wanted[rank][1], gold[own])
    assert torch.equal(asked.rows, here.rows) and torch.equal(asked.rank, here.rank)
    whole = SharedEntities(StoredEntities([features]), shared.part, shared.first)
    for _ in range(1 + rank):  # not equally often: the processes do not wait for each other
        read = search_shared(query[own], whole, wanted[rank][1], gold[own])
        assert torch.equal(read.rows, here.rows) and torch.equal(read.rank, here.rank)
torch.save(found, f"{sys.argv[2]}/{rank}.pt")
dist.barrier()
dist.destroy_process_group()
"""


def test_two_processes_find_what_one_finds(tmp_path):
    script = tmp_path / "child.py"
    script.write_text(CHILD, encoding="utf-8")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    here = str(Path(__file__).parent)
    subprocess.run([*torchrun, str(script), here, str(tmp_path)], env=environment, check=True)
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for case, wanted in CASES.items():
        features, query, gold = given(case)
        first = 0
        for found, (count, k) in zip(ranks, wanted, strict=True):
            own = slice(first, first + count)
            first += count
            expected = search(query[own], StoredEntities([features]), k, gold[own])
            for waiting in (True, False):
                scores, rows, rank = found[case, waiting]
                assert torch.equal(rows, expected.rows), case
                assert torch.equal(rank, expected.rank), case
                torch.testing.assert_close(scores, expected.scores, rtol=0, atol=1e-7)
