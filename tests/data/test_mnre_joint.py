from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmkit.data.mnre_joint import MnreJointReader
from mmkit.data.strings import Strings, strings
from mmkit.data.types import Image, Relation, Span
from mmkit.errors import DataError
from raising import raises

TOKENS = ["Bill", "Cosby", "'s", "star", "in", "Hollywood"]
BILL, STAR, HOLLYWOOD = [0, 2], [3, 4], [5, 6]
NONE_PAIR, NONE_SENTENCE = "pair without a relation (None) left out", "sentence without a relation left out"


def line(head: list[int], relation: str, tail: list[int], photo: str = "p.jpg") -> dict[str, Any]:
    ends = {
        key: {"name": " ".join(TOKENS[slice(*pos)]), "pos": pos} for key, pos in (("h", head), ("t", tail))
    }
    return {"token": TOKENS, **ends, "img_id": photo, "relation": relation}


def reader_of(folder: Path, *lines: Any, **options: Any) -> MnreJointReader:
    (folder / "x.txt").write_text("".join(f"{x!r}\n" for x in lines), encoding="utf-8")
    return MnreJointReader(str(folder), "x.txt", **options)


LINES = (
    line(BILL, "None", HOLLYWOOD),
    line(STAR, "/misc/loc/held_on", HOLLYWOOD, "q.jpg"),
    line(BILL, "/per/misc/present_in", STAR),
    line(STAR, "None", HOLLYWOOD, "r.jpg"),
    line(STAR, "/misc/loc/held_on", HOLLYWOOD),
)


def test_instances_of_a_sentence_and_its_photo_are_one_example(tmp_path: Path) -> None:
    reader = reader_of(tmp_path, *LINES)
    first, second = reader
    bill, star, hollywood = Span(0, 2, "per"), Span(3, 4, "misc"), Span(5, 6, "loc")
    assert (first.id, second.id) == ("x:1", "x:2")
    assert first.spans == (bill, star, hollywood)
    assert first.relations == (Relation(bill, star, "present_in"), Relation(star, hollywood, "held_on"))
    assert second.spans == (star, hollywood)
    assert [x.images for x in reader] == [(Image(str(tmp_path / "images" / n)),) for n in ("p.jpg", "q.jpg")]
    assert reader.repairs == {NONE_PAIR: 2, NONE_SENTENCE: 1}


@pytest.mark.parametrize("options", [{"images": None}, {"blank_images": True}])
def test_photos_tell_sentences_apart_even_where_they_are_not_read(tmp_path: Path, options: Any) -> None:
    assert [len(x.relations) for x in reader_of(tmp_path, *LINES, **options)] == [2, 1]


def test_crops_are_those_of_the_first_instance(tmp_path: Path) -> None:
    (tmp_path / "crops.json").write_text(json.dumps({"0": ["a.jpg"], "1": ["b.jpg"], "2": ["c.jpg"]}))
    first, second = reader_of(tmp_path, *LINES, crops="crops.json", crop_images="")
    assert [Path(i.path or "").name for x in (first, second) for i in x.images] == [
        "p.jpg",
        "a.jpg",
        "q.jpg",
        "b.jpg",
    ]


def test_a_span_of_two_types_is_an_entity_of_each(tmp_path: Path) -> None:
    reader = reader_of(
        tmp_path, line(BILL, "/per/misc/present_in", STAR), line(STAR, "/org/loc/locate_at", HOLLYWOOD)
    )
    [example] = reader
    assert [s.label for s in example.spans] == ["per", "misc", "org", "loc"]
    assert reader.repairs == {"span given several types (all are kept)": 1}


@pytest.mark.parametrize(
    "name", ["", "present_in", "/per/present_in", "per/misc/present_in", "/per//x", "/a/b/c/d"]
)
def test_a_relation_that_names_no_types_says_where(tmp_path: Path, name: str) -> None:
    with raises("mnre.untyped-relation") as error:
        list(reader_of(tmp_path, LINES[0], line(BILL, name, STAR)))
    assert error.value.where == f"{tmp_path / 'x.txt'}:2"
    assert "/per/loc/place_of_birth" in error.value.hint


VALUES = st.recursive(
    st.none()
    | st.integers(-3, 9)
    | st.text(max_size=3)
    | st.sampled_from(["/a/b/c", "None", "token", "pos"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=6,
)
NEARLY = st.fixed_dictionaries({}, optional=dict.fromkeys(LINES[0], VALUES)).map(
    lambda changes: repr(LINES[2] | changes)
)


@given(
    st.one_of(
        st.binary(max_size=60), st.lists(NEARLY, max_size=3).map(lambda lines: "\n".join(lines).encode())
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
def test_any_bytes_are_read_or_refused_with_file_and_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.txt").write_bytes(content)
    try:
        examples = list(MnreJointReader(str(tmp_path), "x.txt"))
    except DataError as error:
        name, line = error.where.rsplit(":", 1)
        assert name == str(tmp_path / "x.txt")
        assert 1 <= int(line) <= content.count(b"\n") + 1
    else:
        assert all(x.relations and x.spans for x in examples)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("split", "sentences", "relations", "pairs", "empty"),
    [("train", 3468, 4503, 7744, 3888), ("val", 473, 624, 1000, 458), ("test", 460, 640, 974, 454)],
)
def test_mnre_has_its_published_counts(
    shared: Path, split: str, sentences: int, relations: int, pairs: int, empty: int
) -> None:
    reader = MnreJointReader(str(shared / "data" / "mnre"), f"{split}.txt")
    examples = list(reader)
    assert len(examples) == len({x.id for x in examples}) == sentences
    assert sum(len(x.relations) for x in examples) == relations
    assert reader.repairs == {NONE_PAIR: pairs, NONE_SENTENCE: empty}
    assert {s.label for x in examples for s in x.spans} == {"per", "loc", "org", "misc"}
    if split == "train":
        assert len({r.label for x in examples for r in x.relations}) == 21


@pytest.mark.real_data
def test_the_published_test_set_of_jmere_is_mnre_joined(shared: Path) -> None:
    """Its gold data, by words; it has 15 sentences as two records each, which are joined here too."""
    published: dict[str, list[Any]] = {}
    tesga = pytest.importorskip("mmkit_tesga.published")
    for example, _ in tesga.read_published(shared / "data" / "jmere" / "published_test_predictions.json"):
        published.setdefault(example.text, []).extend(strings(example, example).relations)
    ours = {
        x.text: sorted(Strings.of(x, x.spans, x.relations).relations, key=repr)
        for x in MnreJointReader(str(shared / "data" / "mnre"), "test.txt")
    }
    theirs = {text: sorted(relations, key=repr) for text, relations in published.items()}
    assert len(ours) == 460
    assert ours == theirs
