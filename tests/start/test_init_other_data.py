"""`mmkit init` on data that are nearly in the format for own data: what is recognized, and what the messages say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from initialized import refused, run, started
from mmkit.loading.splits import read_split
from own_folders import by_characters, draw, jsonl, posts


def plain(example: Any) -> dict[str, Any]:
    """A post whose `start` and `end` count characters."""
    record = by_characters(example)
    record["spans"] = [
        {"start": s["start_char"], "end": s["end_char"], "label": s["label"]} for s in record["spans"]
    ]
    return record


def test_start_and_end_without_tokens_count_characters(here: Path) -> None:
    records = [plain(post) for post in posts()]
    records[0]["spans"] = []  # the first record decides nothing
    del records[1]["images"]
    jsonl(here / "mine" / "posts.jsonl", records)
    draw(here / "mine" / "photos")
    recipe, said = started("mine")
    assert recipe.part("data.train", "readers") == "mmkit.jsonl.v1", said
    assert recipe.config["data"]["train"]["bounds"] == "characters"
    examples = [x for split in recipe.parts("data") for x in read_split(recipe, split).examples]
    assert len(examples) == 60 and sum(bool(x.images) for x in examples) == 59
    found = {x.id: [(" ".join(x.tokens[s.start : s.end]), s.label) for s in x.spans] for x in examples}
    assert found["posts:3"] == [("Nike", "ORG"), ("Rome", "LOC")]


def renamed(record: dict[str, Any], **names: str) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in record.items()}


def test_other_names_of_fields_are_said(here: Path) -> None:
    draw(here / "mine" / "photos")
    records = [renamed(by_characters(p), text="sentence", spans="entities", images="image") for p in posts()]
    jsonl(here / "mine" / "posts.jsonl", records)
    said = " ".join(refused("mine").split())
    assert "posts.jsonl looks like JSON lines of records with `sentence`, `entities`, `image`" in said
    assert "rename its fields: `sentence` into `text`, `entities` into `spans`, `image` into `images`" in said

    jsonl(here / "mine" / "posts.jsonl", [renamed(by_characters(p), spans="labels") for p in posts()])
    said = " ".join(refused("mine").split())
    assert "unknown field `labels`" in said and "did you mean 'spans'?" in said


def test_a_json_list_and_utf_16_are_told_with_the_command_that_converts(here: Path) -> None:
    records = [by_characters(post) for post in posts()]
    (here / "mine").mkdir()
    (here / "mine" / "posts.json").write_text(json.dumps(records), encoding="utf-8")
    said = " ".join(refused("mine").split())
    assert "posts.json looks like a JSON list of posts with `text`" in said
    assert "convert it: python -c" in said
    (here / "mine" / "posts.json").unlink()
    lines = "\n".join(json.dumps(record) for record in records)
    (here / "mine" / "posts.jsonl").write_text(lines, encoding="utf-16")
    said = " ".join(refused("mine").split())
    assert "posts.jsonl is not UTF-8" in said and "iconv -f UTF-16 -t UTF-8 mine/posts.jsonl" in said


def test_records_that_cannot_be_read_are_the_reason_that_is_given(here: Path) -> None:
    """Of posts with one wrong field, those without it are too few, or have no annotations."""
    records = [by_characters(post) for post in posts()]
    for record in records[1:]:
        record["image"] = record.pop("images")
    jsonl(here / "mine" / "posts.jsonl", records)
    said = " ".join(refused("mine").split())
    assert "too few annotated posts" in said and "but 59 of 60 records cannot be read" in said
    assert "mine/posts.jsonl:2: " in said and "because of: unknown field `image`" in said
    assert "did you mean 'images'?" in said and "annotate more" not in said

    records[0] = {"text": "nobody is here"}
    jsonl(here / "mine" / "posts.jsonl", records)
    said = " ".join(refused("mine").split())
    assert "none of the 1 posts is annotated" in said and "but 59 of 60 records cannot be read" in said
    assert "did you mean 'images'?" in said

    jsonl(here / "mine" / "posts.jsonl", records[1:])
    said = refused("mine")
    assert "mine/posts.jsonl:1: unknown field `image`" in said and "did you mean 'images'?" in said


def test_a_few_that_cannot_be_read_are_counted_and_the_first_is_said(here: Path) -> None:
    records = [by_characters(post) for post in posts()]
    records[7]["spans"][0]["end_char"] -= 1
    jsonl(here / "mine" / "posts.jsonl", records)
    draw(here / "mine" / "photos")
    _, said = started("mine")
    assert "posts.jsonl: 1 of 60 records cannot be read" in said and "(mine/posts.jsonl:8)" in said


def test_a_knowledge_base_that_cannot_be_read_is_one_problem(here: Path) -> None:
    names = ["Jordan", "Paris", "Nike"]
    jsonl(
        here / "mine" / "posts.jsonl",
        [
            {"text": p.text, "mention": {"text": names[i % 3]}, "entity": f"Q{i % 3}"}
            for i, p in enumerate(posts())
        ],
    )
    base = [{"id": f"Q{i}", "name": name} for i, name in enumerate(names)]
    jsonl(here / "mine" / "kb.jsonl", base)
    started("mine", "--paper", "dim")
    sound = run("check", "mine.cfg", "--tiny")
    assert sound.exit_code == 0, sound.output
    assert "tokenizer does not know" not in sound.stdout  # the tiny ones know few words
    jsonl(here / "mine" / "kb.jsonl", [*base, {"id": "Q9"}])
    said = run("check", "mine.cfg", "--tiny")
    assert said.exit_code == 1 and "kb.jsonl:4: the field `name` is missing" in said.stdout
    assert "1 problem to fix" in said.stdout and "there are no entities" not in said.stdout
