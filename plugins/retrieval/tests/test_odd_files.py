"""Devices and pipes in place of an index's files, which somebody else may have put there."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from mmkit_retrieval.indexing.build import build_index
from mmkit_retrieval.indexing.index_folder import read_facts
from mmkit_retrieval.pictures import image_facts
from mmkit_retrieval.text.text_index import TextIndex
from raising import raises
from timing import in_time


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index")
    articles = ({"id": str(n), "title": f"T{n}", "text": f"Paris number {n} is old."} for n in range(5))
    (folder / "corpus.jsonl").write_text("".join(json.dumps(article) + "\n" for article in articles))
    build_index(folder / "corpus.jsonl", folder / "index", pictures=False)
    return folder / "index"


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_text_index_of_odd_files_is_refused_at_once(index: Path, tmp_path: Path, kind: str) -> None:
    copy = tmp_path / "index"
    shutil.copytree(index, copy)
    files = [copy / "index.json", *(path for path in (copy / "text").iterdir() if path.name[0] != ".")]
    assert len(files) > 5
    for path in files:
        content = path.read_bytes()
        path.unlink()
        os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
        with in_time(5), raises("retrieval.index-damaged"):
            read_facts(copy)
            TextIndex.open(copy / "text").search(["Paris"], 1)
        path.unlink()
        path.write_bytes(content)


@pytest.mark.parametrize("name", ["facts.json", "vectors.bin"])
def test_an_image_index_of_odd_files_is_refused_at_once(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with in_time(5), raises("retrieval.index-damaged", match="regular"):
        image_facts.read_facts(tmp_path)
