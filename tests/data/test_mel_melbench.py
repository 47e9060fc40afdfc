from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmkit.data.convert import convert
from mmkit.data.jsonl import read_jsonl
from mmkit.data.kb_melbench import KbMelbenchReader
from mmkit.data.mel import split_of
from mmkit.data.melbench import RichpediaReader, WikimelReader
from mmkit.data.types import Image, Span
from raising import raises

RECORD: dict[str, Any] = {
    "id": "7",
    "sentence": "Reed with Noel Hart in The Man from A.B.C.D.",
    "mentions": ["Noel Hart", "Reed"],
    "entities": ["Noel Hart", "Stella Reed"],
    "answer": ["Q1", "Q2"],
}
ONE: dict[str, Any] = RECORD | {"mentions": "Reed", "entities": "Stella Reed", "answer": "Q2"}


def written(tmp_path: Path, value: Any, name: str = "x.json") -> str:
    (tmp_path / name).write_text(json.dumps(value), encoding="utf-8")
    return str(tmp_path)


def test_every_mention_of_a_record_becomes_an_example(tmp_path: Path) -> None:
    first, second = WikimelReader(written(tmp_path, {"7": RECORD}), "x.json")
    assert (first.id, second.id) == ("7:0", "7:1")
    assert (first.entity, second.entity) == ("Q1", "Q2")
    assert first.mention is not None and first.mention.text == "Noel Hart"
    assert first.mention.span == Span(2, 4, "mention")
    assert second.mention is not None and second.mention.span == Span(0, 1, "mention")
    assert first.text == second.text == RECORD["sentence"]
    assert first.images == (Image(str(tmp_path / "images" / "7.jpg")),)


def test_a_single_mention_is_a_string_or_a_list_of_one(tmp_path: Path) -> None:
    listed = ONE | {key: [ONE[key]] for key in ("mentions", "entities", "answer")}
    root = written(tmp_path, {"7": ONE, "8": listed})
    one, other = WikimelReader(root, "x.json")
    assert (one.id, other.id) == ("7", "8")
    assert (one.mention, one.entity) == (other.mention, other.entity)


def test_the_record_may_name_its_photo(tmp_path: Path) -> None:
    root = written(tmp_path, {"7": ONE | {"imgPath": "wiki/a.jpg"}})
    [x] = WikimelReader(root, "x.json", images="ImgData")
    assert x.images == (Image(str(tmp_path / "ImgData/wiki/a.jpg")),)
    assert [x.images for x in WikimelReader(root, "x.json", images=None)] == [()]
    assert [x.images for x in WikimelReader(root, "x.json", blank_images=True)] == [(Image(None),)]


def test_mentions_without_an_answer_are_skipped_and_counted(tmp_path: Path) -> None:
    record = RECORD | {"mentions": ["Noel", "", "Reed"], "answer": [None, "Q2", "Q3"], "entities": None}
    without = {key: value for key, value in ONE.items() if key != "answer"}
    reader = WikimelReader(written(tmp_path, {"7": record, "8": without}), "x.json")
    [x] = reader
    assert (x.id, x.entity) == ("7:2", "Q3")
    assert reader.repairs == {"mention without answer, skipped": 2, "mention without text, skipped": 1}


def test_a_mention_without_a_place_among_the_tokens_has_no_span(tmp_path: Path) -> None:
    record = RECORD | {"mentions": ["Ann Lee", "Har"]}
    reader = WikimelReader(written(tmp_path, {"7": record}), "x.json")
    assert [x.mention and x.mention.span for x in reader] == [None, None]
    assert reader.repairs == {
        "mention that does not occur in its sentence, so without a span": 1,
        "mention that is no whole tokens, so without a span": 1,
    }


def test_richpedia_takes_the_jpegs_of_its_list(tmp_path: Path) -> None:
    listed = ONE | {"img_list": ["a.JPG", "b.png", "c.jpg", "d.svg"]}
    reader = RichpediaReader(written(tmp_path, {"7": listed, "8": ONE}), "x.json", images="pics")
    first, second = reader
    a, c = (str(tmp_path / "pics" / name) for name in ("a.JPG", "c.jpg"))
    assert first.images == (Image(a), Image(c), Image(a, "object"), Image(c, "object"))
    assert second.images == ()
    assert reader.repairs == {"image that is not a .jpg left out": 2}
    [x, _] = RichpediaReader(str(tmp_path), "x.json", parts=False, blank_images=True)
    assert x.images == (Image(None), Image(None))


def test_splits_share_no_record_and_leave_none_out(tmp_path: Path) -> None:
    root = written(tmp_path, {str(i): RECORD for i in range(300)})
    whole = [x.id for x in WikimelReader(root, "x.json")]
    parts = {s: [x.id for x in WikimelReader(root, "x.json", split=s)] for s in ("train", "dev", "test")}
    assert sorted(whole) == sorted(id for ids in parts.values() for id in ids)
    for split, ids in parts.items():
        assert {split_of(id.partition(":")[0]) for id in ids} == {split}


