from __future__ import annotations

import json
import re
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest

from mmkit.data.convert import convert
from mmkit.data.jsonl import JsonlReader
from mmkit.data.melbench import WikimelReader
from mmkit.data.types import Image, Span
from mmkit.data.wikidiverse import NOTE, WikidiverseReader, picture_file
from mmkit.data.wikiperson import WikipersonReader
from mmkit.errors import DataError
from raising import raises

URL = "https://upload.wikimedia.org/wikipedia/commons/0/06/Hawks-1998.jpg"
WIKI = "https://en.wikipedia.org/wiki/"
HAWKS = ["Hawks", "Organization", 4, 9, WIKI + "Dover_Hawks"]
MINERS = ["Miners", "Organization", 21, 27, WIKI + "Mill_Town_Miners"]
SENTENCE = "The Hawks versus the Miners (1998)."
PUBLISHED = [SENTENCE, URL, "sports", [HAWKS, MINERS]]
RETRIEVED = [
    SENTENCE, URL, "Hawks", "Organization", "The", "versus", WIKI + "Dover_Hawks",
    [WIKI + "Hawks_Club", WIKI + "Dover_Hawks", WIKI + "Hawks_Club"], "sports", 4, 9,
]  # fmt: skip
CONVERTED = {
    "sentence": SENTENCE,
    "mention": "Hawks",
    "mention_type": "Organization",
    "mention_image": "abc.jpg",
    "entity": "Dover Hawks",
}


def reader_of(tmp_path: Path, value: Any, **options: Any) -> WikidiverseReader:
    (tmp_path / "train.json").write_text(json.dumps(value), encoding="utf-8")
    return WikidiverseReader(str(tmp_path), "train.json", **options)


def hashed(text: str) -> str:
    return md5(text.encode()).hexdigest()


def test_the_published_form(tmp_path: Path) -> None:
    first, second = reader_of(tmp_path, [PUBLISHED])
    assert (first.id, second.id) == ("train:0:0", "train:0:1")
    assert (first.entity, second.entity) == ("Dover Hawks", "Mill Town Miners")
    assert first.mention is not None and first.mention.span == Span(1, 2, "mention")
    assert second.mention is not None and second.mention.span == Span(4, 5, "mention")
    assert first.notes == {NOTE: {"type": "Organization", "topic": "sports"}}
    file = hashed("Hawks-1998.jpg") + ".jpg"
    assert first.images == (Image(str(tmp_path / "images" / file)),)


def test_the_form_with_candidates(tmp_path: Path) -> None:
    [x] = reader_of(tmp_path, [RETRIEVED])
    assert (x.id, x.entity, x.candidates) == ("train:0", "Dover Hawks", ("Hawks Club", "Dover Hawks"))
    assert x.mention is not None and x.mention.span == Span(1, 2, "mention")
    [x] = reader_of(tmp_path, [RETRIEVED], max_candidates=1)
    assert x.candidates == ("Hawks Club",)


def test_the_form_of_dwes_authors(tmp_path: Path) -> None:
    listed = CONVERTED | {"cands": [["Hawks Club", None], ["Dover Hawks", ["a.jpg"]]]}
    first, second = reader_of(tmp_path, [CONVERTED, listed], images="pics")
    assert (first.id, first.entity, first.candidates) == ("train:0", "Dover Hawks", ())
    assert first.images == (Image(str(tmp_path / "pics" / "abc.jpg")),)
    assert first.mention is not None and first.mention.span == Span(1, 2, "mention")
    assert second.candidates == ("Hawks Club", "Dover Hawks")


def test_lists_of_a_file_take_the_place_of_the_records(tmp_path: Path) -> None:
    (tmp_path / "lists.json").write_text(json.dumps({"Dover Hawks": ["Hawk"]}))
    [x] = reader_of(tmp_path, [RETRIEVED], candidates="lists.json")
    assert x.candidates == ("Dover Hawks", "Hawk")


