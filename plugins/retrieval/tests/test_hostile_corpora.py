"""Corpora that a stranger made to exhaust time or memory: each ends in one message, or the article is skipped."""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast
from xml.sax.saxutils import escape

import pytest

from mmkit.files.time_limit import OutOfTime, can_limit, time_limit
from mmkit_retrieval.corpora import corpus as corpus_module
from mmkit_retrieval.corpora import mediawiki_xml, unclosed, wikipedia
from mmkit_retrieval.corpora.corpus import Lines
from mmkit_retrieval.corpora.formats import open_corpus
from mmkit_retrieval.corpora.mediawiki_xml import Dump, Site
from mmkit_retrieval.corpora.wikitext import read_wikitext
from raising import raises

N = 100_000


def dump(folder: Path, *texts: str) -> Path:
    pages = (
        f"<page><title>T{n}</title><ns>0</ns><id>{n}</id><revision><text>{escape(text)}</text></revision></page>"
        for n, text in enumerate(texts, 1)
    )
    path = folder / "dump.xml"
    path.write_text(f"<mediawiki>\n{''.join(pages)}</mediawiki>", encoding="utf-8")
    return path


class Endless(io.RawIOBase):
    """A beginning, and then the same bytes for ever."""

    def __init__(self, start: bytes, again: bytes) -> None:
        self._pieces: Iterator[bytes] = itertools.chain(
            [start], itertools.repeat(again * (65536 // len(again)))
        )
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._left = self._left or next(self._pieces)
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size


@pytest.mark.parametrize(
    ("start", "again", "says"),
    [
        (b"<mediawiki><page x='", b"a", "1,048,576"),
        (b"<mediawiki><!--", b"a", "1,048,576"),
        (b"<mediawiki><", b"a", "1,048,576"),
        (b"<mediawiki>&", b"a", "1,048,576"),
        (b"<mediawiki>", b"<a>", "64"),
        (b"<mediawiki><page><title>", b"a", "<title>.*1,000"),
        (b"<mediawiki><siteinfo><namespaces><namespace key='6'>", b"a", "<namespace>"),
        (b"<mediawiki><page><revision><text>", b"a", "80,000,000"),
        (b"<mediawiki><page><revision><text>", b"&amp;", ""),
        (b"<mediawiki>", b" ", ""),
    ],
)
def test_what_never_ends_is_refused(
    monkeypatch: pytest.MonkeyPatch, start: bytes, again: bytes, says: str
) -> None:
    if again == b"&amp;":
        monkeypatch.setattr(mediawiki_xml, "_ENDLESS", 1_000_000)  # parsed one by one, and slower
    reader = Dump(Path("endless.xml"), Counter())
    with raises("retrieval.absurd-dump", match=says) as error:
        list(reader.pages(cast(BinaryIO, Endless(start, again))))
    assert str(error.value.where).startswith("endless.xml:1")


def test_thousands_of_namespaces_are_refused(tmp_path: Path) -> None:
    names = "".join(f'<namespace key="6">n{n}</namespace>\n' for n in range(2000))
    with gzip.open(tmp_path / "names.xml.gz", "wt") as file:
        file.write(f"<mediawiki><siteinfo><namespaces>\n{names}</namespaces></siteinfo></mediawiki>")
    with raises("retrieval.absurd-dump", match=r"names\.xml\.gz:\d+: .*1,000"):
        list(open_corpus(tmp_path / "names.xml.gz"))


@pytest.mark.parametrize("key", ["x", "", "1.5", "9" * 5000, "٣"])
def test_the_key_of_a_namespace_is_a_number(tmp_path: Path, key: str) -> None:
    path = tmp_path / "dump.xml"
    namespace = f'<namespace key="{key}">File</namespace>'
    path.write_text(f"<mediawiki><siteinfo><namespaces>\n{namespace}</namespaces></siteinfo></mediawiki>")
    with raises("retrieval.namespace", match=r"dump\.xml:2: "):
        list(open_corpus(path))


def test_a_line_that_never_ends_is_refused() -> None:
    lines = Lines(cast(Any, Endless(b'{"id": "1"}\n{"text": "', b"a")), Path("endless.jsonl"))
    assert next(lines) == b'{"id": "1"}\n'
    with raises("retrieval.line-too-long", match=r"endless\.jsonl:2: .*16,777,216"):
        next(lines)


def test_a_line_may_be_as_long_as_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = '{"id": "1", "title": "a", "text": "b"}\n'
    path = tmp_path / "corpus.jsonl"
    path.write_text(line + line.replace('"1"', '"2"'), encoding="utf-8")
    monkeypatch.setattr(corpus_module, "LONGEST_LINE", len(line))
    assert [article.id for article in open_corpus(path)] == ["1", "2"]
    monkeypatch.setattr(corpus_module, "LONGEST_LINE", len(line) - 1)
    with raises("retrieval.line-too-long", match=r"corpus\.jsonl:1: "):
        list(open_corpus(path))


NESTED = "{{a|image=x.jpg|caption=" * 35 + "}}" * 35


@pytest.mark.parametrize(
    ("text", "paragraphs"),
    [
        ("a" + "\n \n" * N + "b", ["a", "b"]),
        ("a\n" + " " * N + "|b", ["a"]),
        ("a" + " " * N + "b ,", ["a b,"]),
        ("(" + " ,;" * N, ["("]),
        ("__" + "A" * N, ["__" + "A" * N]),
        ("[[File:a.jpg|" + "1" * N + "]]b", ["b"]),
        ("[[File:a.jpg|" + "1" * N + "x1]]b", ["b"]),
        ("[[File:a.jpg|thumb" + " " * N + "x]]b", ["b"]),
        ("{{a|image=" + "a." * N + "}}b", ["b"]),
        ("{{a|" + "".join(f"image{n}=x{n}.jpg|" for n in range(1000)) + f"caption={'c ' * N}}}}}b", ["b"]),
        (NESTED + "b", ["b"]),
    ],
)
def test_our_own_reading_takes_time_that_grows_with_the_text(text: str, paragraphs: list[str]) -> None:
    with time_limit(10):  # some of these took hours
        assert read_wikitext(text, Site()).paragraphs == paragraphs


def test_an_article_that_takes_too_long_is_skipped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wikipedia, "SECONDS", 0.2)
    corpus = open_corpus(dump(tmp_path, "Paris is a city.", "<ref>" * 20_000, "Berlin is a city."))
    assert [article.id for article in corpus] == ["1", "3"]
    assert corpus.repairs == {"article that takes more than 0.2 seconds to parse skipped": 1}


@pytest.mark.parametrize(
    "text",
    [
        "<a b='",
        '<a b="c>',
        "<ref ",
        "<a <",
        "<br ",
        "{{a|<b ",
        "</a ",
        "<a {{x}} ",
        "<nowiki ",
        "[http://a ",
        "[//a ",
    ],
)
def test_tags_and_links_that_nobody_closes_end_in_time(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parser in C took hours for some of these, and no signal ended it."""
    monkeypatch.setattr(wikipedia, "SECONDS", 0.5)
    before = time.process_time()
    corpus = open_corpus(dump(tmp_path, "Paris is a city.", text * 20_000, "Berlin is a city."))
    assert {"1", "3"} <= {article.id for article in corpus}
    assert time.process_time() - before < 10


def test_a_few_tags_that_are_not_closed_are_read_by_the_fast_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    whole = unclosed.mwparserfromhell.parse
    monkeypatch.setattr(
        unclosed.mwparserfromhell,
        "parse",
        lambda *a, **k: used.append(unclosed.parser.use_c) or whole(*a, **k),
    )
    text = "Paris is a [http://a b] city <math>a<b</math> and <br> of a<b people. " * 50
    (read,) = read_wikitext(text, Site()).paragraphs[:1]
    assert read.startswith("Paris is a") and used == [True]
    monkeypatch.setattr(unclosed, "MOST", 1000)
    read_wikitext("Paris <b is <b a city" * 20, Site())
    assert used == [True, False] and unclosed.parser.use_c


def test_a_process_parses_where_time_cannot_be_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a thread, say: signals reach the main one only."""
    monkeypatch.setattr(wikipedia, "can_limit", lambda: False)
    corpus = wikipedia.WikipediaCorpus(dump(tmp_path, "Paris is a city."), workers=0)
    assert corpus._processes() == 1
    assert [article.paragraphs for article in corpus] == [("Paris is a city.",)]


def test_a_time_limit_leaves_nothing_behind() -> None:
    assert can_limit()
    before = signal.getsignal(signal.SIGVTALRM)
    with pytest.raises(OutOfTime), time_limit(0.05):
        for _ in itertools.count():
            pass
    with time_limit(60):
        assert signal.getitimer(signal.ITIMER_VIRTUAL)[0] > 0
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)
    assert signal.getsignal(signal.SIGVTALRM) is before


def test_a_limit_that_is_swallowed_is_raised_again() -> None:
    """Python ignores exceptions in finalizers and in callbacks of its garbage collector."""
    with pytest.raises(OutOfTime), time_limit(0.02):
        with contextlib.suppress(OutOfTime):
            while True:
                pass
        while True:
            pass


@pytest.mark.parametrize("number", ["xD800", "55296", "xDFFF"])
def test_a_number_that_is_no_character_is_shown_as_one_unknown(number: str) -> None:
    assert read_wikitext(f"Half a pair: &#{number}; here", Site()).paragraphs == ["Half a pair: \ufffd here"]
