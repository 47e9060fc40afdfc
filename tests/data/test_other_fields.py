"""Files that say what they hold in another way than their reader expects: fields, empty names, doubles, null."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmkit.config.text import parse, parse_overrides
from mmkit.data.candidates import merge_candidates
from mmkit.data.jmere import JmereReader
from mmkit.data.jsonl import JsonlReader
from mmkit.data.kb_json import KbJsonReader
from mmkit.data.melbench import RichpediaReader, WikimelReader
from mmkit.data.mnre import MnreReader
from mmkit.data.mnre_joint import MnreJointReader
from mmkit.data.reader import Reader
from mmkit.data.types import Entity, Example
from mmkit.data.wikidiverse import WikidiverseReader
from mmkit.data.wikiperson import WikipersonReader
from raising import raises

OTHER = {"id": "0", "qid": "Q1", "entity_name": "Mara", "desc": "singer", "image_list": ["Q1.jpg"]}


def kb(folder: Path, value: Any, **settings: Any) -> KbJsonReader:
    (folder / "kb.json").write_text(json.dumps(value), encoding="utf-8")
    return KbJsonReader(str(folder), "kb.json", **settings)


def test_entities_of_other_fields_are_an_error_that_says_what_to_set(tmp_path: Path) -> None:
    with raises("knowledge.fields", match="has no `name` and no `description`; it has `id`, `qid`") as caught:
        list(kb(tmp_path, [OTHER]))
    fields = {"id": "qid", "name": "entity_name", "description": "desc"}
    assert caught.value.hint.endswith(f"fields = {json.dumps(fields)}") and "record 0" in caught.value.where
    reader = kb(tmp_path, [OTHER], fields=fields)
    assert list(reader) == [Entity("Q1", "Mara", description="singer")]
    assert reader.repairs["field 'image_list' of an entity, which is not read"] == 1
    with raises("knowledge.fields", match="no `title`"):
        list(kb(tmp_path, [OTHER], fields={"name": "title"}))
    with raises("part.setting", match="'nam'"):
        kb(tmp_path, [], fields={"nam": "x"})


def test_entities_by_id_may_be_records_too(tmp_path: Path) -> None:
    told = {"Q1": {"name": "Mara", "description": "singer"}, "Q2": {"name": "Kofi"}}
    assert [(x.id, x.name, x.description) for x in kb(tmp_path, told)] == [
        ("Q1", "Mara", "singer"),
        ("Q2", "Kofi", ""),
    ]
    with raises("knowledge.fields", match="it has `label`"):
        list(kb(tmp_path, {"Q1": {"label": "Mara"}}))
    assert [x.description for x in kb(tmp_path, [{"id": "Q1", "name": "Mara"}])] == [""]


# Names that stand for no photo

MNRE = {
    "token": ["Mara", "in", "Lisbon"],
    "h": {"name": "Mara", "pos": [0, 1]},
    "t": {"name": "Lisbon", "pos": [2, 3]},
}
JMERE = {"text": "Mara in Lisbon", "triple_list": [], "ent_pair_list": []}
MEL = {"sentence": "Mara sings", "mentions": ["Mara"], "answer": ["Q1"]}
LINK = ["Mara", "Person", 0, 4, "https://en.wikipedia.org/wiki/Mara"]


@pytest.mark.parametrize("name", ["", " ", "nan", "None"])
@pytest.mark.parametrize(
    ("reader", "content"),
    [
        (MnreReader, lambda name: repr({**MNRE, "img_id": name, "relation": "r"})),
        (JmereReader, lambda name: json.dumps([{**JMERE, "img_id": name}])),
        (WikimelReader, lambda name: json.dumps({"1": {**MEL, "imgPath": name}})),
        (WikidiverseReader, lambda name: json.dumps([["Mara sings", name.strip(), "music", [LINK]]])),
        (
            WikidiverseReader,
            lambda name: json.dumps(
                [{"sentence": "Mara", "mention": "Mara", "mention_image": name, "entity": "Q1"}]
            ),
        ),
        (
            WikipersonReader,
            lambda name: json.dumps([{"id": 1, "image": name, "boundingbox": [0, 0, 9, 9], "wikiid": "Q1"}]),
        ),
    ],
)
def test_a_name_that_says_nothing_is_no_photo(tmp_path: Path, reader: Any, content: Any, name: str) -> None:
    if reader is WikidiverseReader and name.strip() and "mention_image" not in content(name):
        pytest.skip("an address is hashed, whatever it is")
    (tmp_path / "file").write_text(content(name), encoding="utf-8")
    made: Reader = reader(str(tmp_path), "file")
    [example] = made
    assert example.images == () and made.repairs["record that names no photo"] == 1


def test_a_photo_may_be_called_none(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/none").write_bytes(b"x")
    (tmp_path / "file").write_text(repr({**MNRE, "img_id": "none", "relation": "r"}), encoding="utf-8")
    [example] = MnreReader(str(tmp_path), "file")
    assert [image.path for image in example.images] == [str(tmp_path / "images/none")]


@pytest.mark.parametrize("image", ["", {"path": " "}])
def test_an_empty_path_is_refused(tmp_path: Path, image: Any) -> None:
    lines = ['{"format": 2, "kind": "examples"}', json.dumps({"text": "Mara", "images": [image]})]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with raises("json.wrong-type", match="must be a path, or null for a blank image"):
        list(JsonlReader(str(tmp_path), "a.jsonl"))


# Keys that stand twice


def test_keys_that_stand_twice_are_refused_everywhere(tmp_path: Path) -> None:
    (tmp_path / "kb.json").write_text('{"Q1": "a",\n "Q2": "b",\n "Q1": "c"}', encoding="utf-8")
    with raises("json.unreadable", match="the field 'Q1' occurs twice") as caught:
        list(KbJsonReader(str(tmp_path), "kb.json"))
    assert caught.value.where == f"{tmp_path}/kb.json:3"
    with raises("data.candidate-lists", match="'Q1' occurs twice"):
        merge_candidates(tmp_path / "kb.json", {})
    (tmp_path / "mnre.txt").write_text(
        "{'token': ['a'], 'h': {'pos': [0, 1], 'pos': [1, 2]}}", encoding="utf-8"
    )
    with raises("json.duplicate-field", match="mnre.txt:1: the field 'pos' occurs twice"):
        list(MnreReader(str(tmp_path), "mnre.txt"))
    with raises("recipe.syntax", match="'PER' occurs twice"):
        parse('[data.train]\nrename = {"PER": "A", "PER": "B"}', tmp_path / "a.cfg")
    with raises("recipe.duplicate", match="'PER' occurs twice"):
        parse_overrides(["--data.train.rename", '{"PER": "A", "PER": "B"}'])
    assert parse_overrides(["--a.b", '{"PER": {"x": 1}, "x": 2}']) == {"a.b": {"PER": {"x": 1}, "x": 2}}


# MNRE as JSON


def test_mnre_may_be_json_lines_and_a_relation_null(tmp_path: Path) -> None:
    lines = [
        json.dumps({**MNRE, "img_id": "1.jpg", "relation": "/per/loc/place_of_residence", "extra": True}),
        json.dumps({**MNRE, "img_id": "1.jpg", "relation": None}),
        repr({**MNRE, "img_id": "1.jpg", "relation": None}),
    ]
    (tmp_path / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    reader = MnreReader(str(tmp_path), "a.txt", images=None)
    assert [x.relations[0].label for x in reader] == ["/per/loc/place_of_residence", None, None]
    assert reader.repairs["line read as JSON, where MNRE has a Python literal"] == 2
    assert reader.repairs["relation without a label"] == 2


def test_nothing_on_a_line_is_run(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("{'token': __import__('os').listdir('.')}", encoding="utf-8")
    with raises("mnre.syntax", match="it holds a name or a call, and nothing is run"):
        list(MnreReader(str(tmp_path), "a.txt"))


def test_the_label_of_no_relation_is_a_setting_of_the_joint_reader(tmp_path: Path) -> None:
    labels = ["none", "/per/loc/lives_in"]
    lines = [repr({**MNRE, "img_id": str(i), "relation": label}) for i, label in enumerate(labels)]
    (tmp_path / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    with raises("mnre.untyped-relation", match="none_label = 'None' for no relation"):
        list(MnreJointReader(str(tmp_path), "a.txt", images=None))
    [example] = MnreJointReader(str(tmp_path), "a.txt", images=None, none_label="none")
    assert isinstance(example, Example) and example.relations[0].label == "lives_in"


def test_empty_names_in_a_list_of_photos(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"1": {**MEL, "img_list": ["", "1.jpg"]}}), encoding="utf-8")
    reader = RichpediaReader(str(tmp_path), "a.json", parts=False)
    [example] = reader
    assert len(example.images) == 1 and reader.repairs["image that is not a .jpg left out"] == 1
