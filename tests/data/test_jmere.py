from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmkit.data.jmere import ITC_SCORE, ITM_SCORE, JmereReader
from mmkit.data.types import Image, Relation, Span
from mmkit.errors import DataError
from raising import raises

RECORD: dict[str, Any] = {
    "text": "Bill Cosby 's star in Hollywood",
    "img_id": "twitter_1.jpg",
    "triple_list": [
        ["Bill Cosby", "present_in", "star", "per", "misc"],
        ["star", "held_on", "Hollywood", "misc", "loc"],
    ],
    "ent_pair_list": [[[0, 2], [3, 4]], [[3, 4], [5, 6]]],
    "itm_score": 0.93,
    "itc_score": 0.41,
}  # fmt: skip
BILL, STAR, HOLLYWOOD = Span(0, 2, "per"), Span(3, 4, "misc"), Span(5, 6, "loc")


def reader_of(folder: Path, *records: Any, **options: Any) -> JmereReader:
    (folder / "x.json").write_text(json.dumps(records), encoding="utf-8")
    return JmereReader(str(folder), "x.json", **options)


def one_triple(head: list[int], tail: list[int], **changes: Any) -> dict[str, Any]:
    return RECORD | {"triple_list": RECORD["triple_list"][:1], "ent_pair_list": [[head, tail]]} | changes


def test_a_record_becomes_typed_entities_and_relations_between_them(tmp_path: Path) -> None:
    reader = reader_of(tmp_path, RECORD)
    [example] = reader
    assert example.id == "twitter_1"
    assert example.text == RECORD["text"] and example.tokens == tuple(RECORD["text"].split())
    assert example.spans == (BILL, STAR, HOLLYWOOD)
    assert example.relations == (Relation(BILL, STAR, "present_in"), Relation(STAR, HOLLYWOOD, "held_on"))
    assert example.images == (Image(str(tmp_path / "images" / "twitter_1.jpg")),)
    assert example.notes == {ITC_SCORE: 0.41, ITM_SCORE: 0.93}
    assert not reader.repairs


def test_scores_may_be_missing_and_pictures_left_out_or_blank(tmp_path: Path) -> None:
    bare = {key: value for key, value in RECORD.items() if not key.endswith("score")}
    [example] = reader_of(tmp_path, bare, images="img_org/test")
    assert example.notes == {}
    assert example.images == (Image(str(tmp_path / "img_org/test/twitter_1.jpg")),)
    assert [x.images for x in reader_of(tmp_path, bare | {"itc_score": None}, images=None)] == [()]
    assert [x.images for x in reader_of(tmp_path, RECORD, blank_images=True)] == [(Image(None),)]


def test_the_place_counts_where_the_words_differ(tmp_path: Path) -> None:
    reader = reader_of(tmp_path, one_triple([0, 1], [3, 4]))
    [example] = reader
    assert example.relations[0].head == Span(0, 1, "per")
    assert reader.repairs == {"name other than the words at its place (the place is used)": 1}


def test_a_span_of_two_types_is_an_entity_of_each(tmp_path: Path) -> None:
    other = ["star", "held_on", "Hollywood", "org", "loc"]
    reader = reader_of(tmp_path, RECORD | {"triple_list": [RECORD["triple_list"][0], other]})
    [example] = reader
    assert example.spans == (BILL, STAR, Span(3, 4, "org"), HOLLYWOOD)
    assert [r.tail.label for r in example.relations] == ["misc", "loc"]
    assert example.relations[1].head == Span(3, 4, "org")
    assert reader.repairs == {"span given several types (all are kept)": 1}


def test_a_relation_given_twice_counts_once(tmp_path: Path) -> None:
    twice = {key: RECORD[key][:1] * 2 for key in ("triple_list", "ent_pair_list")}
    reader = reader_of(tmp_path, RECORD | twice)
    [example] = reader
    assert example.relations == (Relation(BILL, STAR, "present_in"),)
    assert reader.repairs == {"relation given twice in a sentence (kept once)": 1}


def test_every_record_has_an_id_of_its_own(tmp_path: Path) -> None:
    names = ["a.jpg", "a.jpg", "a:2.jpg", "a.png", "b", ".jpg", "a:2.jpg"]
    reader = reader_of(tmp_path, *(RECORD | {"img_id": name} for name in names))
    assert [x.id for x in reader] == ["a", "a:2", "a:2:2", "a:3", "b", ".jpg", "a:2:3"]
    assert reader.repairs == {"repeated photo: its record is given its own id": 4}
    assert len(list(reader)) == 7 and sum(reader.repairs.values()) == 4  # counted anew


