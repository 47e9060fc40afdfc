"""The image index: exact search and IVF-PQ, with and without comparing again what it finds.

    python benchmarks/retrieval_image_index.py [--pictures 200000] [--queries 1000]

Vectors are random points of 64 inner dimensions around 2,000 centres, 512 wide, put into an index as CLIP's would be;
queries are other points around the same centres. Each phase runs in a process of its own, which reports its peak
resident memory (pages of mapped files among it). Results are printed and written to
`benchmarks/results/retrieval_image_index.json`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import report

from mmkit.inference.memory import peak_memory
from mmkit_retrieval.pictures import nearest
from mmkit_retrieval.pictures.image_index import ImageIndex
from mmkit_retrieval.pictures.image_writer import ImageWriter
from mmkit_retrieval.pictures.vectors import Model, VectorStore

D, INNER, CENTRES, TOP, BLOCK = 512, 64, 2000, 10, 10_000
PROBES = (8, 32, 128)
CANDIDATES = (1, 10, 50)
"""Times `TOP` that inverted lists find; 1 compares nothing again that could change which are found."""


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--pictures", type=int, default=200_000)
    options.add_argument("--queries", type=int, default=1000)
    options.add_argument("--phase", choices=PHASES, help=argparse.SUPPRESS)
    options.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.phase:
        rows = PHASES[arguments.phase](arguments)
        peak = peak_memory(torch.device("cpu"))["resident"] / 2**20
        print(json.dumps([{**row, "peak MB": peak} for row in rows]))
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for phase in PHASES for row in in_a_process(phase, arguments, folder)]
    size = 2 * arguments.pictures * D / 2**20
    report(
        "retrieval_image_index",
        rows,
        pictures=arguments.pictures,
        width=D,
        queries=arguments.queries,
        vectors_mb=size,
    )


def points(count: int, seed: int) -> Iterator[np.ndarray[Any, Any]]:
    """Blocks of vectors around the same centres."""
    world, draw = np.random.default_rng(0), np.random.default_rng(seed)
    centres, outwards = world.standard_normal((CENTRES, INNER)), world.standard_normal((INNER, D))
    for first in range(0, count, BLOCK):
        some = min(BLOCK, count - first)
        inner = centres[draw.integers(CENTRES, size=some)] + 0.7 * draw.standard_normal((some, INNER))
        vectors = inner @ outwards + 2 * draw.standard_normal((some, D))
        yield (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


# Each phase returns rows: what was done, in how many seconds, and what came of it.


def put(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The vectors and their captions, committed block by block."""
    folder, clock, number = arguments.folder / "flat", Clock(), 0
    with VectorStore(folder) as store:
        store.model = Model("random", None, tuple(next(points(1, 2))[0].tolist()))
        for vectors in points(arguments.pictures, 1):
            numbers = range(number, number + len(vectors))
            for n in numbers:
                store.add_article(str(n), f"Article {n}", "What an article begins with. " * 10)
            store.add([(str(n), 0, str(n), f"images/{n}.jpg", f"Picture {n}") for n in numbers], vectors)
            store.commit()
            number += len(vectors)
    took = clock.lap()
    shutil.copytree(folder, arguments.folder / "ivfpq")
    return [row("put and commit", took, megabytes=size_of(folder, "*"))]