def test_the_bounds_choose_among_equal_words(tmp_path: Path) -> None:
    sentence = "Hawks and Hawks and Hawksmoor"
    mentions = [["Hawks", "x", at, at + 5, WIKI + "A"] for at in (10, 20, 2)]
    reader = reader_of(tmp_path, [[sentence, URL, "", mentions]])
    assert [x.mention and x.mention.span for x in reader] == [
        Span(2, 3, "mention"),
        Span(0, 1, "mention"),  # at 20 it is part of a word
        Span(0, 1, "mention"),
    ]
    assert reader.repairs == {"mention that is not where its record says, so looked for": 1}


@pytest.mark.parametrize("article", ["nil", "", None, "https://example.org/Hawks", WIKI])
def test_mentions_without_an_article_are_skipped_and_counted(tmp_path: Path, article: str | None) -> None:
    reader = reader_of(tmp_path, [[SENTENCE, URL, "sports", [[*HAWKS[:4], article], MINERS]]])
    assert [x.id for x in reader] == ["train:0:1"]
    assert reader.repairs == {"mention without article, skipped": 1}


@pytest.mark.parametrize(
    ("url", "hyphens", "title"),
    [
        (WIKI + "Fran%C3%A7ois_Hollande", "keep", "François Hollande"),
        ("n" + WIKI + "AC/DC", "keep", "AC/DC"),
        (WIKI + "Spider-Man_(film)", "keep", "Spider-Man (film)"),
        (WIKI + "Spider-Man_(film)", "space", "Spider Man (film)"),
    ],
)
def test_an_entity_is_named_by_its_title(tmp_path: Path, url: str, hyphens: Any, title: str) -> None:
    [x] = reader_of(tmp_path, [[SENTENCE, URL, "", [[*HAWKS[:4], url]]]], hyphens=hyphens)
    assert x.entity == title


@pytest.mark.parametrize(
    ("last", "archive", "converted"),
    [
        ("a.JPEG", ".JPEG", ".JPEG"),
        ("a.svg.png", ".png", ".png"),
        ("a.SVG", ".png", ".png"),
        ("a.gif", "a.gif", ".png"),
        ("a.tif", "a.tif", "a.tif"),
    ],
)
def test_pictures_are_named_as_the_authors_scripts_name_them(last: str, archive: str, converted: str) -> None:
    url = "https://upload.wikimedia.org/0/06/" + last
    assert picture_file(url, "file") == hashed(last) + archive
    assert picture_file(url, "url") == hashed(url) + converted


@pytest.mark.parametrize(
    ("value", "where", "code", "says"),
    [
        ({}, "", "json.wrong-type", "`file`"),
        ([PUBLISHED, 3], ", record 1", "json.wrong-type", "`record`"),
        ([PUBLISHED[:3]], ", record 0", "wikidiverse.fields", "3"),
        (
            [[SENTENCE, URL, "", [HAWKS[:3]]]],
            ", record 0",
            "json.wrong-type",
            r"`\[3\]\[0\]`",
        ),
        (
            [[SENTENCE, URL, "", [["x", "y", -1, 3, ""]]]],
            ", record 0",
            "json.wrong-type",
            r"`\[3\]\[0\]\[2\]`",
        ),
        ([[3, URL, "", []]], ", record 0", "json.wrong-type", r"`\[0\]`"),
        ([CONVERTED | {"entity": 3}], ", record 0", "json.wrong-type", "`entity`"),
        ([CONVERTED | {"cands": [[]]}], ", record 0", "json.wrong-type", r"`cands\[0\]`"),
    ],
)
def test_a_wrong_record_is_named(tmp_path: Path, value: Any, where: str, code: str, says: str) -> None:
    with raises(code, match=says) as error:
        list(reader_of(tmp_path, value))
    assert error.value.where == f"{tmp_path / 'train.json'}{where}"


PERSON: dict[str, Any] = {
    "id": 0,
    "image": "1.jpg",
    "boundingbox": "[55.5, -1.5, 73.5, 42.0]",
    "wikiid": "Q5",
}