def test_words_are_what_stands_between_single_spaces(tmp_path: Path) -> None:
    reader = reader_of(tmp_path, one_triple([0, 2], [4, 5], text="Bill Cosby\u2028x 's  star"))
    [example] = reader
    assert example.tokens == ("Bill", "Cosby\u2028x", "'s", "", "star")
    assert reader.repairs["word without characters"] == 1


@pytest.mark.parametrize(
    ("record", "code", "says"),
    [
        ([], "json.wrong-type", "`record`"),
        ({"img_id": "a"}, "json.missing-field", "`text`"),
        (RECORD | {"text": 3}, "json.wrong-type", "`text`"),
        (RECORD | {"text": ""}, "data.empty-sentence", ""),
        (RECORD | {"img_id": None}, "json.wrong-type", "`img_id`"),
        (RECORD | {"triple_list": {}}, "json.wrong-type", "`triple_list`"),
        (RECORD | {"ent_pair_list": []}, "jmere.pair-count", "`triple_list`"),
        (
            RECORD | {"triple_list": [["a", "b"], []]},
            "json.wrong-type",
            r"`triple_list\[0\]`",
        ),
        (RECORD | {"triple_list": [[1, 2, 3, 4, 5], []]}, "json.wrong-type", r"`triple_list\[0\]`"),
        (RECORD | {"ent_pair_list": [[[0, 2]], [[3, 4], [5, 6]]]}, "json.wrong-type", "ent_pair_list"),
        (one_triple([0, 2], [3, 4, 5]), "json.wrong-type", r"`ent_pair_list\[0\]\[1\]`"),
        (one_triple([0, 2], [5, 7]), "json.wrong-type", r" 6 .*\[5, 7\]"),
        (one_triple([2, 2], [5, 6]), "json.wrong-type", r"`ent_pair_list\[0\]\[0\]`"),
        (one_triple([-1, 2], [5, 6]), "json.wrong-type", r"`ent_pair_list\[0\]\[0\]\[0\]`"),
        (RECORD | {"itc_score": "high"}, "json.wrong-type", "`itc_score`"),
    ],
)
def test_a_wrong_record_says_file_number_and_reason(
    tmp_path: Path, record: Any, code: str, says: str
) -> None:
    reader = iter(reader_of(tmp_path, RECORD, record))
    assert next(reader).id == "twitter_1"  # what stands before it is given
    with raises(code, match=says) as error:
        next(reader)
    assert error.value.where == f"{tmp_path / 'x.json'}, record 1"


def test_a_file_that_is_none_says_so(tmp_path: Path) -> None:
    with raises("file.missing", match="TESGA"):
        list(JmereReader(str(tmp_path), "train.json"))
    (tmp_path / "x.json").write_text('[\n{"text": }]')
    with raises("json.syntax", match=r"x\.json:2: not JSON: Expecting value at character 10"):
        list(JmereReader(str(tmp_path), "x.json"))


VALUES = st.recursive(
    st.none() | st.integers(-1, 7) | st.floats() | st.text(max_size=3) | st.sampled_from(["a b", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from([*RECORD]), inner, max_size=4)
    ),
    max_leaves=12,
)
PLACES = st.lists(
    st.lists(st.lists(st.integers(0, 7), min_size=2, max_size=2), min_size=2, max_size=2), max_size=3
)
TRIPLES = st.lists(st.lists(st.sampled_from(["star", "per", ""]), min_size=5, max_size=5), max_size=3)
NEARLY = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(RECORD, VALUES) | {"triple_list": TRIPLES, "ent_pair_list": PLACES}
).map(lambda changes: RECORD | changes)
FILES = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=40).map(lambda s: s.encode("utf-8", "replace")),
    st.one_of(VALUES, st.lists(NEARLY, max_size=3)).map(lambda v: json.dumps(v).encode()),
)


@given(content=FILES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
def test_any_bytes_are_read_or_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    try:
        examples = list(JmereReader(str(tmp_path), "x.json"))
    except DataError as error:
        assert error.where.startswith(str(tmp_path / "x.json"))
    else:
        assert len({x.id for x in examples}) == len(examples)
        for x in examples:
            assert {end for r in x.relations for end in (r.head, r.tail)} == set(x.spans)
