"""Candidate lists, spans of mentions, and splits by hash."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmkit.data.mel import mention_span, split_of, token_span
from mmkit.data.melbench import WikimelReader
from mmkit.data.tokenize import tokenize
from mmkit.data.wikiperson import WikipersonReader
from raising import raises

CAPTION = {
    "sentence": "Jordan scores",
    "mentions": "Jordan",
    "entities": "Michael Jordan",
    "answer": "Q41421",
}
PERSON = {"id": 4, "image": "a.jpg", "wikiid": "Q41421", "boundingbox": [1, 2, 3, 4]}


def wikimel(tmp_path: Path, lists: Any, **options: Any) -> WikimelReader:
    (tmp_path / "x.json").write_text(json.dumps({"1": CAPTION, "2": CAPTION | {"mentions": "Paris"}}))
    (tmp_path / "lists.json").write_text(json.dumps(lists))
    return WikimelReader(str(tmp_path), "x.json", candidates="lists.json", **options)


def wikiperson(tmp_path: Path, lists: Any, **options: Any) -> WikipersonReader:
    (tmp_path / "x.json").write_text(json.dumps([PERSON, PERSON | {"id": 5, "wikiid": "Q7"}]))
    (tmp_path / "lists.json").write_text(json.dumps(lists))
    return WikipersonReader(str(tmp_path), "x.json", candidates="lists.json", **options)


def test_candidates_of_a_mention_are_listed_in_order_and_once(tmp_path: Path) -> None:
    reader = wikimel(tmp_path, {"Jordan": ["Q810", "Q41421", "Q810", "Q1", "Q1"]})
    assert [x.candidates for x in reader] == [("Q810", "Q41421", "Q1"), ()]
    assert reader.repairs["candidate listed again, dropped"] == 2
    assert reader.repairs["mention without a candidate list"] == 1
    assert reader.files() == [tmp_path / "x.json", tmp_path / "lists.json"]


def test_candidates_of_a_mention_may_miss_its_entity(tmp_path: Path) -> None:
    reader = wikimel(tmp_path, {"Jordan": ["Q810"], "Paris": []})
    assert [x.candidates for x in reader] == [("Q810",), ()]


def test_candidates_of_an_entity_begin_with_it(tmp_path: Path) -> None:
    reader = wikiperson(tmp_path, {"Q41421": ["Q1", "Q41421", "Q2"], "Q9": []})
    assert [x.candidates for x in reader] == [("Q41421", "Q1", "Q2"), ()]
    assert reader.repairs == {"entity without a candidate list": 1}


@pytest.mark.parametrize("make", [wikimel, wikiperson])
def test_lists_can_be_cut(tmp_path: Path, make: Any) -> None:
    lists = {"Jordan": ["Q41421", "Q1", "Q2"], "Q41421": ["Q1", "Q2"]}
    first, _ = make(tmp_path, lists, max_candidates=2)
    assert first.candidates == ("Q41421", "Q1")
    with raises("part.setting"):
        make(tmp_path, lists, max_candidates=0)


def test_missing_lists_are_an_error_unless_said_otherwise(tmp_path: Path) -> None:
    reader = wikimel(tmp_path, {})
    (tmp_path / "lists.json").unlink()
    with raises("file.missing", match=r"(?s)lists\.json: no such data file\n.*mmkit\.name_candidates\.v1"):
        list(reader)
    lenient = WikimelReader(str(tmp_path), "x.json", candidates="lists.json", missing_candidates="none")
    assert [x.candidates for x in lenient] == [(), ()]
    assert any("do not exist" in reason for reason in lenient.repairs)
    assert lenient.files() == [tmp_path / "x.json"]


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ([], "`record` must be an object"),
        ({"Jordan": "Q1"}, "`Jordan` must be a list of strings"),
        ({"Jordan": ["Q1", 2]}, "`Jordan` must be a list of strings"),
    ],
)
def test_lists_of_another_form_are_refused(tmp_path: Path, lists: Any, message: str) -> None:
    with raises("json.wrong-type") as error:
        list(wikimel(tmp_path, lists))
    assert error.value.where == str(tmp_path / "lists.json")
    assert message in error.value.what


WORDS = st.text(st.sampled_from("ab .,-'#@é"), max_size=30)


@given(WORDS, st.data())
def test_a_span_holds_exactly_its_characters(text: str, data: st.DataObject) -> None:
    _, offsets = tokenize(text)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    span = token_span(offsets, start, end)
    starts, ends = [o[0] for o in offsets], [o[1] for o in offsets]
    if span is None:
        assert start == end or start not in starts or end not in ends
    else:
        assert (offsets[span.start][0], offsets[span.end - 1][1]) == (start, end)


@given(WORDS, st.text(st.sampled_from("ab .,-"), max_size=4))
def test_a_mention_is_found_wherever_it_is_whole_tokens(text: str, mention: str) -> None:
    _, offsets = tokenize(text)
    bounds = [(a, b) for a, _ in offsets for _, b in offsets if a < b]
    places = [(a, b) for a, b in bounds if text[a:b] == mention]
    span = mention_span(mention, text, offsets)
    found = None if span is None else (offsets[span.start][0], offsets[span.end - 1][1])
    assert found == min(places, default=None)


def test_the_first_whole_place_counts() -> None:
    text = "Jordanian fans of Jordan and Jordan"
    span = mention_span("Jordan", text, tokenize(text)[1])
    assert span is not None and (span.start, span.end) == (3, 4)


def test_splits_have_their_proportions() -> None:
    counts = Counter(split_of(str(i)) for i in range(20_000))
    for split, share in {"train": 0.7, "dev": 0.1, "test": 0.2}.items():
        assert counts[split] / 20_000 == pytest.approx(share, abs=0.01)


def test_a_split_depends_on_the_id_alone_and_never_changes() -> None:
    expected = {"10000": "test", "10001": "train", "10006": "train", "10008": "dev", "Q23": "test"}
    for ids in (list(expected), random.Random(0).sample(list(expected), len(expected))):
        assert {id: split_of(id) for id in ids} == expected
    assert split_of("Q\ud800") in ("train", "dev", "test")
