"""Corpora of jsonlines: what a record may say, what is left out and counted, and what is refused."""

from __future__ import annotations

import bz2
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmkit.data.inside import inside
from mmkit_retrieval.corpora.article import Article, CaptionedImage
from mmkit_retrieval.corpora.formats import open_corpus
from mmkit_retrieval.corpora.jsonl_corpus import JsonlCorpus
from mmkit_retrieval.corpora.wikipedia import WikipediaCorpus
from raising import raises


def write(folder: Path, *records: Any, name: str = "corpus.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def read(path: Path, **options: Any) -> tuple[list[Article], dict[str, int]]:
    corpus = open_corpus(path, **options)
    return list(corpus), dict(corpus.repairs)


def test_a_record_becomes_an_article(tmp_path):
    (tmp_path / "pictures").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "pictures" / name).touch()
    images = ["pictures/a.jpg", {"file": "pictures/b.jpg", "caption": " A \n caption "}]
    record = {"id": "1", "title": "T", "text": "one\ntwo\n \n\nthree", "links": ["U"], "images": images}
    (article,), repairs = read(write(tmp_path, record))
    pictures = (
        CaptionedImage(f"{tmp_path}/pictures/a.jpg"),
        CaptionedImage(f"{tmp_path}/pictures/b.jpg", "A caption"),
    )
    assert article == Article("1", "T", ("one two", "three"), ("U",), pictures)
    assert not repairs


def test_the_guides_example_is_read(tmp_path):
    guide = (Path(__file__).parents[3] / "docs" / "retrieval.md").read_text(encoding="utf-8")
    (tmp_path / "corpus.jsonl").write_text(guide.split("```json\n")[1].split("```")[0], encoding="utf-8")
    articles, repairs = read(tmp_path / "corpus.jsonl")
    assert [len(article.paragraphs) for article in articles] == [2, 2]
    assert repairs == {"image that does not exist left out": 1}


def test_paragraphs_are_taken_as_they_are_cut(tmp_path):
    record = {"id": "1", "title": "T", "paragraphs": ["one\n\nparagraph", " ", "two"]}
    ((article,), _) = read(write(tmp_path, record))
    assert article.paragraphs == ("one paragraph", "two")


def test_what_is_left_out_is_counted(tmp_path):
    path = tmp_path / "corpus.jsonl"
    records = [
        {"id": "1", "title": "T", "text": "x", "url": "u", "images": ["none.jpg"]},
        {"id": "2", "title": "T", "text": "  "},
    ]
    path.write_text("\n\n".join(map(json.dumps, records)), encoding="utf-8")
    corpus = open_corpus(path)
    for _ in range(2):  # from the start on every iteration, counts too
        assert [article.id for article in corpus] == ["1"]
        assert corpus.repairs == {
            "unknown key 'url' left out": 1,
            "image that does not exist left out": 1,
            "empty line skipped": 1,
            "article without paragraphs and images skipped": 1,
        }


