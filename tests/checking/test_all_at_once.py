"""Records that cannot be read: `check` says all of them at once, training stops at the first."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mmkit.checking.check import check
from mmkit.errors import DataError
from mmkit.loading.splits import read_split
from posts import post, recipe_of

SOUND = [post(i) for i in range(6)]
DEV = [post(i) for i in range(10, 12)]

GOOD = {
    "mmkit.mnre.v1": repr(
        {"token": ["a", "b"], "h": {"pos": [0, 1]}, "t": {"pos": [1, 2]}, "img_id": "1", "relation": "r"}
    ),
    "mmkit.conll_images.v1": "IMGID:1\nMara\tB-PER\n",
    "mmkit.jmere.v1": {"text": "a b", "img_id": "1", "triple_list": [], "ent_pair_list": []},
    "mmkit.wikimel.v1": {"sentence": "Mara", "mentions": ["Mara"], "answer": ["Q1"]},
    "mmkit.wikiperson.v1": {"id": 1, "image": "1.jpg", "boundingbox": [0, 0, 2, 2], "wikiid": "Q1"},
    "mmkit.wikidiverse.v1": [
        "Mara",
        "u.jpg",
        "t",
        [["Mara", "Person", 0, 4, "https://en.wikipedia.org/wiki/Mara"]],
    ],
}
FILES = {
    "mmkit.mnre.v1": (
        [GOOD["mmkit.mnre.v1"], "{'token': 3}", "{", GOOD["mmkit.mnre.v1"], "{'token': 4}"],
        [":2", ":5", ":3"],
    ),
    "mmkit.conll_images.v1": (
        [GOOD["mmkit.conll_images.v1"], "IMGID:2\nsings\tX-PER\nin\nrain\tO\n", "IMGID:3\nLisbon\tB-\n"],
        [":5", ":10", ":6"],
    ),
    "mmkit.jmere.v1": (
        [GOOD["mmkit.jmere.v1"], {}, GOOD["mmkit.jmere.v1"], {}],
        [", record 1", ", record 3"],
    ),
    "mmkit.wikimel.v1": (
        {"1": GOOD["mmkit.wikimel.v1"], "2": {}, "3": {}},
        [", record '2'", ", record '3'"],
    ),
    "mmkit.wikiperson.v1": ([GOOD["mmkit.wikiperson.v1"], {"wikiid": "Q2"}, 5], [", record 1", ", record 2"]),
    "mmkit.wikidiverse.v1": ([GOOD["mmkit.wikidiverse.v1"], [], ["a"]], [", record 1", ", record 2"]),
}


@pytest.mark.parametrize("reader", FILES)
def test_every_record_that_cannot_be_read_is_said_at_once(tmp_path: Path, reader: str) -> None:
    content, places = FILES[reader]
    text = "\n".join(content) if reader in ("mmkit.mnre.v1", "mmkit.conll_images.v1") else json.dumps(content)
    (tmp_path / "data.x").write_text(text, encoding="utf-8")
    recipe = recipe_of(tmp_path, SOUND, DEV, {"data.train.@readers": reader, "data.train.file": "data.x"})
    report = check(recipe)["train"]
    said = "\n".join(report.problems)
    assert all(f"data.x{place}" in said for place in places), said
    with pytest.raises(DataError, match=re.escape(f"data.x{places[0]}")):
        read_split(recipe, "train")


def test_lines_of_posts_that_cannot_be_read(tmp_path: Path) -> None:
    posts = [
        post(0),
        post(1, spans=[{"start": 5, "end": 9, "label": "PER"}]),
        post(2, extra=1),
        post(3),
        post(4, extra=2),
    ]
    report = check(recipe_of(tmp_path, posts, DEV))["train"]
    assert len(report.split.examples) == 2
    assert any(
        "2 records cannot be read; the first: unknown field `extra`" in said for said in report.problems
    )
    assert any(
        f"a span ends at token 9 of a sentence of 7 tokens: {tmp_path}/train.jsonl:3" in said
        for said in report.problems
    )


BASES: dict[str, tuple[str, list[str]]] = {
    "mmkit.kb_jsonl.v1": (
        '{"id": "Q1", "name": "Mara"}\n{"id": "Q2"}\n[]\n{"id": 3, "name": "Kofi"}\n',
        [":2", ":3", ":4"],
    ),
    "mmkit.kb_json.v1": (
        json.dumps({"Q1": "Mara [SEP]. singer", "Q2": 5, "Q3": ["a"], "Q4": {"name": 1}}),
        [", record 'Q2'", ", record 'Q3'", ", record 'Q4'"],
    ),
    "mmkit.kb_melbench.v1": (
        json.dumps(
            {
                "1": {"mentions": ["Mara"], "entities": ["Mara"], "answer": ["Q1"]},
                "2": 5,
                "3": {"mentions": ["Kofi"], "entities": ["Kofi", "Kofi"], "answer": ["Q2"]},
                "4": {"mentions": ["Kofi"], "entities": ["Kofi"], "answer": [7]},
            }
        ),
        [", record '2'", ", record '3'", ", record '4'"],
    ),
}


@pytest.mark.parametrize("reader", BASES)
def test_every_entity_that_cannot_be_read_is_said_at_once_and_no_part_is_kept(
    tmp_path: Path, reader: str
) -> None:
    content, places = BASES[reader]
    (tmp_path / "base.x").write_text(content, encoding="utf-8")
    settings = {"@readers": reader, "root": str(tmp_path), "file": "base.x"}
    recipe = recipe_of(tmp_path, SOUND, DEV, {f"data.entities.{k}": v for k, v in settings.items()})
    for _ in range(2):  # the readable part of the file is not in the cache afterwards
        said = "\n".join(check(recipe)["entities"].problems)
        assert all(f"base.x{place}" in said for place in places), said
    with pytest.raises(DataError, match=re.escape(f"base.x{places[0]}")):
        read_split(recipe, "entities")


def test_entities_that_all_have_other_fields_are_one_problem(tmp_path: Path) -> None:
    entities = {f"Q{i}": {"label": f"Mara {i}", "text": "singer"} for i in range(40)}
    (tmp_path / "base.json").write_text(json.dumps(entities), encoding="utf-8")
    settings = {"@readers": "mmkit.kb_json.v1", "root": str(tmp_path), "file": "base.json"}
    recipe = recipe_of(tmp_path, SOUND, DEV, {f"data.entities.{k}": v for k, v in settings.items()})
    [said] = check(recipe)["entities"].problems
    assert "the entity has no `name`" in said and "fields = " in said and "record 'Q0'" in said


TWICE = {
    "mmkit.kb_jsonl.v1": (
        "".join(f'{{"id": "Q{i}", "name": "n"}}\n' for i in (1, 2, 3, 1, 4, 3, 1)),
        ["3 entities have", "'Q1' (base.x:1, base.x:4, base.x:7)", "'Q3' (base.x:3, base.x:6)"],
    ),
    "mmkit.kb_json.v1": (
        json.dumps([{"id": f"Q{i}", "name": "n", "description": "d"} for i in (1, 2, 1)]),
        ["1 entity has", "'Q1' (base.x, record 0, base.x, record 2)"],
    ),
}


@pytest.mark.parametrize("reader", TWICE)
def test_ids_of_entities_that_are_not_unique_are_named_with_their_places(
    reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, words = TWICE[reader]
    (tmp_path / "base.x").write_text(content, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    settings = {"@readers": reader, "root": "", "file": "base.x"}
    recipe = recipe_of(tmp_path, SOUND, DEV, {f"data.entities.{k}": v for k, v in settings.items()})
    [said] = check(recipe)["entities"].problems
    assert all(word in said for word in words), said
    with pytest.raises(DataError) as caught:
        read_split(recipe, "entities")
    assert caught.value.code == "knowledge.duplicate-id" and str(caught.value) in said


def test_of_many_ids_that_are_not_unique_a_few_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = "".join(f'{{"id": "Q{i % 50}", "name": "n"}}\n' for i in range(200))
    (tmp_path / "base.x").write_text(lines, encoding="utf-8")
    settings = {"@readers": "mmkit.kb_jsonl.v1", "root": "", "file": "base.x"}
    recipe = recipe_of(tmp_path, SOUND, DEV, {f"data.entities.{k}": v for k, v in settings.items()})
    [said] = check(recipe)["entities"].problems
    assert "150 entities have" in said and "and 1 more" in said and len(said) < 1500
