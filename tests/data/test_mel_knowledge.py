from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from mmkit.data.convert import convert
from mmkit.data.jsonl import read_jsonl, write_jsonl
from mmkit.data.kb_json import KbJsonReader
from mmkit.data.kb_jsonl import KbJsonlReader
from mmkit.data.types import Entity, Image
from raising import raises

TEXTS = {
    "Q1": "Fred Conway [SEP]. American politician",
    "Q2": "Sex: male. Occupation: singer.",
    "Q3": "Jordan [SEP]. None",
    "Mill_Town": None,
}


def kb(tmp_path: Path, value: Any = None, **files: Any) -> KbJsonReader:
    """A reader of `value` and, under each argument's name, a further file; a string is taken as it is."""
    (tmp_path / "kb.json").write_text(json.dumps(TEXTS if value is None else value), encoding="utf-8")
    options = {}
    for name, content in files.items():
        if isinstance(content, str):
            options[name] = content
            continue
        options[name] = f"{name}.json"
        (tmp_path / options[name]).write_text(json.dumps(content), encoding="utf-8")
    return KbJsonReader(str(tmp_path), "kb.json", **options)


def test_texts_with_and_without_a_name(tmp_path: Path) -> None:
    reader = kb(tmp_path)
    assert [(e.id, e.name, e.description) for e in reader] == [
        ("Q1", "Fred Conway", "American politician"),
        ("Q2", "Q2", "Sex: male. Occupation: singer."),
        ("Q3", "Jordan", ""),
        ("Mill_Town", "Mill Town", ""),
    ]
    assert reader.repairs == {"entity without a name, so named by its id": 2, "entity without a text": 2}
    assert reader.files() == [tmp_path / "kb.json"]


@pytest.mark.parametrize(
    "names",
    [
        {"Q2": "Amy", "Q3": "Michael Jordan", "Q7": "Nobody"},
        {"Amy": "Q2", "Michael Jordan": "Q3", "Nobody": "Q7"},
        {
            "1": {
                "sentence": "",
                "mentions": ["a", "b"],
                "entities": ["Amy", "Michael Jordan"],
                "answer": ["Q2", "Q3"],
            },
            "2": {"sentence": "", "mentions": "c", "entities": "Nobody", "answer": "Q7"},
        },
    ],
)
def test_names_come_from_any_of_three_files(tmp_path: Path, names: Any) -> None:
    reader = kb(tmp_path, names=names)
    told = {e.id: e.name for e in reader}
    assert told == {"Q1": "Fred Conway", "Q2": "Amy", "Q3": "Michael Jordan", "Mill_Town": "Mill Town"}
    assert reader.repairs["name of no entity in the file, left out"] == 1
    assert reader.files() == [tmp_path / "kb.json", tmp_path / "names.json"]


def test_further_names_and_listed_ones_are_aliases(tmp_path: Path) -> None:
    reader = kb(
        tmp_path, names={"Amy": "Q2", "A. W.": "Q2"}, aliases={"Q2": ["Amy", "Aimée", "A. W."], "Q9": []}
    )
    entities = {e.id: e for e in reader}
    assert (entities["Q2"].name, entities["Q2"].aliases) == ("Amy", ("A. W.", "Aimée"))
    assert entities["Q1"].aliases == ()
    assert reader.repairs["alias list of no entity in the file, left out"] == 1


def test_a_list_of_entities_and_their_photos(tmp_path: Path) -> None:
    listed = [{"id": "Q1", "name": "Ann", "description": "singer", "born": 1960}, {"id": "Q2"}]
    first, second = kb(tmp_path, listed, images="IKB")
    assert first == Entity("Q1", "Ann", (), "singer", (Image(str(tmp_path / "IKB/Q1.jpg")),))
    assert (second.name, second.description) == ("Q2", "")
    blank, _ = KbJsonReader(str(tmp_path), "kb.json", images="IKB", blank_images=True)
    assert blank.images == (Image(None),)


@pytest.mark.parametrize(
    ("value", "files", "where", "code", "says"),
    [
        (3, {}, "kb.json", "json.wrong-type", "`file`"),
        ({"Q1": 3}, {}, "kb.json, record 'Q1'", "json.wrong-type", "`Q1`"),
        ([{"name": "x"}], {}, "kb.json, record 0", "json.missing-field", "`id`"),
        ([3], {}, "kb.json, record 0", "json.wrong-type", ""),
        ({}, {"names": []}, "names.json", "json.wrong-type", "`file`"),
        ({}, {"names": {"Q1": "a", "Q2": 3}}, "names.json", "json.wrong-type", "`Q2`"),
        (
            {},
            {"names": {"1": {"mentions": []}, "2": {}}},
            "names.json, record '2'",
            "json.missing-field",
            "`mentions`",
        ),
        ({}, {"aliases": {"Q1": "a"}}, "aliases.json", "json.wrong-type", "`Q1`"),
    ],
)
def test_a_wrong_file_is_named(
    tmp_path: Path, value: Any, files: dict[str, Any], where: str, code: str, says: str
) -> None:
    with raises(code, match=says) as error:
        list(kb(tmp_path, value, **files))
    assert error.value.where == str(tmp_path / where)


