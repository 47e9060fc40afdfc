"""Candidate lists for the real mentions of WikiMEL and Richpedia: time and recall, beside plain baselines.

    python benchmarks/mel_candidates.py --data data/mel

Lists are made as `mmkit annotate` makes them, for every mention of a dataset against every entity that it names
(knowledge base `mmkit.kb_melbench.v1`: titles, no aliases), from an empty cache. Recall is that of the test split
(by hash); recall@1 is the accuracy of linking by name alone. Baselines: the entity whose name is the mention, ties
to the first (without case and accents, `folded`), and BM25 over the words of names (bm25s, default settings; the
words are folded too). How the index grows is measured on a million names, made of the first and last words of
WikiMEL's.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
from common import report

from mmkit.annotators.name_candidates import NameCandidates
from mmkit.annotators.name_features import folded
from mmkit.annotators.name_index import NameIndex
from mmkit.annotators.run import annotate
from mmkit.data.candidates import KS, candidate_recall
from mmkit.data.kb_melbench import KbMelbenchReader
from mmkit.data.knowledge import KnowledgeBase
from mmkit.data.mel import split_of
from mmkit.data.melbench import RichpediaReader, WikimelReader
from mmkit.data.types import Entity, Example

TOP = 100
DATASETS = {
    "wikimel": ("wikimel.json", WikimelReader),
    "richpedia": ("richpedia.json", RichpediaReader),
}
Method = Callable[[Sequence[Entity], list[Example]], list[Example]]
"""From the knowledge base and examples to examples with candidates."""


def by_similarity(base: Sequence[Entity], examples: list[Example]) -> list[Example]:
    """Ours, from an empty cache: the index is made, too."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["MMKIT_CACHE"] = cache
        annotator = NameCandidates(TOP)
        annotator.entities = base
        return annotate(annotator, examples)


def by_exact_name(base: Sequence[Entity], examples: list[Example]) -> list[Example]:
    """The entities whose folded name is the folded mention, in their order."""
    called: dict[str, list[str]] = {}
    for entity in base:
        called.setdefault(folded(entity.name), []).append(entity.id)
    return [_listing(x, called.get(folded(_mention(x)), [])) for x in examples]


def by_bm25(base: Sequence[Entity], examples: list[Example]) -> list[Example]:
    """The entities whose names' words BM25 ranks first; those that share no word with the mention are none."""
    index = bm25s.BM25()
    index.index([folded(entity.name).split() for entity in base], show_progress=False)
    ids = np.array([entity.id for entity in base])
    words = {text: folded(text).split() for text in {_mention(x) for x in examples}}
    rows, scores = index.retrieve(list(words.values()), k=TOP, show_progress=False)
    listed = {
        text: ids[some[score > 0]].tolist() for text, some, score in zip(words, rows, scores, strict=True)
    }
    return [_listing(x, listed[_mention(x)]) for x in examples]


def _mention(x: Example) -> str:
    assert x.mention is not None
    return x.mention.text


def _listing(x: Example, ids: Sequence[str]) -> Example:
    return dataclasses.replace(x, candidates=tuple(ids))


METHODS: dict[str, Method] = {
    "name_candidates": by_similarity,
    "BM25": by_bm25,
    "exact name": by_exact_name,
}


def measure(name: str, data: Path, method: str, folder: Path) -> dict[str, Any]:
    """One line of the table: seconds for all mentions, recall on the test split."""
    file, reader = DATASETS[name]
    base = KnowledgeBase.build(folder / name, KbMelbenchReader(str(data), file))
    examples: list[Example] = list(reader(str(data), file, images=None))
    start = time.perf_counter()
    listed = METHODS[method](base, examples)
    seconds = time.perf_counter() - start
    test = [x for x in listed if split_of(x.id.split(":")[0]) == "test"]
    return {
        "dataset": name,
        "method": method,
        "mentions": len(examples),
        "entities": len(base),
        "seconds": seconds,
        "test mentions": len(test),
        **{f"recall@{k}": recall for k, recall in candidate_recall(test, KS).items()},
    }


def measure_growth(data: Path, count: int, folder: Path) -> dict[str, float]:
    """The index of `count` names: seconds and MiB to make it, milliseconds of a search."""
    file, reader = DATASETS["wikimel"]
    words = [entity.name.split() for entity in KbMelbenchReader(str(data), file)]
    draw = np.random.default_rng(0).integers(len(words), size=(count, 2)).tolist()
    names = (f"{words[first][0]} {words[last][-1]}" for first, last in draw)
    before = _peak_mib()
    start = time.perf_counter()
    index = NameIndex.build(folder / "index", (Entity(f"Q{i}", name) for i, name in enumerate(names)))
    built = time.perf_counter() - start
    texts = [_mention(x) for x in list(reader(str(data), file, images=None))[::50]]
    added = _peak_mib() - before
    start = time.perf_counter()
    for text in texts:
        index.search(text, TOP)
    search = (time.perf_counter() - start) / len(texts)
    return {"names": count, "build_seconds": built, "build_mib": added, "search_ms": 1000 * search}


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure every method on both datasets, then the growth of the index."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data/mel"))
    parser.add_argument("--names", type=int, default=1_000_000, help="how many names the large index has")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        growth = measure_growth(arguments.data, arguments.names, Path(folder))
        print({key: round(figure, 2) for key, figure in growth.items()})
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            measure(name, arguments.data, method, Path(folder)) for name in DATASETS for method in METHODS
        ]
    report("mel_candidates", rows, top=TOP, growth=growth)


if __name__ == "__main__":
    main()
