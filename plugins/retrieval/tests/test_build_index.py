"""Building an index folder: what goes in, what is added, replaced and taken out, and what is refused."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from mmkit.errors import DataError
from mmkit_retrieval.corpora.jsonl_corpus import JsonlCorpus
from mmkit_retrieval.indexing import build as build_module
from mmkit_retrieval.indexing import index_folder
from mmkit_retrieval.indexing.build import build_index
from mmkit_retrieval.indexing.index_folder import LOCK, read_facts
from mmkit_retrieval.text.text_index import TextIndex, TextWriter
from raising import raises


def write(path: Path, articles: dict[str, str]) -> Path:
    lines = [json.dumps({"id": id, "title": f"Title {id}", "text": text}) for id, text in articles.items()]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def build(corpus: Path, out: Path, **options: Any) -> Any:
    return build_index(corpus, out, pictures=False, **options)


def found(out: Path, query: str, top: int = 100) -> dict[str, str]:
    """Id → text of the paragraphs found."""
    return {hit.id: hit.text for hit in TextIndex.open(out / "text").search([query], top, threads=1)[0]}


def test_paragraphs_are_found_by_their_words(tmp_path):
    corpus = write(tmp_path / "corpus.jsonl", {"a": "the river\n\nthe bank", "b": "a bank of money"})
    summary = build(corpus, tmp_path / "out")
    assert (summary.articles, summary.added, summary.paragraphs, summary.pictures) == (2, 2, 3, None)
    assert found(tmp_path / "out", "bank") == {"a#1": "the bank", "b#0": "a bank of money"}


def test_building_again_changes_nothing(tmp_path):
    corpus, out = write(tmp_path / "corpus.jsonl", {"a": "one", "b": "two"}), tmp_path / "out"
    build(corpus, out)
    facts, identity = (out / "index.json").read_bytes(), TextIndex.open(out / "text").identity
    summary = build(corpus, out)
    assert (summary.unchanged, summary.added, summary.changed, summary.removed) == (2, 0, 0, 0)
    assert (out / "index.json").read_bytes() == facts
    assert TextIndex.open(out / "text").identity == identity


def test_articles_are_added_replaced_and_kept(tmp_path):
    out = tmp_path / "out"
    build(write(tmp_path / "one.jsonl", {"a": "word old", "b": "word same", "c": "word gone"}), out)
    summary = build(write(tmp_path / "two.jsonl", {"a": "word new", "b": "word same", "d": "word more"}), out)
    counts = (summary.added, summary.changed, summary.unchanged, summary.removed, summary.left)
    assert counts == (1, 1, 1, 0, 1)
    assert set(found(out, "word").values()) == {"word new", "word same", "word gone", "word more"}


def test_pruning_takes_out_what_the_corpus_lacks(tmp_path):
    out = tmp_path / "out"
    build(write(tmp_path / "one.jsonl", {str(i): f"word {i}" for i in range(700)}), out)
    summary = build(write(tmp_path / "two.jsonl", {"5": "word 5", "9": "word 9"}), out, prune=True)
    assert (summary.removed, summary.left, summary.articles, summary.paragraphs) == (698, 0, 2, 2)
    assert set(found(out, "word")) == {"5#0", "9#0"}


def test_of_articles_with_one_id_the_first_counts_in_every_pass(tmp_path):
    line = '{"id": "a", "title": "T", "text": "%s"}\n'
    corpus, out = tmp_path / "corpus.jsonl", tmp_path / "out"
    corpus.write_text(line % "first" + line % "second", encoding="utf-8")
    for _ in range(2):
        summary = build(corpus, out)
        assert summary.repairs == {"article with a repeated id skipped": 1}
        assert found(out, "first") and not found(out, "second")


def test_index_json_says_what_the_index_holds(tmp_path):
    out = tmp_path / "out"
    build(write(tmp_path / "corpus.jsonl", {"a": "one\n\ntwo"}), out)
    assert read_facts(out) == {
        "format": 1,
        "corpus": "corpus.jsonl",
        "settings": {"text": True, "images": False, "clip": None, "revision": None},
        "counts": {"articles": 1, "paragraphs": 2, "pictures": None, "unreadable": 0},
        "repairs": {},
    }


def test_a_corpus_that_breaks_off_leaves_what_was_read_and_no_index_json(tmp_path, monkeypatch):
    monkeypatch.setattr(build_module, "_CHUNK", 2)
    monkeypatch.setattr(build_module, "_COMMIT", 2)
    corpus, out = write(tmp_path / "corpus.jsonl", {str(i): f"word {i}" for i in range(6)}), tmp_path / "out"
    whole = corpus.read_text(encoding="utf-8")
    corpus.write_text(whole + "\n{not json", encoding="utf-8")
    with raises("json.syntax", match=r"corpus\.jsonl:7: not JSON"):
        build(corpus, out)
    with raises("retrieval.index-unfinished"):
        read_facts(out)
    corpus.write_text(whole, encoding="utf-8")
    assert build(corpus, out).unchanged == 6
    assert len(found(out, "word")) == 6


def test_an_empty_corpus_is_refused(tmp_path):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"id": "a", "title": "T"}\n', encoding="utf-8")
    with raises("retrieval.empty-corpus"):
        build(corpus, tmp_path / "out")


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    corpus, out = write(tmp_path / "corpus.jsonl", {"a": "one"}), tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with raises("retrieval.folder-taken"):
        build(corpus, out)
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


def test_a_file_in_the_folders_place_is_refused(tmp_path):
    corpus = write(tmp_path / "corpus.jsonl", {"a": "one"})
    with raises("file.unwritable", match="stands where a folder is needed"):
        build(corpus, corpus)


def test_two_builds_do_not_work_on_one_folder(tmp_path):
    corpus, out = write(tmp_path / "corpus.jsonl", {"a": "one"}), tmp_path / "out"
    build(corpus, out)
    with FileLock(out / LOCK), raises("retrieval.locked"):
        build(corpus, out)
    build(corpus, out)


def test_settings_that_differ_are_refused(tmp_path):
    corpus, out = write(tmp_path / "corpus.jsonl", {"a": "one"}), tmp_path / "out"
    build(corpus, out)
    with raises(
        "retrieval.other-settings", match="without images, but this command would continue it with images"
    ) as error:
        build_index(corpus, out)
    assert "give --no-images" in error.value.hint
    with raises("retrieval.nothing-to-index"):
        build(corpus, out, text=False)


def test_a_build_that_put_nothing_decides_nothing(tmp_path, monkeypatch):
    corpus, out = write(tmp_path / "corpus.jsonl", {"a": "one"}), tmp_path / "out"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "a.jpg").write_bytes(b"looked at once CLIP is there")
    pictured = tmp_path / "pictured.jsonl"
    pictured.write_text('{"id": "a", "title": "A", "images": ["a.jpg"]}', encoding="utf-8")
    with raises("encoder.unloadable", match="CLIP"):
        build_index(pictured, out, clip=str(tmp_path / "none"))
    assert build(corpus, out).paragraphs == 1
    assert not (out / "images").exists()


def test_an_index_that_lost_a_part_is_refused(tmp_path):
    corpus, out = write(tmp_path / "corpus.jsonl", {"a": "one"}), tmp_path / "out"
    build(corpus, out)
    shutil.rmtree(out / "text")
    with raises("retrieval.index-incomplete", match="text/") as error:
        build(corpus, out)
    assert "delete the whole index folder" in error.value.hint
    shutil.rmtree(out)
    assert build(corpus, out).paragraphs == 1


def test_an_index_of_a_newer_format_is_refused(tmp_path, monkeypatch):
    corpus, out = write(tmp_path / "corpus.jsonl", {"a": "one"}), tmp_path / "out"
    monkeypatch.setattr(index_folder, "FORMAT", 2)
    build(corpus, out)
    monkeypatch.setattr(index_folder, "FORMAT", 1)
    with raises("retrieval.index-format", match="2, and this version reads 1"):
        build(corpus, out)
    with raises("retrieval.index-format", match="2, and this version reads 1"):
        read_facts(out)


def test_a_damaged_list_of_articles_is_named(tmp_path):
    corpus, out = write(tmp_path / "corpus.jsonl", {"a": "one"}), tmp_path / "out"
    build(corpus, out)
    (out / "articles.db").write_bytes(b"no database at all" * 100)
    with raises("retrieval.ledger-unusable", match=r"articles\.db"):
        build(corpus, out)


@pytest.mark.parametrize(
    "reason",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        ValueError("IO error: No space left on device (os error 28)"),
        DataError("wrapped"),
    ],
)
def test_a_full_disk_is_one_message_and_the_same_command_goes_on(tmp_path, monkeypatch, reason):
    if isinstance(reason, DataError):
        reason.__cause__ = OSError(errno.ENOSPC, "full")
    corpus, out = write(tmp_path / "corpus.jsonl", {"a": "word", "b": "word"}), tmp_path / "out"
    with monkeypatch.context() as full:

        def refuse(_: TextWriter) -> None:
            raise reason

        full.setattr(TextWriter, "commit", refuse)
        with raises("file.unwritable") as error:
            build(corpus, out)
        assert "run the same command again" in error.value.hint
    build(corpus, out)
    assert set(found(out, "word")) == {"a#0", "b#0"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_what_was_read(tmp_path, monkeypatch, number):
    monkeypatch.setattr(build_module, "_CHUNK", 2)
    corpus, out = write(tmp_path / "corpus.jsonl", {str(i): f"word {i}" for i in range(9)}), tmp_path / "out"
    calls = []

    def interrupt(label: str, done: int, total: int) -> None:
        calls.append(label)
        if len(calls) == 2:
            os.kill(os.getpid(), number)

    with raises("retrieval.build-interrupted", match="after 4 articles") as error:
        build(corpus, out, progress=interrupt)
    assert "run the same command again" in error.value.hint
    assert error.value.exit_code == 128 + number
    assert len(found(out, "word")) == 4
    summary = build(corpus, out)
    assert (summary.unchanged, summary.added) == (4, 5)
    assert len(found(out, "word")) == 9


def test_a_signal_that_also_ends_the_parsers_is_no_error(tmp_path, monkeypatch):
    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        raise DataError("a process that parsed articles died")

    monkeypatch.setattr(JsonlCorpus, "_article", die)
    with raises("retrieval.build-interrupted", match="SIGINT"):
        build(write(tmp_path / "corpus.jsonl", {"a": "one"}), tmp_path / "out")
