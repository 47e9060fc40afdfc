"""Canonical jsonlines: what is written is read back, and what cannot be read says where and why."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmkit.data.jsonl import (
    entity_from_json,
    example_from_json,
    prediction_from_json,
    read_jsonl,
    to_json,
    write_jsonl,
)
from mmkit.data.types import Entity, Example, Image, Media, Mention, Prediction, Region, Relation, Span
from raising import raises

ODD = st.sampled_from(
    ["", "\n", "\r", "\u2028", "\u0085", "\x00", "\ufeff", '"', "\\ud83d", "🙂", "e\u0301", " "]
)
TEXT = st.one_of(ODD, st.text(max_size=8))
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
NOTES = st.dictionaries(
    TEXT,
    st.recursive(
        st.none() | st.booleans() | st.integers() | FLOATS | TEXT,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)
BOXES = st.none() | st.tuples(FLOATS, FLOATS, FLOATS, FLOATS)
IMAGES = st.lists(
    st.builds(Image, st.none() | TEXT.filter(str.strip), st.sampled_from(["photo", "object"]), BOXES),
    max_size=3,
).map(tuple)
MEDIA = st.lists(
    st.builds(Media, TEXT, TEXT.filter(lambda kind: kind not in ("", "image")), TEXT), max_size=2
).map(tuple)
CORNERS = st.tuples(FLOATS, FLOATS, FLOATS, FLOATS)


def regions(pictures: int) -> st.SearchStrategy[tuple[Region, ...]]:
    if not pictures:
        return st.just(())
    return st.lists(st.builds(Region, st.integers(0, pictures - 1), CORNERS), max_size=2).map(tuple)


LOOSE_SPANS = st.builds(
    lambda s, n, label, shown: Span(s, s + n, label, shown),
    st.integers(0, 9),
    st.integers(1, 9),
    TEXT,
    regions(4),
)


@st.composite
def examples(draw: st.DrawFn) -> Example:
    tokens = draw(st.lists(TEXT, max_size=5).map(tuple))
    if draw(st.booleans()):
        words = Example.from_tokens("", tokens)
        text, offsets = words.text, words.offsets
    else:
        gaps = draw(st.lists(TEXT, min_size=len(tokens), max_size=len(tokens)))
        text, offsets = "", ()
        for gap, token in zip(gaps, tokens, strict=True):
            text += gap
            offsets += ((len(text), len(text) + len(token)),)
            text += token
    images = draw(IMAGES)
    spans: st.SearchStrategy[Span] = st.nothing()
    if tokens:
        bounds = st.tuples(st.integers(0, len(tokens) - 1), st.integers(1, len(tokens)))
        spans = st.builds(
            lambda b, label, shown: Span(*b, label, shown),
            bounds.filter(lambda b: b[0] < b[1]),
            TEXT,
            regions(len(images)),
        )
    maybe_span = st.none() | spans if tokens else st.none()
    relations = st.builds(Relation, spans, spans, st.none() | TEXT) if tokens else st.nothing()
    return Example(
        id=draw(TEXT),
        text=text,
        tokens=tokens,
        offsets=offsets,
        images=images,
        spans=tuple(draw(st.lists(spans, max_size=3) if tokens else st.just([]))),
        relations=tuple(draw(st.lists(relations, max_size=2) if tokens else st.just([]))),
        mention=draw(st.none() | st.builds(Mention, TEXT, maybe_span)),
        entity=draw(st.none() | TEXT),
        candidates=tuple(draw(st.lists(TEXT, max_size=3))),
        notes=draw(NOTES),
        media=draw(MEDIA),
    )


ENTITIES = st.builds(Entity, TEXT, TEXT, st.lists(TEXT, max_size=3).map(tuple), TEXT, IMAGES, NOTES, MEDIA)
PREDICTIONS = st.builds(
    Prediction,
    TEXT,
    st.lists(LOOSE_SPANS, max_size=3).map(tuple),
    st.lists(FLOATS, max_size=3).map(tuple),
    st.lists(st.builds(Relation, LOOSE_SPANS, LOOSE_SPANS, st.none() | TEXT), max_size=2).map(tuple),
    st.lists(FLOATS, max_size=3).map(tuple),
    st.lists(TEXT, max_size=3).map(tuple),
    st.lists(FLOATS, max_size=3).map(tuple),
    NOTES,
)


@given(records=st.lists(examples(), max_size=3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_examples_come_back_from_a_file_as_they_were(tmp_path: Path, records: list[Example]) -> None:
    path = tmp_path / "x.jsonl"
    assert write_jsonl(path, records, "examples") == len(records)
    again = list(read_jsonl(path))
    assert again == records
    assert [[s.regions for s in x.spans] for x in again] == [[s.regions for s in x.spans] for x in records]


@given(records=st.lists(ENTITIES, max_size=3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_entities_come_back_from_a_file_as_they_were(tmp_path: Path, records: list[Entity]) -> None:
    write_jsonl(tmp_path / "x.jsonl", records, "entities")
    assert list(read_jsonl(tmp_path / "x.jsonl", "entities")) == records


@given(records=st.lists(PREDICTIONS, max_size=3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_predictions_come_back_from_a_file_as_they_were(tmp_path: Path, records: list[Prediction]) -> None:
    write_jsonl(tmp_path / "x.jsonl", records, "predictions")
    again = list(read_jsonl(tmp_path / "x.jsonl"))
    assert again == records
    assert [[s.regions for s in x.spans] for x in again] == [[s.regions for s in x.spans] for x in records]
    assert [Prediction.from_dict(json.loads(json.dumps(x.to_dict()))) for x in records] == records


def test_an_image_keeps_every_field() -> None:
    images = (Image(None), Image("a//b.jpg", "object", (0.5, 1.0, 2.0, 3.25)), Image("./c.jpg"))
    example = Example.from_tokens("1", ["hi"], images=images)
    assert example_from_json(json.loads(json.dumps(to_json(example)))) == example


def test_regions_say_nothing_about_which_spans_are_equal() -> None:
    plain, shown = Span(0, 1, "PER"), Span(0, 1, "PER", (Region(0, (1.0, 2.0, 3.0, 4.0)),))
    assert plain == shown and len({plain, shown}) == 1 and not plain < shown
    assert shown.to_dict() == {
        "start": 0,
        "end": 1,
        "label": "PER",
        "regions": [{"image": 0, "box": [1.0, 2.0, 3.0, 4.0]}],
    }


def test_a_region_is_in_a_picture_of_its_example() -> None:
    shown = Span(0, 1, "PER", (Region(1, (1.0, 2.0, 3.0, 4.0)),))
    with raises("data.region-image", match=r"images\[1\] of an example with 1"):
        Example.from_tokens("1", ["hi"], images=(Image("a.jpg"),), spans=(shown,))


def test_media_lie_under_the_root_as_pictures_do() -> None:
    record = {"id": "1", "text": "hi", "media": [{"path": "a.wav", "kind": "audio", "role": "speech"}]}
    assert example_from_json(record, root="data").media == (Media("data/a.wav", "audio", "speech"),)
    entity = {"id": "Q1", "name": "x", "media": [{"path": "/b.wav", "kind": "audio"}]}
    assert entity_from_json(entity, root="data").media == (Media("/b.wav", "audio"),)


def test_a_file_of_format_1_is_read(tmp_path: Path) -> None:
    """As mmkit wrote it before there were media and regions."""
    (tmp_path / "old.jsonl").write_text(
        '{"format": 1, "kind": "examples"}\n'
        '{"id": "17", "text": "a b", "tokens": ["a", "b"], "images": [{"path": "x.jpg", "role": "object", '
        '"box": [40, 8, 96, 120]}], "spans": [{"start": 0, "end": 1, "label": "PER"}]}\n'
    )
    image = Image("x.jpg", "object", (40.0, 8.0, 96.0, 120.0))
    old = Example.from_tokens("17", ["a", "b"], images=(image,), spans=(Span(0, 1, "PER"),))
    assert list(read_jsonl(tmp_path / "old.jsonl")) == [old]
    write_jsonl(tmp_path / "new.jsonl", [old], "examples")
    header, *lines = (tmp_path / "new.jsonl").read_text().splitlines()
    assert json.loads(header) == {"format": 2, "kind": "examples"}
    assert [json.loads(line) for line in lines] == [
        json.loads(line) for line in (tmp_path / "old.jsonl").read_text().splitlines()[1:]
    ]


def test_fields_at_their_default_are_left_out() -> None:
    assert to_json(Example.from_tokens("1", ["a", "b"])) == {"id": "1", "text": "a b", "tokens": ["a", "b"]}
    assert to_json(Entity("Q1", "Universe")) == {"id": "Q1", "name": "Universe"}
    assert to_json(Prediction("1")) == {"id": "1"}


@pytest.mark.parametrize(
    "notes", [{"a": (1, 2)}, {"a": {1: 2}}, {"a": math.nan}, {"a": object()}, {"a": {1, 2}}]
)
def test_notes_that_json_would_change_are_refused(notes: dict[str, Any]) -> None:
    with raises("json.notes"):
        to_json(Entity("1", "x", notes=notes))


@pytest.mark.parametrize("text", ["\ud83d", "a\udc00b", "\ud83d\ude42"])
def test_surrogates_are_refused_when_written_and_when_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.jsonl"
    with raises("json.surrogate", match=r"`tokens\[0\]`.*surrogate|`text`.*surrogate"):
        write_jsonl(path, [Example.from_tokens("1", [text])], "examples")
    assert not path.exists()
    path.write_text('{"format": 1, "kind": "examples"}\n{"text": "x", "notes": {"a": ["\\ud83d"]}}\n')
    with raises("json.surrogate", match=r"x\.jsonl:2: `notes\.a\[0\]`"):
        list(read_jsonl(path))


def test_a_pair_of_escaped_surrogates_is_one_character() -> None:
    assert json.loads('"\\ud83d\\ude42"') == "🙂"
    assert example_from_json(json.loads('{"id": "1", "tokens": ["\\ud83d\\ude42"]}')).tokens == ("🙂",)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    write_jsonl(path, [Entity("1", "old")], "entities")

    def broken() -> Any:
        yield Entity("2", "new")
        raise RuntimeError("reader failed")

    with pytest.raises(RuntimeError, match="reader failed"):
        write_jsonl(path, broken(), "entities")
    assert [e.id for e in read_jsonl(path)] == ["1"]
    assert [p.name for p in tmp_path.iterdir()] == ["x.jsonl"]


def test_a_record_of_another_kind_is_refused(tmp_path: Path) -> None:
    with raises("jsonl.wrong-record", match="examples cannot hold a Entity"):
        write_jsonl(tmp_path / "x.jsonl", [Entity("1", "x")], "examples")


def test_writing_into_a_file_as_folder_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with raises("file.unwritable"):
        write_jsonl(tmp_path / "file" / "x.jsonl", [], "examples")


def test_a_record_needs_no_more_than_text_and_picture_paths() -> None:
    example = example_from_json(
        {"text": "Jordan's back!", "images": ["a.jpg", "/b.jpg"]}, root="data", id="x:2"
    )
    assert example.id == "x:2"
    assert example.tokens == ("Jordan", "'s", "back", "!")
    assert [example.text[s:e] for s, e in example.offsets] == list(example.tokens)
    assert example.images == (Image("data/a.jpg"), Image("/b.jpg"))


def test_tokens_alone_are_joined_and_found_again_in_a_text() -> None:
    assert example_from_json({"id": "1", "tokens": ["a", "b"]}).text == "a b"
    example = example_from_json({"id": "1", "tokens": ["a", "b", "!"], "text": " a  b!"})
    assert example.offsets == ((1, 2), (4, 5), (5, 6))


SPAN = {"start": 0, "end": 1, "label": "PER"}


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"imagse": []}, "json.unknown-field", "`imagse`"),
        ({"text": 3}, "json.wrong-type", "`text`"),
        ({"tokens": "a b"}, "json.wrong-type", "`tokens`"),
        ({"tokens": ["a", 1]}, "json.wrong-type", "`tokens`"),
        ({"tokens": None, "text": None}, "data.no-text", "`text`"),
        ({"tokens": None, "spans": [SPAN]}, "data.no-tokens", "`spans`"),
        ({"tokens": ["a", "c"]}, "data.token-not-in-text", r"`tokens\[1\]`"),
        ({"offsets": [[0, 1], [2, 9]]}, "json.wrong-type", r"`offsets\[1\]`"),
        ({"offsets": [[0, 1]]}, "data.offset-count", "2 .* 1 "),
        ({"offsets": [[0, 1], [2, True]]}, "json.wrong-type", r"`offsets\[1\]\[1\]`"),
        ({"spans": {}}, "json.wrong-type", "`spans`"),
        ({"spans": [{**SPAN, "start": "0"}]}, "json.wrong-type", r"`spans\[0\]\.start`"),
        ({"spans": [{**SPAN, "start": -1}]}, "json.wrong-type", r"`spans\[0\]\.start`"),
        ({"spans": [{**SPAN, "end": 0}]}, "json.wrong-type", r"`spans\[0\]`"),
        ({"spans": [{"start": 0, "end": 1}]}, "json.missing-field", r"`spans\[0\]\.label`"),
        ({"spans": [{**SPAN, "lable": 1}]}, "json.unknown-field", r"`spans\[0\]\.lable`"),
        ({"spans": [{**SPAN, "end": 3}]}, "data.span-outside", "token 3 .* 2 "),
        ({"relations": [{"head": SPAN}]}, "json.missing-field", r"`relations\[0\]\.tail`"),
        ({"mention": "a"}, "json.wrong-type", "`mention`"),
        ({"images": [{"path": 1}]}, "json.wrong-type", r"`images\[0\]\.path`"),
        ({"images": [{"role": "crop"}]}, "json.wrong-type", r"`images\[0\]\.role`"),
        ({"images": [{"path": "a", "box": [1, 2, 3]}]}, "json.wrong-type", r"`images\[0\]\.box`"),
        ({"images": [{"path": "a", "box": [1, 2, 3, "4"]}]}, "json.wrong-type", r"`images\[0\]\.box\[3\]`"),
        (
            {"images": [{"path": "a", "box": [1, 2, 3, 10**999]}]},
            "json.wrong-type",
            r"`images\[0\]\.box\[3\]`",
        ),
        (
            {"spans": [{**SPAN, "regions": [{"image": 0}]}]},
            "json.missing-field",
            r"`spans\[0\]\.regions\[0\]\.box`",
        ),
        (
            {"spans": [{**SPAN, "regions": [{"image": -1}]}]},
            "json.wrong-type",
            r"`spans\[0\]\.regions\[0\]\.image`",
        ),
        ({"media": [{"path": "a.wav"}]}, "json.missing-field", r"`media\[0\]\.kind`"),
        ({"media": [{"path": "a.jpg", "kind": "image"}]}, "json.wrong-type", r"`media\[0\]\.kind`"),
        ({"notes": []}, "json.wrong-type", "`notes`"),
        ({"id": 7}, "json.wrong-type", "`id`"),
    ],
)
def test_a_wrong_example_says_where_and_which_field(change: dict[str, Any], code: str, says: str) -> None:
    record = {"id": "1", "text": "a b", "tokens": ["a", "b"]} | change
    with raises(code, match=says) as error:
        example_from_json(record, where="x.jsonl:5")
    assert str(error.value).startswith("x.jsonl:5: ")


@pytest.mark.parametrize("read", [example_from_json, entity_from_json, prediction_from_json])
@pytest.mark.parametrize("record", [None, [], "text", 3])
def test_a_record_must_be_an_object(read: Any, record: Any) -> None:
    with raises("json.wrong-type", match="x:1: `record` must be an object"):
        read(record, where="x:1")


def test_entities_and_predictions_name_their_fields_too() -> None:
    with raises("json.missing-field", match="`name`"):
        entity_from_json({"id": "Q1"}, where="x:1")
    with raises("json.wrong-type", match=r"`link_scores\[0\]` must be a number, not '1'"):
        prediction_from_json({"id": "1", "link_scores": ["1"]}, where="x:1")


def test_labels_of_heads_tails_and_mentions_may_be_left_out() -> None:
    text = "Ada visits London"
    spans = [
        {"start_char": 0, "end_char": 3, "label": "PER"},
        {"start_char": 11, "end_char": 17, "label": "LOC"},
    ]
    pair = {
        "head": {"start_char": 0, "end_char": 3},
        "tail": {"start_char": 11, "end_char": 17},
        "label": "in",
    }
    both = example_from_json({"text": text, "spans": spans, "relations": [pair]}, id="1")
    assert both.relations == (Relation(Span(0, 1, "PER"), Span(2, 3, "LOC"), "in"),)
    alone = example_from_json({"text": text, "relations": [pair]}, id="1")
    assert alone.relations == (Relation(Span(0, 1, "head"), Span(2, 3, "tail"), "in"),)
    mention = {"text": "London", "span": {"start_char": 11, "end_char": 17}}
    assert example_from_json({"text": text, "mention": mention}, id="1").mention == Mention(
        "London", Span(2, 3, "mention")
    )
    of_tokens = {"tokens": ["Ada", "left"], "mention": {"text": "Ada", "span": {"start": 0, "end": 1}}}
    assert example_from_json(of_tokens, id="1").mention == Mention("Ada", Span(0, 1, "mention"))


def test_a_head_that_is_no_entity_needs_a_label() -> None:
    record = {
        "tokens": ["Ada", "visits", "London"],
        "spans": [{"start": 0, "end": 1, "label": "PER"}],
        "relations": [{"head": {"start": 1, "end": 2}, "tail": {"start": 0, "end": 1}}],
    }
    with raises(
        "json.missing-field", match=r"relations\[0\].head` has no `label`, and is not one of `spans`"
    ):
        example_from_json(record, "posts.jsonl:4", id="1")
    record["spans"].append({"start": 1, "end": 2, "label": "X"})
    record["spans"].append({"start": 1, "end": 2, "label": "Y"})
    with raises("json.missing-field", match=r"has several labels in `spans`"):
        example_from_json(record, "posts.jsonl:4", id="1")


def test_a_span_by_tokens_may_say_its_words() -> None:
    record = {"tokens": ["Ada", "left"], "spans": [{"start": 0, "end": 1, "label": "PER", "text": "Ada"}]}
    assert example_from_json(record, id="1").spans == (Span(0, 1, "PER"),)
    record["spans"][0]["text"] = "left"
    with raises("offsets.words", match="Ada"):
        example_from_json(record, id="1")


def test_the_usual_names_of_fields_elsewhere_are_known() -> None:
    with raises("json.unknown-field", match="did you mean 'images'") as refused:
        example_from_json({"text": "Ada", "photo": "1.jpg"}, "posts.jsonl:4", id="1")
    assert "unknown field `photo`" in str(refused.value)


def test_all_unknown_fields_of_a_record_are_said_at_once() -> None:
    with raises("json.unknown-field") as refused:
        example_from_json({"sentence": "Ada", "image": "1.jpg", "x": 1}, "posts.jsonl:4", id="1")
    said = str(refused.value).splitlines()
    assert said[0] == "posts.jsonl:4: unknown fields `sentence`, `image`, `x`"
    assert said[1:3] == ["  → `sentence`: did you mean 'text'?", "  → `image`: did you mean 'images'?"]
    assert said[3].startswith("  → known: candidates, ")
