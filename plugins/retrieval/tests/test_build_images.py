"""Text and images together, with a tiny CLIP: killed at any moment, added to, and pruned."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner

from killing import MORTAL
from mmkit.cli import main
from mmkit.data.sample import pictures
from mmkit_retrieval.indexing.build import build_index
from mmkit_retrieval.indexing.index_folder import read_facts
from mmkit_retrieval.pictures.image_index import ImageIndex
from mmkit_retrieval.text.text_index import TextIndex

ARTICLES = 10

SCRIPT = (
    MORTAL
    + """
import os, sys
from pathlib import Path

from mmkit.encoders import clip_sample
from mmkit_retrieval.indexing import build
from mmkit_retrieval.pictures import clip_images
from mmkit_retrieval.pictures import image_writer
from mmkit_retrieval.text import text_index
from mmkit_retrieval.indexing.ledger import Ledger

folder = Path(sys.argv[1])
build._CHUNK, build._COMMIT = 2, 4
for kind in (text_index.TextWriter, image_writer.ImageWriter, Ledger):
    for name in ("put", "commit", "finish"):
        if hasattr(kind, name):
            mortal(kind, name)

def apart(work):
    "Run work in a process of its own, forked before torch has computed anything; return how it ended."
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def one(out, at=0):
    def work():
        global moment
        moment = at
        build.build_index(folder / "corpus.jsonl", folder / out, clip=str(clip), device="cpu")
        (folder / "moments").write_text(str(passed))
    return work

clip = folder / "clip" / "mmkit.clip.v2"
assert apart(lambda: clip_sample.write_tiny_clip(clip, 0, [])) == 0
assert apart(one("whole")) == 0
moments = int((folder / "moments").read_text())
for step in (3, 5, 8):
    at = step * moments // 10
    assert apart(one(f"killed{step}", at)) == -signal.SIGKILL, at
    assert apart(one(f"killed{step}")) == 0
"""
)


def record(folder: Path, number: int, rng: Random) -> dict[str, Any]:
    """An article with two drawn images, one of them shared by all articles."""
    kind = ("PER", "LOC", "ORG", "OTHER")[number % 4]
    pictures.photo(kind, rng).save(folder / f"{number}.png")
    images = [{"path": f"{number}.png", "caption": f"caption {number}"}, "shared.png"]
    return {"id": str(number), "title": f"T{number}", "text": f"word {number}\n\nmore", "images": images}


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A corpus, a tiny CLIP in `clip/mmkit.clip.v2`, and indexes: `whole`, and `killed<n>` gone on with."""
    folder, rng = tmp_path_factory.mktemp("pictures"), Random(0)
    pictures.photo("OTHER", rng).save(folder / "shared.png")
    (folder / "broken.png").write_bytes(b"no picture")
    records = [record(folder, number, rng) for number in range(ARTICLES)]
    records[3]["images"].append("broken.png")
    write(folder / "corpus.jsonl", records)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return folder


def contents(out: Path) -> tuple[Any, Any]:
    """All that the indexes find: every image for every image, and paragraphs for some words."""
    index = ImageIndex.open(out / "images")
    ((known, vectors),) = index.blocks(10_000)
    nearest = [
        sorted((hit.id, round(hit.score, 4), hit.caption, hit.title) for hit in hits)
        for hits in index.search(vectors[[each["id"].endswith("#0") for each in known]], 10_000)
    ]
    texts = TextIndex.open(out / "text").search(["word 3", "more T5"], 100, threads=1)
    return sorted(nearest), [sorted((hit.id, round(hit.score, 5)) for hit in hits) for hits in texts]


def test_the_index_holds_paragraphs_and_pictures(folder):
    counts = read_facts(folder / "whole")["counts"]
    assert counts == {"articles": 10, "paragraphs": 20, "pictures": 20, "unreadable": 1}


@pytest.mark.parametrize("step", [3, 5, 8])
def test_a_killed_build_ends_as_a_whole_one(folder, step):
    killed, whole = folder / f"killed{step}", folder / "whole"
    assert contents(killed) == contents(whole)
    assert (killed / "index.json").read_bytes() == (whole / "index.json").read_bytes()


def test_a_picture_of_the_index_is_found_by_itself(folder):
    arguments = ["retrieval", "search", folder / "whole", "--image", folder / "3.png", "--top", 2, "--json"]
    done = CliRunner().invoke(main, [*map(str, arguments), "--device", "cpu"])
    assert done.exit_code == 0, done.output
    best, _ = map(json.loads, done.stdout.splitlines())
    assert (best["id"], best["caption"], best["text"]) == ("3#0", "caption 3", "word 3")
    assert best["score"] == pytest.approx(1, abs=1e-3)


def test_pictures_are_uploaded_to_milvus(folder, tmp_path):
    pytest.importorskip("milvus_lite")
    from mmkit_retrieval.servers.milvus import MilvusImages

    address = str(tmp_path / "milvus.db")
    done = CliRunner().invoke(
        main, ["retrieval", "upload", str(folder / "whole"), address, "pictures", "--quiet"]
    )
    assert done.exit_code == 0, done.output
    assert "20 images of" in done.stdout
    assert MilvusImages(address, "pictures").identity == ImageIndex.open(folder / "whole" / "images").identity


def test_articles_are_added_changed_and_pruned_with_their_pictures(folder, tmp_path):
    clip, out, rng = str(folder / "clip" / "mmkit.clip.v2"), tmp_path / "out", Random(5)
    pictures.photo("PER", rng).save(tmp_path / "shared.png")
    records = [record(tmp_path, number, rng) for number in range(4)]
    corpus = write(tmp_path / "corpus.jsonl", records)
    assert build_index(corpus, out, clip=clip, device="cpu").pictures == 8
    records[0]["images"][0]["caption"] = "another"
    del records[1]["images"]
    records[3] = record(tmp_path, 7, rng)
    write(corpus, records)
    summary = build_index(corpus, out, clip=clip, device="cpu", prune=True)
    assert (summary.added, summary.changed, summary.unchanged, summary.removed) == (1, 2, 1, 1)
    assert (summary.articles, summary.paragraphs, summary.pictures) == (4, 8, 6)
    whole = tmp_path / "whole"
    build_index(corpus, whole, clip=clip, device="cpu")
    assert contents(out)[0] == contents(whole)[0]
    found = {hit.id for hit in TextIndex.open(out / "text").search(["word more"], 100, threads=1)[0]}
    assert found == {f"{number}#{paragraph}" for number in (0, 1, 2, 7) for paragraph in (0, 1)}
