"""The published files: percent-encoded names, the table of Wikidata ids, photos, and what is wrong with a record."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmkit.data.types import Entity, Example, Image, Mention, Span
from mmkit.testing import check_reader
from mmkit_mimic.entities import EntityReader
from mmkit_mimic.mentions import MentionReader
from raising import raises

QIDS = {"Q41421": 0, "Q90": 1, "Q12345": 0}

MENTION = {
    "mentions": "Air%20Jordan",
    "sentence": "So Air Jordan flew.",
    "imgPath": "a/1.b.png",
    "answer": "Q41421",
}
ENTITY = {
    "id": 0,
    "type": "entity",
    "entity_name": "Michael%20Jordan",
    "attr": " a player ",
    "image_list": ["Q41421_0.jpg", "Q41421_1.jpg"],
    "qid": "Q41421",
}


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, records: Any, qids: dict[str, int] = QIDS) -> Path:
        (tmp_path / "qid2id.json").write_text(json.dumps(qids, indent=1), encoding="utf-8")  # several lines
        (tmp_path / name).write_text(json.dumps(records), encoding="utf-8")
        return tmp_path

    return write


def read(root: Path, **settings: Any) -> tuple[list[Example], MentionReader]:
    reader = MentionReader(str(root), "m.json", **settings)
    return list(reader), reader


def entities(root: Path, **settings: Any) -> tuple[list[Entity], EntityReader]:
    reader = EntityReader(str(root), **settings)
    return list(reader), reader


def test_a_mention(written: Callable[..., Path]) -> None:
    root = written("m.json", [MENTION])
    (example,), reader = read(root)
    assert (example.id, example.text, example.entity) == ("m:0", "So Air Jordan flew.", "Q41421")
    assert example.mention == Mention("Air Jordan", Span(1, 3, "mention"))
    assert example.images == (Image(str(root / "mention_image" / "1.b.png")),)
    assert not reader.repairs and reader.place is not None and "record 0" in reader.place.where


def test_a_photo_under_its_own_name_comes_before_the_authors_rule(written: Callable[..., Path]) -> None:
    root = written("m.json", [MENTION])
    (root / "mention_image").mkdir()
    (root / "mention_image" / "1.jpg").touch()
    (example,), reader = read(root)
    assert example.images == (Image(str(root / "mention_image" / "1.jpg")),)
    assert reader.repairs == {"photo found by its name up to the first dot": 1}
    (root / "mention_image" / "1.b.png").touch()
    (example,), reader = read(root)
    assert example.images == (Image(str(root / "mention_image" / "1.b.png")),) and not reader.repairs


def test_ids_of_one_entity_are_one_and_unknown_ones_are_counted(written: Callable[..., Path]) -> None:
    answers = ("Q12345", "nil", "Q7", "Q90")
    found, reader = read(written("m.json", [{**MENTION, "answer": answer} for answer in answers]))
    assert [(example.id, example.entity) for example in found] == [
        ("m:0", "Q41421"),
        ("m:2", "Q7"),
        ("m:3", "Q90"),
    ]
    assert reader.repairs == {
        'mention with the answer "nil", skipped': 1,
        "mention whose answer is not in qid2id.json": 1,
    }


@pytest.mark.parametrize(
    ("change", "images", "mention"),
    [
        ({"imgPath": ""}, 0, Span(1, 3, "mention")),
        ({"imgPath": None}, 0, Span(1, 3, "mention")),
        ({"mentions": "ir Jordan"}, 1, None),
        ({"mentions": "Pippen"}, 1, None),
        ({"sentence": "The Air Jordans are no Air Jordan."}, 1, Span(5, 7, "mention")),
    ],
)
def test_what_a_mention_may_lack(
    written: Callable[..., Path], change: dict[str, Any], images: int, mention: Span | None
) -> None:
    (example,), reader = read(written("m.json", [{**MENTION, **change}]))
    assert len(example.images) == images and example.mention is not None and example.mention.span == mention
    assert reader.repairs == ({} if images else {"mention without a photo": 1})


def test_percent_codes_that_are_no_text_are_refused(written: Callable[..., Path]) -> None:
    root = written("m.json", [{**MENTION, "mentions": "Caf%E9"}])
    with raises("json.wrong-type", match=r"record 0: `mentions` must be .*percent-encoded UTF-8.*Caf%E9"):
        read(root)


@pytest.mark.parametrize(("first", "count"), [(1.0, 25), (0.1, 3), (0.2, 5)])
def test_the_first_share_of_a_file(written: Callable[..., Path], first: float, count: int) -> None:
    found, _ = read(written("m.json", [MENTION] * 25), first=first)
    assert [example.id for example in found] == [f"m:{i}" for i in range(count)]


def test_an_entity_with_its_photos(written: Callable[..., Path]) -> None:
    paris = {"id": 1, "type": "entity", "entity_name": "Paris", "attr": "", "image_list": []}
    root = written("kb_entity.json", [paris, ENTITY])
    (second, first), reader = entities(root)
    photos = tuple(Image(str(root / "kb_image" / name)) for name in ENTITY["image_list"])
    assert first == Entity("Q41421", "Michael Jordan", description="a player", images=photos)
    assert second == Entity("Q90", "Paris") and reader.repairs == {"entity without a photo": 1}
    assert not entities(root, images=None)[1].repairs


def test_further_files_are_joined(written: Callable[..., Path]) -> None:
    root = written("kb_entity.json", [ENTITY])
    (root / "b.json").write_text(json.dumps([{**ENTITY, "id": 1}]), encoding="utf-8")
    found, reader = entities(root, more=["b.json"])
    assert [entity.id for entity in found] == ["Q41421", "Q90"]
    assert [path.name for path in reader.files()] == ["kb_entity.json", "b.json", "qid2id.json"]


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"type": "relation"}, "json.wrong-type", 'record 1.*"entity"'),
        ({"id": 2}, "mimic.no-wikidata-id", "record 1.*its id, 2"),
        ({"id": "0"}, "json.wrong-type", "record 1.*whole number"),
    ],
)
def test_a_record_of_the_knowledge_base_that_cannot_be_read_is_named(
    written: Callable[..., Path], change: dict[str, Any], code: str, message: str
) -> None:
    root = written("kb_entity.json", [ENTITY, {**ENTITY, **change}])
    with raises(code, match=message):
        entities(root)


@pytest.mark.parametrize("first", [0.0, -0.1, 1.5])
def test_a_share_that_is_none_is_refused(first: float) -> None:
    with raises("part.setting", match="first"):
        MentionReader("x", "m.json", first=first)


def test_mentions_keep_the_contract(tmp_path: Path) -> None:
    broken = [
        "[",
        '{"a": 1}',
        "[3]",
        json.dumps([{**MENTION, "sentence": 3}]),
        json.dumps([{"answer": "Q1"}]),
    ]
    check_reader("mimic.mentions.v1", folder=tmp_path, broken=broken, lazy=False)


def test_entities_keep_the_contract(tmp_path: Path) -> None:
    broken = ["[", '{"a": 1}', "[3]", json.dumps([{**ENTITY, "image_list": "x.jpg"}])]
    check_reader("mimic.entities.v1", folder=tmp_path, broken=broken, lazy=False)


def test_init_recognizes_both_files(written: Callable[..., Path]) -> None:
    root = written("m.json", [MENTION])
    written("kb_entity.json", [ENTITY])
    heads = {name: (root / name).read_bytes() for name in ("m.json", "kb_entity.json", "qid2id.json")}
    for reader, own in ((MentionReader, "m.json"), (EntityReader, "kb_entity.json")):
        assert [name for name, head in heads.items() if reader.recognize(root / name, head)] == [own]
    (root / "qid2id.json").unlink()
    assert MentionReader.recognize(root / "m.json", heads["m.json"]) is None