@pytest.mark.parametrize(
    ("content", "where", "code", "says"),
    [
        ('{\n"Q1": "a",\n"Q2" "b"}', "kb.json:3", "json.syntax", " 6$"),
        ('{"Q1": "a", "Q1": "b"}', "kb.json:1", "json.unreadable", "'Q1'"),
        ('{"Q1": NaN}', "kb.json", "json.unreadable", ""),
        ('{"Q1": "\\ud800"}', "kb.json", "json.surrogate", "`Q1`"),
        ("[" * 100_000, "kb.json", "json.unreadable", ""),
        (b'{\n"Q1": "\xe9"}', "kb.json:2", "file.not-utf8", "0xe9 .* 8 .* 10 "),
        ("", "kb.json:1", "json.syntax", ""),
    ],
)
def test_what_is_no_json_is_told_with_its_place(
    tmp_path: Path, content: Any, where: str, code: str, says: str
) -> None:
    (tmp_path / "kb.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with raises(code, match=says) as error:
        list(KbJsonReader(str(tmp_path), "kb.json"))
    assert error.value.where == str(tmp_path / where)


def test_a_byte_order_mark_is_dropped_and_counted(tmp_path: Path) -> None:
    (tmp_path / "kb.json").write_bytes(b'\xef\xbb\xbf{"Q1": "Ann [SEP]. singer"}\r\n')
    reader = KbJsonReader(str(tmp_path), "kb.json")
    assert [e.name for e in reader] == ["Ann"]
    assert reader.repairs == {"byte order mark dropped": 1}


ENTITIES = [
    Entity(
        "Q1",
        "Michael Jordan",
        ("MJ", "Jordan"),
        "basketball player",
        (Image("a.jpg"), Image("b.jpg", "object")),
    ),
    Entity("Q810", "Jordan", notes={"x.y": [1]}),
]


def test_jsonlines_of_entities_are_read_with_and_without_a_header(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", ENTITIES, "entities")
    lines = (tmp_path / "a.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "b.jsonl").write_text("".join(lines[1:]) + "\n")
    for file, repairs in (("a.jsonl", {}), ("b.jsonl", {"empty line skipped": 1})):
        reader = KbJsonlReader("", str(tmp_path / file))
        assert list(reader) == ENTITIES
        assert reader.repairs == repairs
    first, _ = KbJsonlReader(str(tmp_path), "a.jsonl")
    assert first.images[0].path == str(tmp_path / "a.jpg")
    blank, _ = KbJsonlReader(str(tmp_path), "a.jsonl", blank_images=True)
    assert blank.images == (Image(None), Image(None, "object"))


@pytest.mark.parametrize(
    ("lines", "line", "code", "says"),
    [
        (['{"format": 1, "kind": "examples"}'], 1, "file.wrong-kind", "examples"),
        (['{"format": 9, "kind": "entities"}'], 1, "jsonl.newer-format", "9"),
        (
            ['{"id": "Q1", "name": "a"}', '{"format": 1, "kind": "entities"}'],
            2,
            "json.unknown-field",
            "`format`",
        ),
        (['{"id": "Q1", "name": "a"}', '{"name": "a"}'], 2, "json.missing-field", "`id`"),
        (['{"id": "Q1"}'], 1, "json.missing-field", "`name`"),
        (['{"id": "Q1", "name": "a", "label": 3}'], 1, "json.unknown-field", "`label`"),
        (["[1]"], 1, "json.wrong-type", ""),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, lines: list[str], line: int, code: str, says: str) -> None:
    (tmp_path / "kb.jsonl").write_text("\n".join(lines))
    with raises(code, match=says) as error:
        list(KbJsonlReader(str(tmp_path), "kb.jsonl"))
    assert error.value.where == f"{tmp_path / 'kb.jsonl'}:{line}"


def test_nothing_is_lost_in_jsonlines(tmp_path: Path) -> None:
    reader = kb(tmp_path, names={"Amy": "Q2", "A. W.": "Q2"}, images="IKB")
    convert(reader, tmp_path / "kb.jsonl")
    assert list(KbJsonlReader(str(tmp_path), "kb.jsonl")) == list(reader)
    assert list(read_jsonl(tmp_path / "kb.jsonl", "entities", str(tmp_path))) == list(reader)


def test_memory_does_not_grow_with_the_knowledge_base(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        path = tmp_path / f"{count}.jsonl"
        path.write_text("".join(f'{{"id": "Q{i}", "name": "name {i}"}}\n' for i in range(count)))
        tracemalloc.start()
        assert sum(1 for _ in KbJsonlReader(str(tmp_path), path.name)) == count
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)  # what is allocated once
    assert peak(20_000) < peak(200) + 50_000
