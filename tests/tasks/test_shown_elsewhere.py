"""Answers as documents of spaCy, and as HTML in notebooks."""

from __future__ import annotations

import builtins
import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from mmkit.data.knowledge import KnowledgeBase
from mmkit.data.types import Entity, Example, Image, Mention, Prediction, Region, Relation, Span
from mmkit.tasks import Answer, JointTask, LinkTask, PairTask, SpanTask
from mmkit.tasks.link import Link
from mmkit.tasks.notebook import Marked, answer_style, sentence
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
        self.open: list[str] = []  # tags, with their classes
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "img":
            self.open.append(" ".join([tag, dict(attrs).get("class") or ""]))
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().split()[0] == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(name for each in self.open for name in each.split()), data))

    def parts(self, *within: str) -> list[str]:
        """The texts within elements of these tags and classes."""
        return [text for path, text in self.texts if set(within) <= set(path)]

    def sentence(self) -> str:
        """The sentence without what stands below its words."""
        return "".join(text for path, text in self.texts if "sentence" in path and "lane" not in path)


def test_spans_and_relations_are_shown() -> None:
    page = Page(joint()._repr_html_())
    assert page.sentence() == TEXT
    assert page.parts("sentence", "label") == ["PER 0.90", "FIRST 0.40", "ORG 0.80"]
    assert page.parts("td") == ["member: Michael Jordan → Bulls", "0.700"]
    assert page.parts("figcaption") == ["a<b>.jpg"]


def test_links_are_shown_with_pictures(tmp_path: Path) -> None:
    Pillow.new("RGB", (300, 200), "teal").save(tmp_path / "secret.png")
    entity = Entity(
        "Q41421", "Michael Jordan", description="a <player>", images=(Image(str(tmp_path / "secret.png")),)
    )
    base = KnowledgeBase.build(tmp_path / "kb", [entity])
    asked = example(mention=Mention("Michael Jordan", Span(2, 4, "mention")))
    ids = ("Q41421", "Q1", "Q2", "Q3", "Q4", "Q5", "Q6")
    found = Prediction("1", links=ids, link_scores=(0.75, 0.05, 0.04, 0.04, 0.04, 0.04, 0.04))
    answer = LinkTask().answer(asked, found, base)
    html = answer._repr_html_()
    page = Page(html)
    assert page.parts("sentence", "label") == ["mention Q41421"]
    assert page.parts("li", "strong") == ["Michael Jordan (Q41421)", "Q1", "Q2", "Q3", "Q4"]
    assert page.parts("li", "dim") == ["a <player>"] and "2 more in answer.links" in page.parts("p")
    assert html.count("<img ") == 1 and 'alt="image of Michael Jordan"' in html
    for public in (json.dumps(answer.to_dict()), json.dumps(answer.schema()), LinkTask().html(answer)):
        assert "secret" not in public and 'picture"' not in public
    assert not any("picture" in column for column in answer.columns())


TAGS = {"article", "style", "p", "span", "div", "strong", "ul", "ol", "li", "figure", "figcaption"}
TAGS |= {"table", "caption", "thead", "tbody", "tr", "th", "td"}
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
        tokens=(HOSTILE.strip(),),
        mention=HOSTILE,
        mention_span=None,
        links=(Link(entity=HOSTILE, name=HOSTILE, description=HOSTILE, score=0.5, picture=Image(HOSTILE)),),  # type: ignore[call-arg]
    )
    for answer in (JointTask().answer(hostile, found, ()), link):
        page = Page(answer._repr_html_())
        assert page.tags <= TAGS
        assert page.attributes <= {"style", "title", "class"}
        assert page.sentence() == answer.text


TOKENS = st.lists(st.text("ab<&\"'", min_size=1, max_size=3), min_size=4, max_size=6)
SPANS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from(["A", "B<"])).filter(
        lambda s: s[0] < s[1]
    ),
    max_size=5,
)


@given(TOKENS, SPANS)
def test_no_span_is_left_out(tokens: list[str], spans: list[tuple[int, int, str]]) -> None:
    words = Example.from_tokens("1", tokens)
    html = sentence(words.text, words.offsets, [Marked(*span) for span in spans])
    page = Page(html)
    assert page.sentence() == words.text
    assert sorted(page.parts("label")) == sorted(label for _, _, label in set(spans))
    below = html.count('class="lane said"')  # a lane has a line below each token of a span
    assert below == sum(end - start for start, end, _ in set(spans))


def test_white_space_around_the_text_and_texts_without_tokens_are_kept() -> None:
    for text in ("", " \n ", "  a  b "):
        words = Example.from_text("1", text)
        assert Page(sentence(text, words.offsets, [])).sentence() == text


def test_the_style_changes_nothing_else_in_a_notebook() -> None:
    rules = re.sub(r"/\*.*?\*/", "", answer_style(), flags=re.DOTALL)
    selectors = [one.strip() for rule in re.findall(r"([^{}]+)\{[^}]*\}", rules) for one in rule.split(",")]
    assert len(selectors) > 20 and all(".mmkit-answer" in selector for selector in selectors)


# -- boxes in photos -----------------------------------------------------------------------------------------


def grounded(path: str | None) -> Answer:
    place = Region(0, (10.0, 20.0, 50.5, 60.0))
    person = dataclasses.replace(PERSON, regions=(place,))
    found = Prediction("1", (person, TEAM), (0.9, 0.8))
    return SpanTask().answer(example(images=(Image(path),)), found, ())


def test_a_notebook_shows_the_photo_with_its_boxes(tmp_path: Path) -> None:
    Pillow.new("RGB", (1000, 500), "teal").save(tmp_path / "a&b.png")
    html = grounded(str(tmp_path / "a&b.png"))._repr_html_()
    assert html.count("<img ") == 1 and html.count('class="box said"') == 1
    assert "left: 1%; top: 4%; width: 4.05%; height: 8%" in html
    assert "data:image/jpeg;base64," in html and "a&amp;b.png" in html and "a&b.png" not in html
    page = Page(html)
    assert page.parts("box") == page.parts("li") == ["PER: Michael Jordan"]


def test_a_photo_without_boxes_is_shown_too(tmp_path: Path) -> None:
    Pillow.new("RGB", (1000, 500), "teal").save(tmp_path / "a.png")
    answer = SpanTask().answer(example(images=(Image(str(tmp_path / "a.png")),)), Prediction("1"), ())
    seen = dataclasses.replace(answer, unread_images=(0,))
    assert answer._repr_html_().count("<img ") == 1 and "not looked at" not in answer._repr_html_()
    assert "a.png (not looked at by this model)" in seen._repr_html_()


@pytest.mark.parametrize(
    "path, told", [(None, "blank image"), ("no-such.jpg", "image not shown"), ("<b>.jpg", "image not shown")]
)
def test_a_photo_that_is_not_there_is_not_drawn(path: str | None, told: str) -> None:
    html = grounded(path)._repr_html_()
    assert "<img" not in html and "<b>" not in html
    assert Page(html).parts("photo")[0].startswith(told) and "Michael" in html


def test_plain_html_names_boxes_and_opens_no_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    """The paths may be names that a stranger chose, so that a server must not show what they are."""
    monkeypatch.setattr("mmkit.data.images.open_image", lambda image: pytest.fail("it was opened"))
    html = SpanTask().html(grounded("/etc/<b>.jpg"))
    told = "Michael Jordan (PER): /etc/&lt;b&gt;.jpg at 10, 20, 50.5, 60</li>"
    assert f'<li data-image="0">{told}' in html
    assert "regions" not in SpanTask().html(SpanTask().answer(example(), Prediction("1"), ()))