@pytest.mark.parametrize(
    ("record", "code", "says"),
    [
        ([], "json.wrong-type", "`record`"),
        ({"title": "T", "text": "x"}, "json.missing-field", "`id`"),
        ({"id": 3, "title": "T", "text": "x"}, "json.wrong-type", "`id`"),
        ({"id": "1", "title": " ", "text": "x"}, "json.wrong-type", "`title`"),
        ({"id": "1", "title": "T", "text": ["x"]}, "json.wrong-type", "`text`"),
        ({"id": "1", "title": "T", "text": "x", "paragraphs": []}, "retrieval.article-text", "`text`"),
        ({"id": "1", "title": "T", "text": "x", "links": "U"}, "json.wrong-type", "`links`"),
        (
            {"id": "1", "title": "T", "images": [{"caption": "c"}]},
            "json.missing-field",
            r"`images\[0\]\.path`",
        ),
        (
            {"id": "1", "title": "T", "images": [{"path": "a", "captoin": "c"}]},
            "json.unknown-field",
            "'caption'",
        ),
        ({"id": "1", "title": "T", "images": [7]}, "json.wrong-type", ""),
        ({"id": "1", "title": "T", "images": ["../secret.jpg"]}, "retrieval.path-outside", ""),
        ({"id": "1", "title": "T", "images": ["/etc/passwd"]}, "retrieval.path-outside", ""),
    ],
)
def test_a_wrong_record_is_named_by_file_and_line(tmp_path, record, code, says):
    path = write(tmp_path, {"id": "0", "title": "T", "text": "x"}, record)
    with raises(code, match=says) as error:
        read(path)
    assert error.value.where == f"{path}:2"


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
def test_compressed_corpora_are_read_whatever_they_are_called(tmp_path, compress):
    record = {"id": "1", "title": "T", "text": "words " * 5000}
    path = write(tmp_path, record)
    expected, _ = read(path)
    path.write_bytes(compress(path.read_bytes()))
    assert read(path)[0] == expected


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
def test_a_compressed_corpus_that_is_cut_off_is_an_error(tmp_path, compress):
    path = write(tmp_path, *({"id": str(i), "title": "T", "text": f"{i**9}"} for i in range(2000)))
    whole = compress(path.read_bytes())
    path.write_bytes(whole[: len(whole) // 2])
    with raises("file.unreadable", match="truncated or damaged"):
        read(path, format="jsonl")


def test_a_byte_order_mark_is_dropped(tmp_path):
    path = write(tmp_path, {"id": "1", "title": "T", "text": "x"})
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    (article,), repairs = read(path)
    assert article.id == "1" and repairs == {"byte order mark dropped": 1}


def test_bytes_that_are_no_unicode_are_named(tmp_path):
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(b'{"id": "1", "title": "T", "text": "caf\xe9"}')
    with raises("file.not-utf8", match=r"corpus\.jsonl:1"):
        read(path)


def test_the_format_is_told_by_the_first_characters(tmp_path):
    path = tmp_path / "corpus"
    for start, kind in ((b' {"id"', JsonlCorpus), (b"\xef\xbb\xbf<mediawiki", WikipediaCorpus)):
        path.write_bytes(start)
        assert type(open_corpus(path)) is kind
    for content, message in ((b"hello", "this is not a corpus"), (b" \n", "the corpus is empty")):
        path.write_bytes(content)
        with raises("retrieval.corpus-format", match=message):
            open_corpus(path)


def test_what_cannot_be_a_corpus_is_said(tmp_path):
    path = write(tmp_path, {"id": "1", "title": "T", "text": "x"})
    with raises("retrieval.no-corpus"):
        open_corpus(tmp_path / "none")
    with raises("retrieval.no-corpus", match="folder"):
        open_corpus(tmp_path)
    with raises("retrieval.corpus-format", match="'jsonl'"):
        open_corpus(path, "jsonlines")
    with raises("retrieval.no-images-folder"):
        open_corpus(path, images=tmp_path / "none")


def test_without_pictures_none_is_looked_for(tmp_path):
    path = write(tmp_path, {"id": "1", "title": "T", "text": "x", "images": ["none.jpg", "../out.jpg"]})
    (article,), repairs = read(path, pictures=False)
    assert not article.images and not repairs


def test_an_article_is_the_same_from_wherever_it_is_read(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").touch()
    path = write(tmp_path, {"id": "1", "title": "T", "text": "x", "images": ["a.jpg"]})
    monkeypatch.chdir(tmp_path)
    assert read(Path("corpus.jsonl"))[0] == read(path)[0]


def test_the_position_ends_at_the_size(tmp_path):
    path = write(tmp_path, *({"id": str(i), "title": "T", "text": "x"} for i in range(50)))
    corpus = open_corpus(path)
    assert corpus.position == 0 and corpus.files() == [path]
    list(corpus)
    assert corpus.position == corpus.size == path.stat().st_size


@given(st.lists(st.sampled_from(["..", ".", "a", "b", ""]), max_size=6).map("/".join))
def test_no_path_leads_out_of_its_folder(path):
    whole = inside("/top/folder", path)
    depth = lowest = 0
    for part in path.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        lowest = min(lowest, depth)
    if whole is not None:
        assert whole.startswith("/top/folder/") and ".." not in whole
    elif not path.startswith("/"):
        assert lowest < 0 or depth == 0
