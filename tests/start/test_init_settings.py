"""Settings of the reader that are given to `mmkit init`: checked, written once, and named where they would help."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from initialized import refused, started
from mmkit.recipe import load_recipe
from own_folders import by_characters, draw, jsonl, posts


def in_bytes(path: Path) -> None:
    """Posts whose offsets count bytes; each begins with a heart."""
    records = []
    for post in posts():
        record = by_characters(post)
        record["text"] = f"♥ {record['text']}"
        for span in record["spans"]:
            span["start_char"] += 4
            span["end_char"] += 4
        records.append(record)
    jsonl(path, records)


@pytest.mark.parametrize("given", [("--offsets", "bytes"), ("--reader-setting", "offsets=bytes")])
def test_a_setting_is_named_where_it_helps_and_written_once(here: Path, given: tuple[str, str]) -> None:
    in_bytes(here / "mine" / "posts.jsonl")
    draw(here / "mine" / "photos")
    assert "--reader-setting offsets=bytes" in refused("mine")
    recipe, said = started("mine", *given)
    assert 'as you gave it: offsets = "bytes"' in said
    written = [line for line in Path("mine.cfg").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in written if line.startswith("offsets")] == ['offsets = "bytes"']
    data = recipe.config["data"]
    assert data["dev"] == data["test"] == data["train"] and data["dev"]["offsets"] == "bytes"
    assert [line for line in written if "${data.train}" in line][1] == "test = ${data.train}"

    of_all = load_recipe("mine.cfg", {"data.train.misaligned": "drop"}).config["data"]
    assert {of_all[split]["misaligned"] for split in ("train", "dev", "test")} == {"drop"}
    of_one = load_recipe("mine.cfg", {"data.test.file": "x.jsonl", "data.train.misaligned": "drop"})
    assert of_one.config["data"]["test"] == {**of_all["train"], "file": "x.jsonl"}
    assert of_one.config["data"]["dev"] == of_all["train"]


def test_splits_with_files_of_their_own_refer_to_the_settings_of_train(here: Path) -> None:
    for split in ("train", "dev"):
        in_bytes(here / "mine" / f"{split}.jsonl")
    recipe, _ = started("mine", "--offsets", "bytes", "--misaligned", "drop")
    assert recipe.config["data"]["dev"]["file"] == "dev.jsonl"
    text = Path("mine.cfg").read_text()
    assert "offsets = ${data.train.offsets}\n" in text and text.count('misaligned = "drop"') == 2  # comment
    of_both = load_recipe("mine.cfg", {"data.train.offsets": "characters"}).config["data"]
    assert of_both["dev"]["offsets"] == "characters"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--ofsets bytes", ["no reader has a setting 'ofsets'", "did you mean 'offsets'"]),
        ("--data.train.offsets bytes", ["did you mean 'offsets'?"]),
        ("--reader jsonl --ofsets bytes", ["mmkit.jsonl.v1 has no setting 'ofsets'", "'offsets'?"]),
        ("--tag_column 1", ["mmkit.jsonl.v1 has no setting 'tag_column'"]),
        (
            "--offsets byte",
            ['must be "characters" | "utf-16" | "bytes", not "byte"', "did you mean 'bytes'?"],
        ),
        ("--reader-setting blank_images=3", ["--reader-setting: ", "blank_images: must be bool, not 3"]),
        ("--file x", ["'file' is found out"]),
        ("--papr hvpnet", ["did you mean '--paper'?"]),
        ("--reader-setting offsets", ["give it as NAME=VALUE"]),
        ("--offsets", ["--offsets needs a value"]),
    ],
)
def test_settings_that_are_wrong(here: Path, given: str, said: list[str]) -> None:
    in_bytes(here / "mine" / "posts.jsonl")
    told = refused("mine", *shlex.split(given))
    assert all(part in told for part in said), told
    assert not Path("mine.cfg").exists()


def test_a_folder_of_pictures_that_is_given_is_not_replaced(here: Path) -> None:
    lines = [f"IMGID:{i}\nwe\tO\nsaw{i}\tO\nRome\tB-LOC\n" for i in range(60)]
    (here / "mine").mkdir()
    (here / "mine" / "train.txt").write_text("\n".join(lines))
    draw(here / "mine" / "photos")
    recipe, said = started("mine", "--reader-setting", "images=elsewhere")
    assert recipe.config["data"]["train"]["images"] == "elsewhere"
    assert "pictures are missing for 60 of 60 posts" in said and "mine/photos/0.png is there" in said


def test_annotations_that_are_not_found_name_the_settings_that_find_them(here: Path) -> None:
    (here / "mine").mkdir()
    lines = [f"we\tO\tP\nsaw{i}\tO\tV\n" for i in range(60)]
    (here / "mine" / "train.txt").write_text("\n".join(lines))
    given = ["--reader", "mmkit.conll_images.v1", "--tag_column", "1", "--reader-setting", "images=null"]
    assert "a setting of mmkit.conll_images.v1 may say where: crops" in (told := refused("mine", *given))
    assert "tag_column; `mmkit describe" in told


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("{}", "photos/7.png"),  # no ending
        ("C:\\Users\\eva\\{}.png", "photos/7.png"),
        ("https://example.org/media/{}.png?large", "photos/7.png"),
    ],
)
def test_where_pictures_are_that_a_post_names_in_another_way(here: Path, path: str, place: str) -> None:
    records = [{**by_characters(post), "images": [path.format(7)]} for post in posts()]
    jsonl(here / "mine" / "posts.jsonl", records)
    draw(here / "mine" / "photos", 10)
    _, said = started("mine")
    assert "pictures are missing for 60 of 60 posts" in said
    assert f"write such paths relative to mine, here '{place}'" in said


def test_pictures_with_the_ids_of_posts_are_said(here: Path) -> None:
    records = [{**by_characters(post), "id": str(i), "images": []} for i, post in enumerate(posts())]
    jsonl(here / "mine" / "posts.jsonl", records)
    draw(here / "mine" / "photos", 10)
    _, said = started("mine")
    assert "mine/photos/0.png is called like the post '0'" in said
