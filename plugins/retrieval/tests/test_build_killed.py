"""A build that is killed at any moment, and started again, ends with the index of one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from killing import MORTAL
from mmkit_retrieval.text.text_index import TextIndex

ARTICLES = 60

KILLED = (
    MORTAL
    + """
import sys
from pathlib import Path

from mmkit_retrieval.indexing import build
from mmkit_retrieval.indexing.ledger import Ledger
from mmkit_retrieval.text.text_index import TextWriter

corpus, out, moment = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
build._CHUNK, build._COMMIT, build._REMOVED = 4, 4, 4  # a segment a chunk, so that tantivy merges some
TextWriter.commit = TextWriter.finish  # and is done with it before the next moment
for name in ("put", "commit", "finish", "remove"):
    mortal(TextWriter, name)
for name in ("commit", "put"):
    mortal(Ledger, name)
build.build_index(corpus, out, pictures=False, prune=True)
print(passed)
"""
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    rng, path = Random(1), tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    words = [f"word{i}" for i in range(40)]
    lines = [
        json.dumps({"id": str(i), "title": f"Title {i}", "text": " ".join(rng.choices(words, k=9))})
        for i in range(ARTICLES)
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def run(corpus: Path, out: Path, moment: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", KILLED, str(corpus), str(out), str(moment)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def answers(out: Path) -> list[list[tuple[str, float]]]:
    index = TextIndex.open(out / "text")
    queries = [f"word{i} word{i + 1} word{(7 * i) % 40}" for i in range(39)]
    assert len(index) == ARTICLES
    found = index.search(queries, 1000, threads=1)
    return [sorted((hit.id, round(hit.score, 5)) for hit in hits) for hits in found]


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    done = run(corpus, out)
    assert done.returncode == 0, done.stderr
    return int(done.stdout), answers(out), (out / "index.json").read_bytes()


@pytest.mark.parametrize("share", [0.02, 0.2, 0.4, 0.5, 0.6, 0.8, 0.97])
def test_killed_once(corpus, whole, tmp_path, share):
    moments, expected, facts = whole
    assert run(corpus, tmp_path / "out", max(1, round(share * moments))).returncode == -signal.SIGKILL
    done = run(corpus, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert answers(tmp_path / "out") == expected
    assert (tmp_path / "out" / "index.json").read_bytes() == facts


def test_killed_again_and_again(corpus, whole, tmp_path):
    _, expected, _ = whole
    rng, moment, killed = Random(3), 0, 0
    while True:
        moment += rng.randint(9, 29)  # what is there already is passed over in ever more moments
        done = run(corpus, tmp_path / "out", moment)
        if done.returncode != -signal.SIGKILL:
            break
        killed += 1
    assert done.returncode == 0, done.stderr
    assert killed >= 2
    assert answers(tmp_path / "out") == expected


@pytest.mark.parametrize("moment", [30, 60, 110])
def test_killed_while_articles_are_taken_out(corpus, tmp_path, moment):
    lines = corpus.read_text(encoding="utf-8").splitlines()
    smaller, out = tmp_path / "smaller.jsonl", tmp_path / "out"
    smaller.write_text("\n".join(lines[:5] + lines[50:]), encoding="utf-8")
    assert run(corpus, out).returncode == 0
    assert run(smaller, out, moment).returncode == -signal.SIGKILL
    done = run(smaller, out)
    assert done.returncode == 0, done.stderr
    found = TextIndex.open(out / "text").search([" ".join(f"word{i}" for i in range(40))], 100, threads=1)[0]
    assert sorted(int(hit.article) for hit in found) == [*range(5), *range(50, ARTICLES)]
    assert json.loads((out / "index.json").read_text(encoding="utf-8"))["counts"]["articles"] == 15
