"""MediaWiki exports: which pages are articles, what their wikitext says, and where their images are."""

from __future__ import annotations

import bz2
import hashlib
import multiprocessing
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmkit_retrieval.corpora.article import Article, CaptionedImage
from mmkit_retrieval.corpora.formats import open_corpus
from mmkit_retrieval.corpora.media_files import canonical_name, find_file
from mmkit_retrieval.corpora.mediawiki_xml import LONGEST, Site
from mmkit_retrieval.corpora.wikipedia import WikipediaCorpus
from mmkit_retrieval.corpora.wikitext import Content, read_wikitext
from raising import raises

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="de">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <case>first-letter</case>
    <namespaces>
      <namespace key="0" case="first-letter" />
      <namespace key="6" case="first-letter">Datei</namespace>
      <namespace key="14" case="first-letter">Kategorie</namespace>
    </namespaces>
  </siteinfo>
"""


def page(id: int, title: str, text: str, ns: int = 0, extra: str = "", model: str = "wikitext") -> str:
    return f"""  <page>
    <title>{escape(title)}</title>
    <ns>{ns}</ns>
    <id>{id}</id>
    {extra}
    <revision>
      <id>{id + 1000}</id>
      <contributor><username>x</username><id>77</id></contributor>
      <model>{model}</model>
      <text bytes="9" xml:space="preserve">{escape(text)}</text>
    </revision>
  </page>
"""


def write(folder: Path, *pages: str, end: str = "</mediawiki>\n") -> Path:
    path = folder / "pages-articles.xml"
    path.write_text(HEAD + "".join(pages) + end, encoding="utf-8")
    return path


def read(path: Path, **options: Any) -> tuple[list[Article], dict[str, int]]:
    corpus = open_corpus(path, **options)
    return list(corpus), dict(corpus.repairs)


def content(text: str) -> Content:
    return read_wikitext(text, Site())


def test_articles_are_read_and_other_pages_counted(tmp_path):
    path = write(
        tmp_path,
        page(1, "Paris & more", "'''Paris''' ist die [[Hauptstadt]].\n\nEnde."),
        page(2, "Old", "#REDIRECT [[Paris]]", extra='<redirect title="Paris" />'),
        page(3, "Diskussion:Paris", "talk", ns=1),
        page(4, "Data", "{}", model="json"),
        page(5, "Empty", "{{template}}"),
    )
    articles, repairs = read(path)
    assert articles == [Article("1", "Paris & more", ("Paris ist die Hauptstadt.", "Ende."), ("Hauptstadt",))]
    assert repairs == {
        "redirect skipped": 1,
        "page that is not an article skipped": 1,
        "article that is not wikitext, or far too long, skipped": 1,
        "article without paragraphs and images skipped": 1,
    }


def test_a_dump_in_bzip2_streams_is_read(tmp_path):
    """As dumps.wikimedia.org publishes them: several streams in one file."""
    path = write(tmp_path, page(1, "A", "one"), page(2, "B", "two"))
    data = path.read_bytes()
    path.write_bytes(bz2.compress(data[:700]) + bz2.compress(data[700:]))
    assert [article.id for article in read(path)[0]] == ["1", "2"]


def test_of_several_revisions_the_last_counts(tmp_path):
    twice = page(1, "A", "old").replace("</page>", "<revision><text>new</text></revision></page>")
    assert read(write(tmp_path, twice))[0][0].paragraphs == ("new",)


@pytest.mark.parametrize("workers", [0, 2])
def test_articles_come_in_order_from_any_number_of_processes(tmp_path, monkeypatch, workers):
    monkeypatch.setattr("mmkit_retrieval.corpora.wikipedia._BATCH", 200)
    pages = [page(i, f"Title {i}", f"{'{{t}}' * (i % 7)} text [[Link {i}]] {{{{x}}}}") for i in range(60)]
    pages.insert(30, page(99, "Empty", ""))
    corpus = WikipediaCorpus(write(tmp_path, *pages), workers=workers)
    articles = list(corpus)
    assert [article.id for article in articles] == [str(i) for i in range(60)]
    assert articles[7].links == ("Link 7",)
    assert corpus.repairs == {"article without paragraphs and images skipped": 1}


def test_leaving_early_ends_the_processes(tmp_path, monkeypatch):
    monkeypatch.setattr("mmkit_retrieval.corpora.wikipedia._BATCH", 50)
    path = write(tmp_path, *(page(i, f"T{i}", "text") for i in range(200)))
    articles = iter(WikipediaCorpus(path, workers=1))
    assert next(articles).id == "0"
    articles.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


ORPHANS = """
import os, signal, sys
from pathlib import Path
from multiprocessing import active_children

