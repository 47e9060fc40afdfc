"""What is fuzzed: a target for each kind of file that mmkit reads, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fuzzing import datasets, plugin_files, single_files
from fuzzing.target import Target
from mmkit import registry


def make(name: str, folder: Path) -> Target:
    """The target of a name, its sound files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    kind, _, detail = name.partition("/")
    return MAKERS[kind](folder, detail)


def names() -> list[str]:
    """All targets that can be fuzzed with what is installed."""
    found = [f"reader/{name}" for name in registry.readers.names() if datasets.has_sample(name)]
    found += ["recipe/", "pictures/", "score/", "score/described", "shards/", "crops/", "knowledge/"]
    found += ["run/tagger", "run/linker"]
    if "retrieval.text.v1" in registry.annotators.names():
        found += [
            "corpus/jsonl",
            "corpus/wikipedia",
            "index/text",
            "search/elasticsearch",
            "search/opensearch",
        ]
    if "dim.entity_descriptions.v1" in registry.annotators.names():
        found += ["chat/"]
    return found


MAKERS: dict[str, Callable[[Path, str], Target]] = {
    "reader": datasets.reader,
    "recipe": single_files.recipe,
    "pictures": single_files.pictures,
    "score": single_files.score,
    "shards": single_files.shards,
    "crops": datasets.crops,
    "knowledge": datasets.knowledge,
    "run": single_files.run,
    "corpus": plugin_files.corpus,
    "index": plugin_files.index,
    "search": plugin_files.search,
    "chat": plugin_files.chat,
}
