"""Answers as documents of spaCy, and as HTML in notebooks."""

from __future__ import annotations

import builtins
import dataclasses
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmkit.data.types import Example, Image, Mention, Prediction, Region, Relation, Span
from mmkit.tasks import Answer, JointTask, LinkTask, PairTask, SpanTask
from mmkit.tasks.link import Link
from mmkit.tasks.notebook import Marked, marked_text
from raising import raises

TEXT = "look  at Michael Jordan of the Bulls!"
"""With two spaces, so that spaCy's document has a token more."""


def example(**fields: Any) -> Example:
    return Example.from_text("1", TEXT, **fields)


PERSON, TEAM, FIRST = Span(2, 4, "PER"), Span(6, 7, "ORG"), Span(2, 3, "FIRST")


def joint(text: Example | None = None) -> Answer:
    relation = Relation(PERSON, TEAM, "member")
    found = Prediction("1", (PERSON, FIRST, TEAM), (0.9, 0.4, 0.8), (relation,), (0.7,))
    return JointTask().answer(text or example(images=(Image("a<b>.jpg"),)), found, ())


def linked() -> Answer:
    asked = example(mention=Mention("Michael Jordan", Span(2, 4, "mention")))
    answer = LinkTask().answer(asked, Prediction("1", links=("Q41421",), link_scores=(0.75,)), ())
    links = (
        Link(entity="Q41421", name="Michael Jordan", description="a <player>", score=0.75),
        Link(entity="Q810", name="Jordan", description=None, score=0.5),
    )
    return dataclasses.replace(answer, links=links)  # type: ignore[call-arg]


# -- spaCy ---------------------------------------------------------------------------------------------------


def test_a_document_has_the_text_and_the_spans() -> None:
    spacy = pytest.importorskip("spacy")
    answer = joint()
    doc = answer.to_spacy()
    assert doc.text == TEXT
    assert [token.text for token in doc if not token.is_space] == list(answer.tokens)
    spans = {
        (span.text, span.label_, score) for span, score in zip(doc.spans["mmkit"], scores(doc), strict=True)
    }
    assert spans == {("Michael Jordan", "PER", 0.9), ("Michael", "FIRST", 0.4), ("Bulls", "ORG", 0.8)}
    assert [(e.text, e.label_) for e in doc.ents] == [("Michael Jordan", "PER"), ("Bulls", "ORG")]
    assert doc.user_data["mmkit"] == answer.to_dict()
    assert doc.user_data["mmkit"]["relations"][0]["label"] == "member"
    pipeline = spacy.blank("en")
    assert answer.to_spacy(pipeline.vocab).vocab is pipeline.vocab
    again = spacy.tokens.Doc(doc.vocab).from_bytes(doc.to_bytes())
    assert again.text == TEXT and len(again.spans["mmkit"]) == 3


def scores(doc: Any) -> list[float]:
    return list(doc.spans["mmkit"].attrs["scores"])


def test_a_linked_mention_has_its_entity() -> None:
    pytest.importorskip("spacy")
    (mention,) = linked().to_spacy().ents
    assert (mention.text, mention.kb_id_) == ("Michael Jordan", "Q41421")


def test_a_pair_and_a_text_without_tokens_are_documents() -> None:
    pytest.importorskip("spacy")
    pair = example(relations=(Relation(PERSON, TEAM),))
    answer = PairTask().answer(
        pair, Prediction("1", relations=(Relation(PERSON, TEAM, "x"),), relation_scores=(0.6,)), ()
    )
    assert [(e.text, e.label_) for e in answer.to_spacy().ents] == [
        ("Michael Jordan", "PER"),
        ("Bulls", "ORG"),
    ]
    assert SpanTask().answer(Example.from_text("1", ""), Prediction("1"), ()).to_spacy().text == ""
    blank = SpanTask().answer(Example.from_text("1", " \n "), Prediction("1"), ()).to_spacy()
    assert blank.text == " \n "


@settings(deadline=None)
@given(st.text("ab .\n\t\u00a0\U0001f44d'", max_size=20))
def test_any_text_is_kept(text: str) -> None:
    pytest.importorskip("spacy")
    answer = SpanTask().answer(Example.from_text("1", text), Prediction("1"), ())
    doc = answer.to_spacy()
    assert doc.text == text
    assert [(t.idx, t.text) for t in doc if t.text in answer.tokens and not t.is_space] == [
        (start, token)
        for (start, _), token in zip(Example.from_text("1", text).offsets, answer.tokens, strict=True)
    ]