from mmkit_retrieval.corpora import wikipedia

if __name__ == "__main__":
    wikipedia._BATCH = 50
    articles = iter(wikipedia.WikipediaCorpus(Path(sys.argv[1]), workers=1))
    next(articles)
    print(*(child.pid for child in active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_processes_do_not_outlive_a_killed_build(tmp_path):
    path = write(tmp_path, *(page(i, f"T{i}", "text") for i in range(200)))
    script = tmp_path / "script.py"
    script.write_text(ORPHANS)
    command = [sys.executable, str(script), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as started:
        # the children hold the other end of the pipe: reading ends when the last of them has
        output, _ = started.communicate(timeout=120)
    assert started.returncode == -signal.SIGKILL
    assert len(output.split()) == 1


def test_a_document_type_is_refused(tmp_path):
    path = tmp_path / "bomb.xml"
    path.write_text('<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>\n<mediawiki>&b;</mediawiki>')
    with raises("retrieval.xml-doctype", match=r"bomb\.xml:1"):
        read(path)


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (lambda xml: xml[: len(xml) // 2], "retrieval.dump-cut-off", ""),
        (lambda xml: xml.replace("</title>", "</titel>", 1), "retrieval.xml-syntax", ":12: "),
        (lambda xml: xml.replace("mediawiki", "html"), "retrieval.not-mediawiki", "<html>"),
        (lambda xml: xml.replace("<id>1</id>", ""), "retrieval.page-without-id", ""),
        (lambda xml: xml.replace("one", "&undefined;"), "retrieval.xml-syntax", ""),
    ],
)
def test_broken_dumps_are_named_with_their_line(tmp_path, change, code, says):
    path = write(tmp_path, page(1, "A", "one"))
    path.write_text(change(path.read_text()))
    with raises(code, match=says):
        read(path)


def test_a_page_of_absurd_length_is_skipped(tmp_path):
    articles, repairs = read(write(tmp_path, page(1, "A", "x " * (LONGEST // 2 + 1)), page(2, "B", "two")))
    assert [article.id for article in articles] == ["2"]
    assert repairs == {"article that is not wikitext, or far too long, skipped": 1}


@pytest.mark.parametrize(
    ("text", "paragraphs"),
    [
        ("one\ntwo\n\nthree", ["one two", "three"]),
        ("'''Bold''' and ''italic''", ["Bold and italic"]),
        ("a {{template|x={{y}}}} b", ["a b"]),
        ("Paris ({{IPA|x}}) is, {{small}} here", ["Paris is, here"]),
        ("Paris ({{IPA|x}}; a city)", ["Paris (a city)"]),
        ("a<ref>note [[Link]]</ref> b<ref name=x />.", ["a b."]),
        ("before\n{|\n| cell\n|}\nafter", ["before", "after"]),
        ("before\n\n{| class=open\n! head\n| cell\n\nafter", ["before", "after"]),
        ("== Heading ==\ntext\n=== Sub ===\nmore", ["text", "more"]),
        ("* one\n* two\n# three", ["one two three"]),
        ("see [http://x.org the site] and [http://y.org]", ["see the site and"]),
        ("R&amp;D &ndash; caf&#233;", ["R&D – café"]),
        ("a<!-- comment -->b __NOTOC__", ["ab"]),
        ("H<sub>2</sub>O<br>next", ["H2O next"]),
        ("<math>x^2</math>formula<nowiki>[[x]]</nowiki>", ["formula[[x]]"]),
        ("<div>one</div>two", ["one", "two"]),
    ],
)
def test_wikitext_becomes_what_is_read(text, paragraphs):
    assert content(text).paragraphs == paragraphs


def test_links_are_titles():
    found = content(
        "[[france|the French]], [[New_York#History|NY]]s, [[France]], [[#Top]], [[:Category:Cities]], "
        "[[Category:Cities]] [[de:Paris]] [[Image:A.jpg]]"
    )
    assert found.paragraphs == ["the French, NYs, France, #Top, Category:Cities,"]
    assert found.links == ["France", "New York"]
    assert read_wikitext("[[iPod]]", Site(capitals=False)).links == ["iPod"]


def test_pictures_and_captions():
    found = content(
        "{{Infobox|image=Lead picture.jpg|caption=The [[lead]]|logo=[[File:Logo.png|50px]]|map=a.svg}}"
        "[[File:One.jpg|thumb|left|200x300px|alt=Other|A ''caption'' with [[Link|a link]] and {{t}}]]"
        "[[Image:Two.PNG|miniatur|hochkant=1.2|alt=Instead of a caption]]"
        "[[File:Sound.ogg|thumb|no picture]][[File:Bare.gif]]"
        "<gallery>\nFile:G one.jpg|In a [[gallery]]\nG2.jpg\n</gallery>text"
    )
    assert found.pictures == {
        "Lead picture.jpg": "The lead",
        "Logo.png": "",
        "One.jpg": "A caption with a link and",
        "Two.PNG": "Instead of a caption",
        "Bare.gif": "",
        "G one.jpg": "In a gallery",
        "G2.jpg": "",
    }
    assert found.paragraphs == ["text"] and found.links == []


def test_pictures_are_found_by_mediawikis_rules(tmp_path):
    images = tmp_path / "images"
    digest = hashlib.md5(b"Hashed_one.jpg").hexdigest()
    for path in (f"{digest[0]}/{digest[:2]}/Hashed_one.jpg", "Flat_one.jpg", "With spaces.jpg"):
        (images / path).parent.mkdir(parents=True, exist_ok=True)
        (images / path).touch()
    names = ("hashed one.jpg", "flat_one.jpg", " With  spaces.jpg", "Absent.jpg", "../secret.jpg")
    text = "".join(f"[[Datei:{name}|mini|Caption]]" for name in names)
    articles, repairs = read(write(tmp_path, page(1, "A", text)), images=images)
    paths = [images / digest[0] / digest[:2] / "Hashed_one.jpg", images / "Flat_one.jpg"]
    assert articles[0].images == tuple(
        CaptionedImage(str(path), "Caption") for path in [*paths, images / "With spaces.jpg"]
    )
    assert repairs == {"image that does not exist left out": 2}


@given(st.text(max_size=60))
def test_a_name_never_leads_out_of_the_folder(name):
    canonical = canonical_name(name)
    assert canonical is None or not {"/", "\\", "\0"} & set(canonical)
    assert canonical not in ("", ".", "..")
    assert canonical is None or canonical_name(canonical) == canonical
    assert find_file("/nonexistent", name) is None


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "[[",
                "]]",
                "{{",
                "}}",
                "{|",
                "|}",
                "|",
                "=",
                "\n",
                "''",
                "<ref>",
                "</ref>",
                "a b",
                "File:A.jpg",
                "<",
                "&#1;",
            ]
        ),
        max_size=30,
    ).map("".join)
)
def test_no_wikitext_is_too_odd(text):
    found = content(text)
    assert all(p == " ".join(p.split()) and p for p in found.paragraphs)