def people(tmp_path: Path, *records: Any, **options: Any) -> WikipersonReader:
    (tmp_path / "test.json").write_text(json.dumps(list(records)))
    return WikipersonReader(str(tmp_path), "test.json", **options)


def test_a_person_is_a_photo_and_a_face_without_words(tmp_path: Path) -> None:
    reader = people(
        tmp_path, PERSON, PERSON | {"id": "b", "boundingbox": [0, 0, 1, 1]}, PERSON | {"wikiid": None}
    )
    first, second = reader
    path = str(tmp_path / "images" / "1.jpg")
    assert (first.id, first.text, first.tokens, first.mention) == ("0", "", (), None)
    assert first.entity == "Q5"
    assert first.images == (Image(path), Image(path, "object", (55.5, -1.5, 73.5, 42.0)))
    assert (second.id, second.images[1].box) == ("b", (0.0, 0.0, 1.0, 1.0))
    assert reader.repairs == {"record without an entity, skipped": 1}
    [blank] = people(tmp_path, PERSON, blank_images=True)
    assert blank.images == (Image(None), Image(None, "object"))
    assert [x.images for x in people(tmp_path, PERSON, images=None)] == [()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boundingbox": "[1, 2, 3]"}, "`boundingbox` must be [left, top, right, bottom]"),
        ({"boundingbox": "[1, 2"}, "not JSON"),
        ({"boundingbox": [1, 2, 1e999, 4]}, "`boundingbox` must be [left, top, right, bottom]"),
        ({"boundingbox": [3, 2, 1, 4]}, "the box [3.0, 2.0, 1.0, 4.0] is empty"),
        ({"boundingbox": [1, 2, "3", 4]}, "`boundingbox[2]` must be a number"),
        ({"id": None}, "`id` must be a whole number"),
        ({"image": None}, "`image` must be a string"),
    ],
)
def test_a_wrong_person_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    content = json.dumps([PERSON, PERSON | change]).replace("Infinity", "1e999")
    (tmp_path / "test.json").write_text(content)
    with pytest.raises(DataError) as error:
        list(WikipersonReader(str(tmp_path), "test.json"))
    assert error.value.where == f"{tmp_path / 'test.json'}, record 1"
    assert message in error.value.what


@pytest.mark.parametrize("reader", [WikidiverseReader, WikipersonReader])
def test_a_missing_file_says_where_the_dataset_comes_from(tmp_path: Path, reader: Any) -> None:
    with raises("file.missing", match=r"https://github\.com/.*season1blue/DWE"):
        list(reader(str(tmp_path), "x.json"))


@pytest.mark.parametrize("make", [people, lambda path, *records: reader_of(path, [PUBLISHED])])
def test_nothing_is_lost_in_jsonlines(tmp_path: Path, make: Any) -> None:
    reader = make(tmp_path, PERSON)
    convert(reader, tmp_path / "x.jsonl")
    assert list(JsonlReader(str(tmp_path), "x.jsonl")) == list(reader)


def test_the_examples_of_the_documentation_are_read(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    blocks = dict(
        re.findall(r"^### [^\n]*`mmkit\.(\w+)\.v1`\n\n```json\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    )
    readers = {"richpedia": WikimelReader, "wikidiverse": WikidiverseReader, "wikiperson": WikipersonReader}
    assert set(readers) <= set(blocks)
    for name, reader in readers.items():
        (tmp_path / "x.json").write_text(blocks[name], encoding="utf-8")
        instance = reader(str(tmp_path), "x.json")
        assert len(list(instance)) == 1 and not instance.repairs


@pytest.mark.parametrize("url", ["", "  ", None, "nan", "None", "null", "https://", "https://example.org/"])
def test_a_caption_whose_url_names_nothing_has_no_photo(url: str | None, tmp_path: Path) -> None:
    reader = reader_of(tmp_path, [[SENTENCE, url, "sports", [HAWKS]]])
    (x,) = reader
    assert x.images == () and reader.repairs["record that names no photo"] == 1
