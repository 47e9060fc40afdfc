"""`retrieval.text.v1` on an index on disk: contexts, the leak guard, the store, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mmkit.annotators.run import annotate
from mmkit.data.conll import ConllImagesReader
from mmkit.data.types import SOURCES, Example, Span
from mmkit_retrieval.annotators.text_retrieval import TextRetrieval
from mmkit_retrieval.corpora.article import Article
from mmkit_retrieval.indexing.build import build_index
from mmkit_retrieval.retrieved import Retrieved
from mmkit_retrieval.text.text_index import TextIndex, TextWriter
from raising import raises

NOTE = "retrieval.text_context"
ARTICLES = {
    "Jordan": ["The river Jordan flows south .", "Amman is its capital ."],
    "Michael Jordan": ["Michael Jordan plays basketball ."],
    "Post": ["Jordan scores again !"],
    "Paris": ["Paris is a city in France ."],
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many queries each search had."""
    seen: list[int] = []
    real = TextIndex.search

    def counted(
        self: TextIndex, queries: Sequence[str], top: int, threads: int | None = None
    ) -> list[list[Retrieved]]:
        seen.append(len(queries))
        return real(self, queries, top, threads)

    monkeypatch.setattr(TextIndex, "search", counted)
    return seen


@pytest.fixture
def index(tmp_path: Path) -> str:
    return str(built(tmp_path, ARTICLES))


def built(folder: Path, articles: dict[str, list[str]]) -> Path:
    records = [{"id": title, "title": title, "paragraphs": texts} for title, texts in articles.items()]
    corpus = folder / "corpus.jsonl"
    corpus.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    build_index(corpus, folder / "index", pictures=False)
    return folder / "index"


def sentence(text: str) -> Example:
    return Example.from_tokens(text, text.split())


def titles(x: Example) -> list[str]:
    return [source["title"] for source in x.notes[SOURCES]]


def test_the_best_paragraphs_become_the_context(index: str) -> None:
    (noted,) = annotate(TextRetrieval(index, top=2), [sentence("Michael Jordan and basketball")])
    assert titles(noted)[0] == "Michael Jordan"
    assert len(titles(noted)) == 2
    assert noted.notes[NOTE].startswith("Michael Jordan plays basketball .")
    assert {source["by"] for source in noted.notes[SOURCES]} == {"retrieval.text.v1"}


def test_the_sentence_is_not_its_own_context(index: str) -> None:
    found = annotate(
        TextRetrieval(index, top=2), [sentence("jordan scores again!"), sentence("Jordan scores")]
    )
    assert "Post" not in titles(found[0])
    assert len(titles(found[0])) == 2, "others take its place"
    assert titles(found[1])[0] == "Post"


@pytest.mark.real_data
def test_tweets_that_are_in_the_corpus_are_not_their_own_contexts(shared: Path, tmp_path: Path) -> None:
    root = str(shared / "data" / "twitter2015")
    posts, others = (list(ConllImagesReader(root, name, images=None)) for name in ("valid.txt", "train.txt"))
    index = built(tmp_path, {f"{n}": [x.text] for n, x in enumerate([*posts, *others])})
    noted = annotate(TextRetrieval(str(index), top=3), posts)
    for post in noted:
        found = [source["text"] for source in post.notes[SOURCES]]
        assert len(found) == 3
        assert " ".join(post.text.casefold().split()) not in [" ".join(t.casefold().split()) for t in found]
        assert not post.notes[NOTE].startswith(post.text)


def test_the_context_is_cut(index: str) -> None:
    (noted,) = annotate(TextRetrieval(index, max_words=3), [sentence("Amman in Jordan")])
    assert len(noted.notes[NOTE].split()) == 3


def test_what_finds_nothing_stays_as_it_is(index: str) -> None:
    examples = [sentence("zzz 😀"), Example("empty", "", (), ())]
    assert annotate(TextRetrieval(index), examples) == examples


def test_results_are_stored(index: str, searched: list[int]) -> None:
    examples = [sentence(f"Jordan {n % 3}") for n in range(6)]
    first = annotate(TextRetrieval(index), examples)
    assert searched == [3], "equal sentences are searched once, and many at a time"
    assert annotate(TextRetrieval(index, threads=1), examples) == first
    assert searched == [3]


def test_other_settings_are_computed_anew(index: str, searched: list[int]) -> None:
    for retrieval in (TextRetrieval(index), TextRetrieval(index, top=1), TextRetrieval(index, max_words=2)):
        annotate(retrieval, [sentence("Jordan")])
    assert searched == [1, 1, 1]


def test_an_index_that_has_changed_is_searched_anew(index: str, tmp_path: Path, searched: list[int]) -> None:
    retrieval = TextRetrieval(index)
    (before,) = annotate(retrieval, [sentence("Kovelo")])
    built(tmp_path, {**ARTICLES, "Kovelo": ["Kovelo is a town ."]})
    (after,) = annotate(retrieval, [sentence("Kovelo")])
    assert NOTE not in before.notes
    assert titles(after) == ["Kovelo"]
    assert searched == [1, 1]


def test_stored_results_need_no_whole_index(index: str) -> None:
    first = annotate(TextRetrieval(index), [sentence("Jordan")])
    store = next((Path(index) / "text").glob("*.store"))
    store.unlink()
    assert annotate(TextRetrieval(index), [sentence("Jordan")]) == first
    with raises("retrieval.index-damaged", match="missing"):
        annotate(TextRetrieval(index), [sentence("Paris")])


def test_an_index_whose_build_was_cut_off_is_refused(tmp_path: Path) -> None:
    writer = TextWriter(tmp_path / "text")
    writer.put([Article("1", "Paris", ("Paris is a city.",))])
    writer.commit()
    writer.close()
    (tmp_path / "articles.db").touch()
    with raises("retrieval.index-unfinished") as error:
        TextRetrieval(str(tmp_path)).fingerprint()
    assert "again" in str(error.value)


def test_an_index_that_is_not_there_is_named(tmp_path: Path) -> None:
    with raises("retrieval.no-index") as error:
        annotate(TextRetrieval(str(tmp_path / "nowhere")), [sentence("Jordan")])
    assert "nowhere" in error.value.where
    assert "build-index" in error.value.hint


@pytest.mark.parametrize("settings", [{"top": 0}, {"max_words": -1}, {"threads": 0}, {"timeout": 0.0}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, int]) -> None:
    with raises("part.setting", match=next(iter(settings))):
        TextRetrieval("index", **settings)  # type: ignore[arg-type]


def test_the_sample_is_built_once_and_searched(tmp_path: Path) -> None:
    folder = tmp_path / "retrieval.text.v1-1-abc"
    labelled = replace(sentence("Jordan scores"), spans=(Span(0, 1, "PER"),))
    overrides = TextRetrieval.sample(folder, 1, [labelled, labelled])
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert TextRetrieval.sample(folder, 1, [labelled]) == overrides
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == written
    (noted,) = annotate(TextRetrieval(**overrides), [sentence("reading about Jordan")])
    assert noted.notes[NOTE] == "Jordan : PER ."


def test_the_sample_of_examples_without_spans_is_about_their_words(tmp_path: Path) -> None:
    overrides = TextRetrieval.sample(tmp_path / "retrieval.text.v1-1-abc", 1, [sentence("Jordan scores")])
    (noted,) = annotate(TextRetrieval(**overrides), [sentence("reading about Jordan")])
    assert noted.notes[NOTE] == "Jordan : word ."
