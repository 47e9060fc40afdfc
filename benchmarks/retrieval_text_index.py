"""The text index of a million paragraphs: time, memory and disk to build it, and how fast it is searched.

    python benchmarks/retrieval_text_index.py [--paragraphs 1000000] [--queries 1000]

Articles are synthetic. Each has four paragraphs of 40 to 120 words, from a vocabulary of a million words whose
frequencies follow Zipf's law. Queries have 8 to 24 words, as posts have. The corpus is written as jsonlines and indexed
as `mmkit retrieval build-index` does it, in its own process. This process reports its peak memory: "own" without mapped
files, "resident" with those of their pages that were in memory. Another process opens the index, which reads all of it
to compare checksums. It then searches: all queries at once on one thread and on two, then one by one. Results are
printed and written to `benchmarks/results/retrieval_text_index.json`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from process_memory import memory

from mmkit_retrieval.indexing.build import build_index
from mmkit_retrieval.text.text_index import TextIndex

VOCABULARY, PER_ARTICLE, TOP = 1_000_000, 4, 15
LETTERS = "etaoinshrdlucmfwypvbgkjqxz"


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--paragraphs", type=int, default=1_000_000)
    options.add_argument("--queries", type=int, default=1000)
    options.add_argument("--phase", choices=PHASES, help=argparse.SUPPRESS)
    options.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.phase:
        print(json.dumps(measured(lambda: PHASES[arguments.phase](arguments.folder))))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, arguments.paragraphs, arguments.queries)
        rows = [row for phase in PHASES for row in in_a_process(phase, folder)]
        from common import report  # not sooner: it imports torch, which would count among a phase's memory

        sizes = {"corpus_mb": size(folder / "corpus.jsonl"), "index_mb": size(folder / "index" / "text")}
    report(
        "retrieval_text_index",
        rows,
        paragraphs=arguments.paragraphs,
        queries=arguments.queries,
        top=TOP,
        **sizes,
    )


class Words:
    """Draws words by Zipf's law; frequent ones are short."""

    def __init__(self, seed: int) -> None:
        self.draw = np.random.default_rng(seed)
        frequencies = 1 / (np.arange(VOCABULARY) + 2.7)  # Mandelbrot's correction
        self.cumulated = np.cumsum(frequencies / frequencies.sum())
        self.words = [spelt(rank) for rank in range(VOCABULARY)]

    def texts(self, count: int, fewest: int, most: int) -> Iterator[str]:
        lengths = self.draw.integers(fewest, most + 1, count)
        ranks = np.searchsorted(self.cumulated, self.draw.random(lengths.sum())).clip(max=VOCABULARY - 1)
        for some in np.split(ranks, np.cumsum(lengths)[:-1]):
            yield " ".join(self.words[rank] for rank in some)


def spelt(rank: int) -> str:
    """A word of its own for every rank."""
    word = ""
    rank += len(LETTERS)
    while rank:
        rank, letter = divmod(rank, len(LETTERS))
        word = LETTERS[letter] + word
    return word


def write(folder: Path, paragraphs: int, queries: int) -> None:
    """A corpus, and queries drawn as it was."""
    words = Words(0)
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as file:
        for first in range(0, paragraphs, 2000):
            texts = list(words.texts(min(2000, paragraphs - first), 40, 120))
            titles = words.texts(len(texts), 1, 4)
            for at in range(0, len(texts), PER_ARTICLE):
                article = {"id": str(first + at), "title": next(titles)}
                file.write(json.dumps({**article, "paragraphs": texts[at : at + PER_ARTICLE]}) + "\n")
    (folder / "queries.json").write_text(json.dumps(list(words.texts(queries, 8, 24))), encoding="utf-8")


def size(path: Path) -> float:
    """Megabytes of a file, or of a folder's files."""
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files) / 2**20


# Each phase returns rows: what was done, and in how many seconds.


def build(folder: Path) -> list[dict[str, Any]]:
    """The index, from the corpus."""
    clock = Clock()
    summary = build_index(folder / "corpus.jsonl", folder / "index", pictures=False)
    assert summary.paragraphs
    return [row("build", clock.lap(), summary.paragraphs)]


def search(folder: Path) -> list[dict[str, Any]]:
    """Opening, many queries at once, and single ones."""
    queries: list[str] = json.loads((folder / "queries.json").read_text(encoding="utf-8"))
    clock = Clock()
    index = TextIndex.open(folder / "index" / "text")
    rows = [row("open and check", clock.lap(), len(index))]
    index.search(queries[:100], TOP)
    for threads in (1, 2):
        clock.lap()
        index.search(queries, TOP, threads)
        rows.append(row(f"search, {threads} thread(s)", clock.lap(), len(queries)))
    latencies = []
    for query in queries:
        start = time.perf_counter()
        index.search([query], TOP)
        latencies.append(1e3 * (time.perf_counter() - start))
    centiles = statistics.quantiles(latencies, n=100)
    rows.append(row("search, one by one", clock.lap(), len(queries), centiles[49], centiles[98]))
    return rows


PHASES: dict[str, Callable[[Path], list[dict[str, Any]]]] = {"build": build, "search": search}


class Clock:
    """Wall and processor seconds since the last look; the latter mean something on a busy machine too."""

    def __init__(self) -> None:
        self.last = time.perf_counter(), time.process_time()

    def lap(self) -> tuple[float, float]:
        before, self.last = self.last, (time.perf_counter(), time.process_time())
        return self.last[0] - before[0], self.last[1] - before[1]


def row(
    what: str, took: tuple[float, float], count: int, median: float | str = "", slow: float | str = ""
) -> dict[str, Any]:
    """What was done to `count` paragraphs or queries; latencies are in milliseconds."""
    rates = {"seconds": took[0], "cpu seconds": took[1], "a second": count / took[0]}
    return {"what": what, "count": count, **rates, "median ms": median, "99 % ms": slow}


def measured(phase: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The phase's rows with the process's peak memory: its own, sampled, and all that was resident."""
    peak, done = memory("RssAnon"), threading.Event()

    def sample() -> None:
        nonlocal peak
        while not done.wait(0.01):
            peak = max(peak, memory("RssAnon"))

    sampler = threading.Thread(target=sample)
    sampler.start()
    rows = phase()
    done.set()
    sampler.join()
    resident = memory("VmHWM")
    return [{**r, "own peak MB": peak / 2**20, "resident peak MB": resident / 2**20} for r in rows]


def in_a_process(phase: str, folder: Path) -> list[dict[str, Any]]:
    """Run a phase in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--phase", phase, "--folder", str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
