"""Retrieval under MoRe's names: settings, notes, stored results, sample, commands and modules are what they were."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import mmkit_more
from mmkit import registry
from mmkit.annotators.run import annotate
from mmkit.cli import main
from mmkit.data.types import SOURCES, Example
from mmkit_more.retrieval import ImageRetrieval, TextRetrieval
from mmkit_retrieval.annotators import image_retrieval, text_retrieval
from mmkit_retrieval.text.text_index import TextIndex


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def index(tmp_path: Path) -> str:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(json.dumps({"id": "1", "title": "Jordan", "text": "A river ."}), encoding="utf-8")
    arguments = ["more", "build-index", str(corpus), str(tmp_path / "index"), "--no-images", "--quiet"]
    built = CliRunner().invoke(main, arguments)
    assert built.exit_code == 0, built.output
    return str(tmp_path / "index")


def test_results_are_stored_under_the_keys_of_earlier_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://localhost:9200"
    text = TextRetrieval("wiki", top=3, engine="opensearch", url=url, snapshot="7")
    assert text.fingerprint() == (
        '{"engine": "opensearch", "index": ["http://localhost:9200", "wiki", "7"], "max_words": 400, '
        '"part": "more.text_retrieval.v1", "top": 3}'
    )
    example = Example.from_tokens("1", ["Jordan"])
    assert text.key(example) == "e8bfe1ed693510570ced8b5ee70049cc4b985a77ec066ee345892f685d72cca6"
    image = ImageRetrieval("index")
    monkeypatch.setattr(image_retrieval, "read_facts", lambda folder: {"identity": "abc"})
    assert image.fingerprint() == (
        '{"clip": null, "engine": "faiss", "index": "abc", "max_words": 400, '
        '"part": "more.image_retrieval.v1", "precision": "auto", "top": 10}'
    )


def test_the_note_and_the_sources_are_mores(index: str) -> None:
    example = Example.from_tokens("1", ["Jordan"])
    (own,) = annotate(TextRetrieval(index), [example])
    assert own.notes["more.text_context"] == "A river ."
    assert own.notes[SOURCES][0]["by"] == "more.text_retrieval.v1"
    (plain,) = annotate(text_retrieval.TextRetrieval(index), [example])
    assert plain.notes["retrieval.text_context"] == "A river ."
    assert plain.notes[SOURCES][0]["by"] == "retrieval.text.v1"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("more.text_retrieval.v1", "retrieval.text.v1"),
        ("more.image_retrieval.v1", "retrieval.pictures.v1"),
    ],
)
def test_settings_are_those_of_retrieval(old: str, new: str) -> None:
    ours, theirs = (registry.get("annotators", name) for name in (old, new))
    assert inspect.signature(ours) == inspect.signature(theirs)
    assert (ours.part, theirs.part) == (old, new)


def test_the_sample_is_built_once_from_mores_own_corpus(tmp_path: Path) -> None:
    folder = tmp_path / "more.text_retrieval.v1-1-abc"
    overrides = TextRetrieval.sample(folder, 1, [])
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert TextRetrieval.sample(folder, 1, []) == overrides
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == written
    (noted,) = annotate(TextRetrieval(**overrides), [Example.from_tokens("1", ["about", "Jordan"])])
    assert "Jordan" in noted.notes["more.text_context"]


def test_the_commands_are_those_of_retrieval(index: str) -> None:
    found = CliRunner().invoke(main, ["more", "search", index, "--text", "river", "--json"])
    assert json.loads(found.stdout)["id"] == "1#0"
    main.load_plugins()
    more, retrieval = main.commands["more"], main.commands["retrieval"]
    assert more.commands == retrieval.commands and set(more.commands) >= {"build-index", "info", "upload"}


@pytest.mark.parametrize("old", sorted(mmkit_more.MOVED))
def test_a_module_is_found_under_its_old_name(old: str) -> None:
    new = importlib.import_module(mmkit_more.MOVED[old])
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=mmkit_more.MOVED[old]):
        module = importlib.import_module(old)
    public = {name for name in vars(new) if not name.startswith("__")}
    assert public and all(getattr(module, name) is getattr(new, name) for name in public)


def test_what_the_documentation_imported_still_works(index: str) -> None:
    from mmkit_more.build import build_index
    from mmkit_more.corpora import open_corpus
    from mmkit_more.text_index import TextIndex as Old

    assert Old is TextIndex
    assert [article.title for article in open_corpus(Path(index).parent / "corpus.jsonl")] == ["Jordan"]
    assert build_index(Path(index).parent / "corpus.jsonl", Path(index), pictures=False).unchanged == 1