def flat(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The exact index."""
    folder, clock = arguments.folder / "flat", Clock()
    finish(folder, sys.maxsize)
    return [row("flat: finish", clock.lap(), megabytes=size_of(folder, "*.faiss"))]


def ivfpq(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The index of inverted lists; it learns between the first and the second time it asks for vectors."""
    folder, stamps, build = arguments.folder / "ivfpq", [], nearest.build

    def timed(at: Path, stem: str, kind: nearest.Kind, rows: nearest.Rows, *rest: Any) -> dict[str, int]:
        def stamped(some: nearest.Array) -> nearest.Array:
            stamps.append((time.perf_counter(), time.process_time()))
            return rows(some)

        return build(at, stem, kind, stamped, *rest)

    nearest.build = timed
    clock = Clock()
    finish(folder, 0)
    whole = clock.lap()
    (first, second), last = stamps[:2], (time.perf_counter(), time.process_time())
    return [
        row("IVF-PQ: train", (second[0] - first[0], second[1] - first[1])),
        row(
            "IVF-PQ: add, write",
            (last[0] - second[0], last[1] - second[1]),
            megabytes=size_of(folder, "*.faiss"),
        ),
        row("IVF-PQ: finish, in all", whole),
    ]


def search(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Exact search, and inverted lists against it, a hundred queries at a time."""
    queries = np.concatenate([*points(arguments.queries, 3)])
    index = opened(arguments.folder / "flat")
    truly, exact = searched(index, queries)
    rows = [row("flat: search", exact, queries=len(queries), recall=1.0)]
    index = opened(arguments.folder / "ivfpq")
    for probes in PROBES:
        for candidates in CANDIDATES:
            index.probes, index.candidates = probes, candidates
            found, took = searched(index, queries)
            hits = [len(ours & theirs) / TOP for ours, theirs in zip(found, truly, strict=True)]
            again = "no re-ranking" if candidates == 1 else f"{candidates * TOP} re-ranked"
            what = f"IVF-PQ: {probes} probes, {again}"
            rows.append(row(what, took, queries=len(queries), recall=sum(hits) / len(hits)))
    return rows


PHASES: dict[str, Callable[[argparse.Namespace], list[dict[str, Any]]]] = {
    "put": put,
    "flat": flat,
    "ivfpq": ivfpq,
    "search": search,
}


def finish(folder: Path, flat_below: int) -> None:
    writer = ImageWriter(folder, "random", None, "cpu", flat_below=flat_below)
    writer.finish()
    writer.close()


def opened(folder: Path) -> ImageIndex:
    """The index, with one search done so that its files are in memory."""
    index = ImageIndex.open(folder)
    index.search(next(points(100, 4)), TOP)
    return index


def searched(index: ImageIndex, queries: np.ndarray[Any, Any]) -> tuple[list[set[str]], tuple[float, float]]:
    """The articles found for each query, and the seconds it took."""
    clock, found = Clock(), []
    for first in range(0, len(queries), 100):
        found += [{hit.article for hit in hits} for hits in index.search(queries[first : first + 100], TOP)]
    return found, clock.lap()


def size_of(folder: Path, pattern: str) -> float:
    return sum(path.stat().st_size for path in folder.glob(pattern)) / 2**20


class Clock:
    """Wall and processor seconds since it was made; the latter mean something on a busy machine too."""

    def __init__(self) -> None:
        self.start = time.perf_counter(), time.process_time()

    def lap(self) -> tuple[float, float]:
        return time.perf_counter() - self.start[0], time.process_time() - self.start[1]


def row(what: str, took: tuple[float, float], queries: int = 0, **figures: float) -> dict[str, Any]:
    rates = {"queries/s": queries / took[0], "queries/cpu s": queries / took[1]} if queries else {}
    empty = dict.fromkeys(("queries/s", "queries/cpu s", "recall@10", "MB"), "")
    shown = {"recall": "recall@10", "megabytes": "MB"}
    known = {shown[name]: value for name, value in figures.items()}
    return {"what": what, "seconds": took[0], "cpu seconds": took[1], **empty, **rates, **known}


def in_a_process(phase: str, arguments: argparse.Namespace, folder: str) -> list[dict[str, Any]]:
    """Run a phase in a process of its own."""
    sizes = ["--pictures", str(arguments.pictures), "--queries", str(arguments.queries)]
    command = [sys.executable, str(Path(__file__).resolve()), "--phase", phase, "--folder", folder, *sizes]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
