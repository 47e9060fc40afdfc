"""`mmkit annotate`, killed at any change that it makes to files, goes on and ends with the same results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from killing import killed_everywhere

SCRIPT = """
import contextlib, dataclasses, os, pathlib, shutil, sqlite3, sys
import mmkit.inference.devices, mmkit.loading.splits, mmkit.runs.folder
from kills import digests, everywhere, listed
from mmkit import registry
from mmkit.annotators.base import Annotator
from mmkit.annotators.name_candidates import NameCandidates
from mmkit.cli import main
from mmkit.recipe import load_recipe

recipe, out = map(pathlib.Path, sys.argv[1:])
os.environ["MMKIT_CACHE"] = str(out / "cache")

class Describes(Annotator):
    "Describes entities by their names."
    over, batch_size = "entities", 2

    def fingerprint(self):
        return "describes"

    def key(self, x):
        return x.id

    def annotate(self, batch):
        return [f"called {x.name}" for x in batch]

    def apply(self, x, result):
        return dataclasses.replace(x, description=result)

registry.annotators.register("test.describes.v1", func=Describes)
NameCandidates.batch_size = 2
load_recipe(recipe)  # imports what it names: each process would do it again

def work():
    try:
        main(["annotate", str(recipe), "--device", "cpu", "--quiet"])
    except SystemExit as end:
        assert not end.code

def stored(path):
    "The results that a store holds, in the order in which they were stored."
    with contextlib.closing(sqlite3.connect(path)) as database:
        return list(database.execute("SELECT key, result FROM results ORDER BY rowid"))

def compare():
    "All files to the bit, and no others: the stores, the knowledge base, the index of names and the lists."
    names = [name for name in listed(out) if not name.endswith(".lock")]
    stores = [out / name for name in names if name.endswith(".sqlite")]
    assert sorted(len(stored(path)) for path in stores) == [5, 7], stores
    return digests(out, names)

everywhere(work, lambda: shutil.rmtree(out, ignore_errors=True), out, compare)
"""

RECIPE = """
[recipe]
format = 1
seed = 1

[annotators.descriptions]
@annotators = "test.describes.v1"

[annotators.candidates]
@annotators = "mmkit.name_candidates.v1"
output = {lists}

[model.encoders.text]
@encoders = "mmkit.transformer.v1"
name = "bert-base-uncased"

[model.fuser]
@fusers = "mmkit.pooled_query.v1"
encoders = ["text"]

[model.decoder]
@decoders = "mmkit.entity_matcher.v1"
entities = "text"

[metrics.linking]
@metrics = "mmkit.linking.v1"

[training]
score = "linking.top1"
"""

SPLIT = """
[data.{split}]
@readers = "mmkit.{reader}.v1"
root = {root}
file = "{split}.jsonl"
"""

ENTITIES = ("Jordan", "Michael Jordan", "Paris", "Paris Hilton", "Jordan River")
MENTIONS = {
    "train": ("Jordan", "paris", "Hilton", "River", "Michael"),
    "dev": ("Jordan", "Mike"),  # the first is stored already
    "test": ("Jordans",),
}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe with an annotator of entities, and one of mentions that also writes a file."""
    examples = {
        split: [
            {"id": f"{i}", "text": f"of {text}", "mention": {"text": text}} for i, text in enumerate(texts)
        ]
        for split, texts in MENTIONS.items()
    }
    entities = [{"id": f"Q{i}", "name": name} for i, name in enumerate(ENTITIES)]
    sections = [RECIPE.format(lists=json.dumps(str(tmp_path / "out" / "lists.json")))]
    for split, records in {**examples, "entities": entities}.items():
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
        reader = "kb_jsonl" if split == "entities" else "jsonl"
        sections.append(SPLIT.format(split=split, reader=reader, root=json.dumps(str(tmp_path))))
    path = tmp_path / "recipe.cfg"
    path.write_text("".join(sections), encoding="utf-8")
    return path


@pytest.mark.matrix
def test_annotating_goes_on_wherever_it_was_killed(recipe: Path, tmp_path: Path) -> None:
    found = killed_everywhere(SCRIPT, recipe, tmp_path / "out")
    assert found["steps"] >= 60
