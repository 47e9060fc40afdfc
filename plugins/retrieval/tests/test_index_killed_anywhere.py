"""An index whose build is killed at any change that it makes to files is gone on with, and ends as a whole one."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from killing import killed_everywhere
from mmkit.data.sample import pictures
from mmkit_retrieval.indexing.build import build_index
from mmkit_retrieval.text.text_index import TextIndex

SCRIPT = """
import os, shutil, sqlite3, sys
from pathlib import Path
import numpy as np
from kills import everywhere, listed, told
from mmkit.encoders import clip_sample
from mmkit_retrieval.indexing import build
from mmkit_retrieval.pictures import clip_images, image_index, image_writer
from mmkit_retrieval.text import text_index

folder, looks = Path(sys.argv[1]), sys.argv[2] == "pictures"
out, clip = folder / "out", folder / "clip" / "mmkit.clip.v2"
build._CHUNK, build._COMMIT, build._REMOVED = 2, 4, 2
text_index.TextWriter.commit = text_index.TextWriter.finish  # so that segments are merged in between

def begin():
    "The corpus before: an article is gone since, and another has changed."
    before = folder / "before.jsonl"
    build.build_index(before, folder / "begun", pictures=looks, clip=str(clip), device="cpu")

def work():
    build.build_index(folder / "corpus.jsonl", out, pictures=looks, clip=str(clip), device="cpu", prune=True)

def fresh():
    shutil.rmtree(out, ignore_errors=True)
    if sys.argv[3] == "begun":
        shutil.copytree(folder / "begun", out)

def contents():
    "All that is found, to the bit, and the files that there are but for what their names count."
    index = text_index.TextIndex.open(out / "text")
    words = ["paris", "jordan", "word", "more", "t3", "lake", "changed"]
    found = [sorted((hit.id, hit.text, hit.score) for hit in index.search([w], 100, threads=1)[0]) for w in words]
    facts = (out / "index.json").read_text()
    kept = {name for name in os.listdir(out)} | {f"text/{name}" for name in os.listdir(out / "text") if name[0] == "."}
    if sys.argv[3] == "begun":  # what was removed counts in scores until its segment is merged
        found = [[(id, text) for id, text, _ in hits] for hits in found]
    if not looks:
        return found, facts, sorted(kept)
    index = image_index.ImageIndex.open(out / "images")
    ((known, vectors),) = index.blocks(10_000)
    order = np.argsort([each["id"] for each in known])
    nearest = [sorted((h.id, h.image, h.score) for h in hits) for hits in index.search(vectors[order], 100)]
    kept |= {name.split("-")[0] for name in os.listdir(out / "images")}
    rows = [[known[i]["id"], vectors[i].tobytes().hex()] for i in order]
    return found, facts, sorted(kept), index.identity, rows, nearest, sorted(index.unreadable())

if looks:
    told(lambda: clip_sample.write_tiny_clip(clip, 0, []))
if sys.argv[3] == "begun":
    told(begin)
everywhere(work, fresh, out, lambda: told(contents))
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two states of a corpus of eight articles, most of them with an image; one image is broken."""
    rng, records = Random(0), []
    (tmp_path / "broken.png").write_bytes(b"no picture")
    for number in range(8):
        pictures.photo(("PER", "LOC", "ORG", "OTHER")[number % 4], rng).resize((16, 16)).save(
            tmp_path / f"{number}.png"
        )
        text = f"Paris word {number}\n\nmore of Jordan {'lake ' * number}"
        images = (
            [{"path": f"{number}.png", "caption": f"caption {number}"}] if number != 5 else ["broken.png"]
        )
        records.append({"id": str(number), "title": f"T{number}", "text": text, "images": images})
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    records[3] = {**records[3], "text": "changed", "images": records[2]["images"]}
    gone = {"id": "gone", "title": "gone", "text": "Paris lake", "images": records[1]["images"]}
    (tmp_path / "before.jsonl").write_text(
        "\n".join(map(json.dumps, [*records[2:5], gone])), encoding="utf-8"
    )
    return tmp_path


@pytest.mark.matrix
@pytest.mark.parametrize("begun", ["new", "begun"])
@pytest.mark.parametrize("what", ["text", "pictures"])
def test_a_build_goes_on_wherever_it_was_killed(what: str, begun: str, corpus: Path) -> None:
    found = killed_everywhere(SCRIPT, corpus, what, begun)
    assert found["steps"] >= 40


@pytest.mark.parametrize(
    "left", [".lock", ".index.json.abc.tmp", "text/.format.json.abc.tmp", "text", "images"]
)
def test_a_build_that_was_killed_before_its_first_files_goes_on(left: str, corpus: Path) -> None:
    out = corpus / "out"
    if "." in left:
        (out / left).parent.mkdir(parents=True)
        (out / left).touch()
        (out / "articles.db").touch()
    else:
        (out / left).mkdir(parents=True)
        (out / "articles.db").touch()
    summary = build_index(corpus / "corpus.jsonl", out, pictures=False)
    assert summary.articles == 8
    assert len(TextIndex.open(out / "text").search(["Jordan"], 20)[0]) == 8
    assert not [path for path in out.rglob(".*") if path.suffix == ".tmp"]
