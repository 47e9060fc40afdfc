"""Search among a million entities on a CPU: exactly, and through faiss, from features that stay on disk.

    python benchmarks/entity_search.py [--entities 1000000] [--queries 256]

Entities are random points of 64 inner dimensions around 2,000 centres, 512 wide, stored as the feature store writes
them (float16, memory-mapped); queries are noisy copies of some. Each way runs in a process of its own, which
reports its peak memory: "own" without mapped files, "resident" with those pages of them that were in memory. For
comparison, all features are once copied to float32 and searched at once. Results are printed and written to
`benchmarks/results/entity_search.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from common import report
from process_memory import memory
from torch import Tensor

from mmkit.decoders.approximate import ApproximateIndex
from mmkit.decoders.search import search
from mmkit.encoders.entity_features import CHUNK, StoredEntities
from mmkit.encoders.shards import read_shard, shard_bytes
from mmkit.ops.losses import unit

D, INNER, CENTRES, K = 512, 64, 2000, 20
PROBES = (8, 32, 128)
BATCH = 64
"""Mentions of an evaluation batch."""


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--entities", type=int, default=1_000_000)
    options.add_argument("--queries", type=int, default=256)
    options.add_argument("--phase", choices=PHASES, help=argparse.SUPPRESS)
    options.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.phase:
        print(json.dumps(measured(lambda: PHASES[arguments.phase](arguments.folder))))
        return
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), arguments.entities, arguments.queries)
        rows = [row for phase in PHASES for row in in_a_process(phase, Path(folder))]
    size = arguments.entities * D
    report(
        "entity_search",
        rows,
        entities=arguments.entities,
        width=D,
        queries=arguments.queries,
        k=K,
        features_mb=2 * size / 2**20,
        float32_copy_mb=4 * size / 2**20,
    )


def write(folder: Path, entities: int, queries: int) -> None:
    """Features in files of `CHUNK` rows, and queries with the row each one comes from."""
    chunks, query, gold = drawn(entities, queries, torch.device("cpu"))
    for number, features in enumerate(chunks):
        (folder / f"{number:05}.safetensors").write_bytes(shard_bytes([], {"pooled": features}))
    torch.save({"query": query, "gold": gold}, folder / "queries.pt")


def drawn(
    entities: int, queries: int, device: torch.device, width: int = D
) -> tuple[Iterator[Tensor], Tensor, Tensor]:
    """Features in chunks of `CHUNK` rows, queries, and the row each query comes from.

    Queries are whole when the last chunk was taken.
    """
    draw = torch.Generator(device).manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, device=device)

    centres, outwards = normal(CENTRES, INNER), normal(INNER, width)
    gold = torch.randint(entities, (queries,), generator=draw, device=device)
    query = torch.empty(queries, width, device=device)

    def chunks() -> Iterator[Tensor]:
        for first in range(0, entities, CHUNK):
            count = min(CHUNK, entities - first)
            inner = centres[torch.randint(CENTRES, (count,), generator=draw, device=device)]
            inner = inner + 0.7 * normal(count, INNER)
            features = (inner @ outwards + 2 * normal(count, width)).half()
            here = ((gold >= first) & (gold < first + count)).nonzero().squeeze(1)
            query[here] = features[gold[here] - first].float() + 25 * normal(len(here), width)
            yield features

    return chunks(), query, gold


def opened(folder: Path) -> tuple[StoredEntities, Tensor, Tensor]:
    """The features, memory-mapped, the queries, and the gold rows."""
    chunks = [read_shard(path).tensors["pooled"] for path in sorted(folder.glob("*.safetensors"))]
    saved = torch.load(folder / "queries.pt", weights_only=True)
    return StoredEntities(chunks), saved["query"], saved["gold"]


# Each phase returns rows: what was done, and in how many seconds.


def baseline(folder: Path) -> list[dict[str, Any]]:
    """All features in float32 at once, without ranks."""
    entities, query, _ = opened(folder)
    clock = Clock()
    table = torch.empty(len(entities), D)
    for first, block in entities.blocks():
        table[first : first + len(block)] = unit(block.float())
    copying = clock.lap()
    rows = (unit(query) @ table.t()).topk(K, dim=1).indices
    searching = clock.lap()
    torch.save(rows, folder / "baseline.pt")
    return [
        row("copy to float32", copying),
        row("float32 copy, top 20", searching, queries=len(query)),
    ]


def exact(folder: Path) -> list[dict[str, Any]]:
    """Exact search with the ranks of the gold rows."""
    entities, query, gold = opened(folder)
    clock = Clock()
    found = search(query, entities, K, gold)
    took = clock.lap()
    torch.save(found.rows, folder / "exact.pt")
    among = recall(torch.load(folder / "baseline.pt", weights_only=True), found.rows)
    assert among > 0.999, "float32 at once finds something else"
    top1 = (found.rank == 1).float().mean().item()
    clock = Clock()
    for some, own in zip(query.split(BATCH), gold.split(BATCH), strict=True):
        search(some, entities, K)
        search(some, entities, 0, own)
    batches = clock.lap()
    clock = Clock()
    swept = search(query, entities, K, gold, waiting=False)
    sweeping = clock.lap()
    assert torch.equal(swept.rows, found.rows) and torch.equal(swept.rank, found.rank)
    return [
        row("exact, top 20 and ranks", took, queries=len(query), recall=1.0, top1=top1),
        row(f"exact, top 20, then ranks, {BATCH} queries at a time", batches, queries=len(query)),
        row("exact, top 20 and ranks, as on a GPU", sweeping, queries=len(query), recall=1.0),
    ]


def build(folder: Path) -> list[dict[str, Any]]:
    """The faiss index, written to the cache."""
    entities, _, _ = opened(folder)
    clock = Clock()
    ApproximateIndex.of(entities)
    return [row("faiss, build", clock.lap())]


def approximate(folder: Path) -> list[dict[str, Any]]:
    """The faiss index opened and searched with several numbers of probes."""
    entities, query, gold = opened(folder)
    exact_rows = torch.load(folder / "exact.pt", weights_only=True)
    clock = Clock()
    index = ApproximateIndex.of(entities, probes=max(PROBES))
    rows = [row("faiss, open and check", clock.lap())]
    index.search(query, K)  # reads what is then in memory
    for probes in PROBES:
        index.probes = probes
        clock = Clock()
        found = index.search(query, K)[1]
        took = clock.lap()
        top1 = (found[:, 0] == gold).float().mean().item()
        what = f"faiss, top 20, {probes} probes"
        rows.append(row(what, took, queries=len(query), recall=recall(found, exact_rows), top1=top1))
    return rows


PHASES: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
    "baseline": baseline,
    "exact": exact,
    "build": build,
    "approximate": approximate,
}


class Clock:
    """Wall and processor seconds since the last look; the latter mean something on a busy machine too."""

    def __init__(self) -> None:
        self.last = time.perf_counter(), time.process_time()

    def lap(self) -> tuple[float, float]:
        before, self.last = self.last, (time.perf_counter(), time.process_time())
        return self.last[0] - before[0], self.last[1] - before[1]


def row(what: str, took: tuple[float, float], queries: int = 0, **rates: float) -> dict[str, Any]:
    each = 1e3 * took[0] / queries if queries else ""
    shown = {"recall@20": rates.get("recall", ""), "top-1": rates.get("top1", "")}
    return {"what": what, "seconds": took[0], "cpu seconds": took[1], "ms a query": each, **shown}


def recall(rows: Tensor, truly: Tensor) -> float:
    """The share of each query's true rows that were found."""
    return (rows.unsqueeze(2) == truly.unsqueeze(1)).any(1).float().mean().item()


def measured(phase: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The phase's rows with the process's peak memory: its own, sampled, and all that was resident."""
    peak, done = memory("RssAnon"), threading.Event()

    def sample() -> None:
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, memory("RssAnon"))

    sampler = threading.Thread(target=sample)
    sampler.start()
    rows = phase()
    done.set()
    sampler.join()
    resident = memory("VmHWM")
    return [{**r, "own peak MB": peak / 2**20, "resident peak MB": resident / 2**20} for r in rows]


def in_a_process(phase: str, folder: Path) -> list[dict[str, Any]]:
    """Run a phase in a process of its own, with a cache that goes with the folder."""
    command = [sys.executable, str(Path(__file__).resolve()), "--phase", phase, "--folder", str(folder)]
    environment = {**os.environ, "MMKIT_CACHE": str(folder / "cache")}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