@pytest.mark.parametrize(
    ("value", "where", "code", "says"),
    [
        (3, "", "json.wrong-type", "`record`"),
        ([{"sentence": "Reed"}], ", record 0", "json.missing-field", "`id`"),
        ({"7": 3}, ", record '7'", "json.wrong-type", "`record`"),
        ({"7": {}}, ", record '7'", "json.missing-field", "`sentence`"),
        ({"7": RECORD | {"sentence": None}}, ", record '7'", "json.wrong-type", "`sentence`"),
        ({"7": RECORD | {"mentions": 3}}, ", record '7'", "json.wrong-type", "`mentions`"),
        ({"7": RECORD | {"answer": ["Q1"]}}, ", record '7'", "melbench.lengths", "`mentions`"),
        ({"7": RECORD | {"answer": [1, 2]}}, ", record '7'", "json.wrong-type", r"`answer\[0\]`"),
        ({"7": RECORD | {"img_list": "a.jpg"}}, ", record '7'", "json.wrong-type", "`img_list`"),
    ],
)
def test_a_wrong_record_is_named(tmp_path: Path, value: Any, where: str, code: str, says: str) -> None:
    with raises(code, match=says) as error:
        list(RichpediaReader(written(tmp_path, value), "x.json"))
    assert error.value.where == f"{tmp_path / 'x.json'}{where}"


@pytest.mark.parametrize("reader", [WikimelReader, RichpediaReader, KbMelbenchReader])
def test_a_missing_file_says_where_the_dataset_comes_from(tmp_path: Path, reader: Any) -> None:
    with raises("file.missing", match=r"seukgcode/MELBench.*season1blue/DWE"):
        list(reader(str(tmp_path), "x.json"))


def test_nothing_is_lost_in_jsonlines(tmp_path: Path) -> None:
    lists = written(tmp_path, {"Reed": ["Q1", "Q2"]}, "lists.json")
    root = written(tmp_path, {"7": RECORD | {"img_list": ["a.jpg"]}})
    reader = RichpediaReader(root, "x.json", candidates=str(Path(lists) / "lists.json"))
    convert(reader, tmp_path / "y.jsonl")
    assert list(read_jsonl(tmp_path / "y.jsonl", root=str(tmp_path))) == list(reader)


def test_a_knowledge_base_of_what_the_dataset_names(tmp_path: Path) -> None:
    again = ONE | {"entities": "S. Reed"}
    untitled = ONE | {"entities": None, "answer": "Q9"}
    root = written(tmp_path, {"7": RECORD, "8": again, "9": ONE | {"answer": None}, "10": untitled})
    reader = KbMelbenchReader(root, "x.json")
    entities = list(reader)
    assert [(e.id, e.name, e.aliases) for e in entities] == [
        ("Q1", "Noel Hart", ()),
        ("Q2", "Stella Reed", ("S. Reed",)),
        ("Q9", "Q9", ()),
    ]
    assert reader.repairs == {
        "mention without answer, skipped": 1,
        "entity without a title, so named by its id": 1,
        "further title of an entity, taken as an alias": 1,
    }


def test_mentions_become_aliases_only_on_demand_and_only_those_of_train(tmp_path: Path) -> None:
    records = {str(i): ONE | {"mentions": f"Reed {i}"} for i in range(100)}
    root = written(tmp_path, records)
    [silent] = KbMelbenchReader(root, "x.json")
    [telling] = KbMelbenchReader(root, "x.json", mention_aliases_of="train")
    assert silent.aliases == ()
    assert set(telling.aliases) == {f"Reed {i}" for i in range(100) if split_of(str(i)) == "train"}


@pytest.mark.real_data
def test_wikimel_has_its_published_counts(shared: Path) -> None:
    root = str(shared / "data" / "mel")
    reader = WikimelReader(root, "wikimel.json")
    examples = list(reader)
    titles = {e.id: e.name for e in KbMelbenchReader(root, "wikimel.json")}
    assert len({x.id.partition(":")[0] for x in examples}) == 22_136
    assert (len(examples), len(titles)) == (25_846, 17_391)
    assert {x.entity for x in examples} == set(titles)
    assert sum(x.mention.text == titles[x.entity] for x in examples) == 12_278
    assert reader.repairs == {
        "mention that does not occur in its sentence, so without a span": 740,
        "mention that is no whole tokens, so without a span": 6,
    }
    spans = [(x, x.mention.span) for x in examples if x.mention.span is not None]
    assert len(spans) == 25_846 - 746
    for x, span in spans:
        assert x.text[x.offsets[span.start][0] : x.offsets[span.end - 1][1]] == x.mention.text
    sizes = [len(list(WikimelReader(root, "wikimel.json", split=s))) for s in ("train", "dev", "test")]
    assert sizes == [18_100, 2_556, 5_190]


@pytest.mark.real_data
def test_richpedia_has_its_published_counts(shared: Path) -> None:
    root = str(shared / "data" / "mel")
    reader = RichpediaReader(root, "richpedia.json")
    examples = list(reader)
    assert len(examples) == len({x.entity for x in examples}) == 17_805
    assert len(list(KbMelbenchReader(root, "richpedia.json"))) == 17_805
    assert not any(x.images for x in examples)
    assert reader.repairs["mention that does not occur in its sentence, so without a span"] == 664