def test_without_spacy_it_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "spacy":
            raise ImportError(name)
        return imported(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with raises("part.no-spacy", match=r"mmkit-core\[spacy\]"):
        joint().to_spacy()
    assert "Michael" in joint()._repr_html_()


def test_documents_are_training_data_for_spacy(tmp_path: Path) -> None:
    spacy, formats = pytest.importorskip("spacy"), pytest.importorskip("mmkit_formats.docbin")
    spacy.tokens.DocBin(store_user_data=True, docs=[joint().to_spacy()]).to_disk(tmp_path / "x.spacy")
    (read,) = formats.DocBinReader(str(tmp_path), "x.spacy")
    assert read.tokens == joint().tokens
    assert [(s.start, s.end, s.label) for s in read.spans] == [(2, 4, "PER"), (6, 7, "ORG")]


# -- notebooks -----------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """The text and the tags of a page, which must be well-formed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(self.open), data))

    def text(self, *within: str) -> str:
        return "".join(t for path, t in self.texts if set(within) <= set(path) and "span" not in path)


def test_spans_and_relations_are_shown() -> None:
    page = Page(joint()._repr_html_())
    assert page.text("p") == TEXT
    badges = [text for path, text in page.texts if "span" in path]
    assert badges == ["FIRST", "PER", "ORG"]
    cells = [text for path, text in page.texts if "td" in path]
    assert cells == ["Michael Jordan", "Bulls", "member", "0.700"]
    assert "a<b>.jpg" in page.text("li")


def test_links_are_shown() -> None:
    page = Page(linked()._repr_html_())
    cells = [text for path, text in page.texts if "td" in path]
    assert cells == [
        "Michael Jordan",
        "Q41421",
        "Michael Jordan",
        "a <player>",
        "0.750",
        "Q810",
        "Jordan",
        "0.500",
    ]
    assert "mention Q41421" in [text for path, text in page.texts if "span" in path]


TAGS = {
    "article",
    "p",
    "mark",
    "span",
    "table",
    "caption",
    "b",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "ul",
    "li",
    "i",
}
HOSTILE = "<script>alert(1)</script> \" onload='x' &amp; "


def test_everything_is_escaped() -> None:
    hostile = Example.from_tokens(
        "1", ["<script>alert(1)</script>", "\"'", "&amp;"], images=(Image(HOSTILE),)
    )
    spans = (Span(0, 1, HOSTILE), Span(1, 3, "B"))
    found = Prediction("1", spans, (0.5, 0.5), (Relation(*spans, HOSTILE),), (0.5,))
    link = dataclasses.replace(
        linked(),
        text=HOSTILE,
        mention_span=None,
        links=(Link(entity=HOSTILE, name=HOSTILE, description=HOSTILE, score=0.5),),  # type: ignore[call-arg]
    )
    for answer in (JointTask().answer(hostile, found, ()), link):
        page = Page(answer._repr_html_())
        assert page.tags <= TAGS
        assert page.attributes <= {"style", "title", "class"}
        assert page.text("p") == answer.text


SPANS = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 8), st.sampled_from(["A", "B<"])).filter(
        lambda s: s[0] < s[1]
    ),
    max_size=5,
)


@given(st.text("ab<&\"'", min_size=8, max_size=12), SPANS)
def test_no_span_is_left_out(text: str, spans: list[tuple[int, int, str]]) -> None:
    html = marked_text(text, [Marked(*span) for span in spans])
    page = Page(html)
    assert page.text("p") == text
    badges = sorted(words for path, words in page.texts if "span" in path)
    assert badges == sorted(label for _, _, label in set(spans))
    covered = sorted({i for start, end, _ in spans for i in range(start, end)})
    assert page.text("mark") == "".join(text[i] for i in covered)
    assert unescape(html).count("title=") == html.count("<mark")


# -- boxes in photos -----------------------------------------------------------------------------------------


def grounded(path: str | None) -> Answer:
    place = Region(0, (10.0, 20.0, 50.5, 60.0))
    person = dataclasses.replace(PERSON, regions=(place,))
    found = Prediction("1", (person, TEAM), (0.9, 0.8))
    return SpanTask().answer(example(images=(Image(path),)), found, ())


def test_a_notebook_shows_the_photo_with_its_boxes(tmp_path: Path) -> None:
    from PIL import Image as Pillow

    Pillow.new("RGB", (1000, 500), "teal").save(tmp_path / "a&b.png")
    html = grounded(str(tmp_path / "a&b.png"))._repr_html_()
    assert html.count("<svg") == 1 and 'viewBox="0 0 1000 500" width="480"' in html
    assert (
        html.count('x="10" y="20" width="40.5" height="40"') == 2
    )  # dark outside, the label's colour inside
    assert "data:image/jpeg;base64," in html and "a&amp;b.png" in html and "a&b.png" not in html
    assert "Michael Jordan (PER)</title>" in html and "Bulls (ORG)</title>" not in html


@pytest.mark.parametrize("path", [None, "no-such.jpg"])
def test_a_photo_that_is_not_there_is_not_drawn(path: str | None) -> None:
    html = grounded(path)._repr_html_()
    assert "<svg" not in html and "Michael Jordan" in html


def test_plain_html_names_boxes_and_opens_no_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    """The paths may be names that a stranger chose, so that a server must not show what they are."""
    monkeypatch.setattr("mmkit.data.images.open_image", lambda image: pytest.fail("it was opened"))
    html = SpanTask().html(grounded("/etc/<b>.jpg"))
    told = "Michael Jordan (PER): /etc/&lt;b&gt;.jpg at 10, 20, 50.5, 60</li>"
    assert f'<li data-image="0">{told}' in html
    assert "regions" not in SpanTask().html(SpanTask().answer(example(), Prediction("1"), ()))
