from __future__ import annotations

import json
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmkit.data.mnre import MAX_LINE, MnreReader
from mmkit.data.types import Image, Relation, Span
from mmkit.errors import DataError
from raising import raises

RECORD: dict[str, Any] = {
    "token": ["Bill", "Cosby", "'s", "star", "in", "Hollywood"],
    "h": {"name": "Bill Cosby", "pos": [0, 2]},
    "t": {"name": "Hollywood", "pos": [5, 6]},
    "img_id": "p.jpg",
    "relation": "/per/misc/present_in",
}


def reader_of(tmp_path: Path, *lines: Any, **options: Any) -> MnreReader:
    text = "".join((line if isinstance(line, str) else repr(line)) + "\n" for line in lines)
    (tmp_path / "x.txt").write_text(text, encoding="utf-8")
    return MnreReader(str(tmp_path), "x.txt", **options)


def test_a_line_becomes_an_example_with_one_relation(tmp_path: Path) -> None:
    reader = reader_of(tmp_path, RECORD, "", RECORD | {"relation": "None"})
    first, second = reader
    assert first.tokens == tuple(RECORD["token"])
    assert first.relations == (Relation(Span(0, 2, "head"), Span(5, 6, "tail"), "/per/misc/present_in"),)
    assert first.images == (Image(str(tmp_path / "images" / "p.jpg")),)
    assert (first.id, second.id) == ("x:1", "x:3")
    assert second.relations[0].label == "None"
    assert reader.repairs == {"empty line skipped": 1}


def test_the_position_counts_where_the_name_differs(tmp_path: Path) -> None:
    reader = reader_of(tmp_path, RECORD | {"h": {"name": "Bill  cosby", "pos": [0, 2]}})
    [example] = reader
    assert example.relations[0].head == Span(0, 2, "head")
    assert reader.repairs == {"name other than the tokens at its position (the position is used)": 1}


def test_odd_characters_and_escapes_are_kept(tmp_path: Path) -> None:
    line = r"""{'token': ['\d', '\u2028', 'é'], 'h': {'name': 'é', 'pos': [2, 3]}, """
    line += r"""'t': {'name': '\d', 'pos': (0, 1)}, 'img_id': 'p', 'relation': 'None'}"""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        [example] = reader_of(tmp_path, line)
    assert example.tokens == ("\\d", "\u2028", "é")


@pytest.mark.parametrize(
    "make",
    [lambda t: torch.save({1: t}, "t.pth"), lambda t: Path("t.pth.json").write_text(json.dumps({"1": t}))],
)
def test_crops_are_listed_by_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    monkeypatch.chdir(tmp_path)
    make(["a.jpg"])
    [table] = tmp_path.glob("t.pth*")
    reader = reader_of(
        tmp_path, RECORD, RECORD, crops=table.name, images="img_org/train", crop_images="img_vg"
    )
    first, second = reader
    photo = Image(str(tmp_path / "img_org/train/p.jpg"))
    assert first.images == (photo,)
    assert second.images == (photo, Image(str(tmp_path / "img_vg/a.jpg"), "object"))
    assert reader.files() == [tmp_path / "x.txt", table]
    blank = [x.images for x in reader_of(tmp_path, RECORD, RECORD, crops=table.name, blank_images=True)]
    assert blank == [(Image(None),), (Image(None), Image(None, "object"))]
    assert [x.images for x in reader_of(tmp_path, RECORD, images=None)] == [()]


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("{'token': [", "mnre.syntax", r"'\['"),
        ("__import__('os').getcwd()", "mnre.syntax", ""),
        ("[1]", "mnre.not-a-dictionary", ""),
        ("{[]: 1}", "mnre.syntax", ""),
        ("-" * 60_000 + "1", "mnre.syntax", ""),
        ("(" * 60_000, "mnre.syntax", ""),
        ("1" * 60_000, "mnre.syntax", ""),
        ("{'a':" * 10_000, "mnre.syntax", ""),
        ("'" + "a" * MAX_LINE + "'", "mnre.line-too-long", f"{MAX_LINE + 2} .* {MAX_LINE} "),
        ({"token": ["a"]}, "json.missing-field", "'h'"),
        (RECORD | {"token": "Bill Cosby"}, "json.wrong-type", "'token'"),
        (RECORD | {"token": []}, "data.empty-sentence", ""),
        (RECORD | {"h": "Bill"}, "json.wrong-type", "'h'"),
        (RECORD | {"h": {"pos": [0, 1, 2]}}, "json.wrong-type", "'h'"),
        (RECORD | {"t": {"name": "x", "pos": [5, 7]}}, "data.span-outside", r"'t'.*\[5, 7\).* 6"),
        (RECORD | {"t": {"name": "x", "pos": [2, 2]}}, "data.span-outside", r"'t'.*\[2, 2\)"),
        (RECORD | {"t": {"name": "x", "pos": [-1, 2]}}, "data.span-outside", r"'t'.*\[-1, 2\)"),
        (RECORD | {"relation": 3}, "json.wrong-type", "'relation'"),
        (RECORD | {"img_id": 3}, "json.wrong-type", "'img_id'"),
    ],
)
def test_a_wrong_line_says_file_line_and_reason(tmp_path: Path, line: Any, code: str, says: str) -> None:
    with raises(code, match=says) as error:
        list(reader_of(tmp_path, RECORD, line))
    assert str(error.value).startswith(f"{tmp_path / 'x.txt'}:2: ")


def test_a_missing_file_says_where_the_dataset_comes_from(tmp_path: Path) -> None:
    with raises("file.missing", match=r"https://github\.com/thecharm/MNRE"):
        list(MnreReader(str(tmp_path), "train.txt"))


VALUES = st.recursive(
    st.none() | st.integers(-3, 9) | st.text(max_size=3) | st.sampled_from(["token", "h", "pos"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=2), inner)
    ),
    max_leaves=6,
)
NEARLY = st.fixed_dictionaries({}, optional=dict.fromkeys(RECORD, VALUES)).map(
    lambda d: repr(RECORD | d).encode()
)


@given(st.one_of(st.binary(max_size=60), st.text(max_size=40).map(str.encode), NEARLY))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
def test_any_bytes_are_read_or_refused_with_file_and_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.txt").write_bytes(content)
    try:
        list(MnreReader(str(tmp_path), "x.txt"))
    except DataError as error:
        name, line = error.where.rsplit(":", 1)
        assert name == str(tmp_path / "x.txt")
        assert 1 <= int(line) <= content.count(b"\n") + 1


@pytest.mark.real_data
def test_mnre_has_its_published_counts(shared: Path) -> None:
    sizes, relations, at_end, overlapping = [], Counter(), 0, 0
    for split in ("train", "val", "test"):
        reader = MnreReader(str(shared / "data" / "mnre"), f"{split}.txt")
        examples = list(reader)
        assert not reader.repairs
        sizes.append(len(examples))
        for example in examples:
            [relation] = example.relations
            head, tail = relation.head, relation.tail
            relations[relation.label] += 1
            at_end += len(example.tokens) in (head.end, tail.end)
            overlapping += max(head.start, tail.start) < min(head.end, tail.end)
    assert sizes == [12_247, 1_624, 1_614]
    assert (len(relations), relations["None"], at_end, overlapping) == (23, 9_718, 134, 67)
