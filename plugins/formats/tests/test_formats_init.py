"""`mmkit init` on the files of other tools: the reader, the splits, the labels and the pictures are found."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest

from initialized import refused, started
from mmkit.data.convert import convert
from mmkit.data.jsonl import write_jsonl
from mmkit.loading.splits import read_split
from mmkit.registry import build_part
from own_folders import draw, jsonl, posts

FILES = {
    "label_studio": "export.json",
    "doccano": "admin.jsonl",
    "prodigy": "annotations.jsonl",
    "brat": "corpus",
    "conll": "corpus.conll",
    "parquet": "posts.parquet",
    "csv": "posts.csv",
    "datasets": "dataset",
    "spacy": "docs.spacy",
    "webdataset": "posts-000000.tar",
}
NEEDS = {"spacy": "spacy"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, path: Path, number: int = 60) -> None:
    """The posts in a tool's format, by that format's writer."""
    draw(path.parent / "photos", number)
    path.parent.mkdir(parents=True, exist_ok=True)
    canonical = path.parent.parent / "canonical.jsonl"
    write_jsonl(canonical, posts(number), "examples")
    reader = build_part(
        "readers", "mmkit.jsonl.v1", {"root": str(path.parent), "file": str(canonical.resolve())}
    )
    convert(reader, path, build_part("writers", f"formats.{name}.v1", {}))


@pytest.mark.parametrize("name", FILES)
def test_one_file_of_each_tool(here: Path, name: str) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    write(name, here / "mine" / FILES[name])
    recipe, said = started("mine")
    reader = "parquet" if name == "datasets" else name  # its writer makes one parquet file
    assert recipe.part("data.train", "readers") == f"formats.{reader}.v1", said
    splits = {split: read_split(recipe, split).examples for split in recipe.parts("data")}
    assert sum(map(len, splits.values())) == 60
    assert {s.label for e in splits["train"] for s in e.spans} == {"PER", "LOC", "ORG"}
    if name not in ("brat", "conll"):  # which do not say where a picture is
        assert "found for all 60 posts" in said
        assert all(Path(e.images[0].path).is_file() for e in splits["train"])


def test_three_exports_of_label_studio(here: Path) -> None:
    for split in ("train", "val", "test"):
        write("label_studio", here / "mine" / f"{split}.json", 12)
    recipe, _ = started("mine")
    assert recipe.config["data"]["shares"] is None
    assert [recipe.config["data"][split]["file"] for split in recipe.parts("data")] == [
        "train.json",
        "val.json",
        "test.json",
    ]


def test_pictures_by_address_are_found_by_their_names(here: Path) -> None:
    tasks = [
        {
            "id": i,
            "data": {"text": post.text, "image": f"https://example.org/files/{i}.png"},
            "annotations": [{"id": i, "result": [
                {"id": "a", "type": "labels", "from_name": "label", "to_name": "text",
                 "value": {"start": 7, "end": 7 + len(post.tokens[2]), "text": post.tokens[2], "labels": ["PER"]}},
            ]}],
        }
        for i, post in enumerate(posts())
    ]  # fmt: skip
    (here / "mine").mkdir()
    (here / "mine" / "project-1.json").write_text(json.dumps(tasks))
    draw(here / "mine" / "downloaded")
    recipe, said = started("mine")
    assert "found for all 60 posts" in said
    assert "downloaded" in recipe.config["data"]["train"]["uploads"]


def test_a_table_with_columns_of_other_names(here: Path) -> None:
    rows = [
        [
            p.text,
            f"photos/{i}.png",
            json.dumps([{"start_char": 7, "end_char": 7 + len(p.tokens[2]), "label": "PER"}]),
        ]
        for i, p in enumerate(posts())
    ]
    (here / "mine").mkdir()
    lines = [
        "tweet;photo;spans",
        *(";".join(f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in row) for row in rows),
    ]
    (here / "mine" / "table.csv").write_text("\n".join(lines) + "\n")
    draw(here / "mine" / "photos")
    recipe, said = started("mine")
    assert recipe.config["data"]["train"]["columns"] == {"text": "tweet", "images": "photo"}
    assert recipe.config["data"]["train"]["delimiter"] == ";"
    assert "found for all 60 posts" in said


def test_a_table_whose_columns_no_reader_knows_names_the_options_that_read_it(here: Path) -> None:
    rows = [
        ";".join(
            [
                p.text,
                f"fotos\\{i}.JPG",
                f'"[{{""start"": 7, ""end"": {7 + len(p.tokens[2])}, ""label"": ""PER""}}]"',
            ]
        )
        for i, p in enumerate(posts())
    ]
    (here / "mine").mkdir()
    (here / "mine" / "daten.csv").write_text("\r\n".join(["Satz;Foto;Marken", *rows]), encoding="utf-8-sig")
    draw(here / "mine" / "fotos")
    for photo in (here / "mine" / "fotos").iterdir():
        photo.rename(photo.with_suffix(".JPG"))
    named = """mmkit init mine --reader formats.csv.v1 --columns '{"text": "Satz", "images": "Foto"}' --delimiter ';'"""
    assert named in refused("mine")
    assert "a setting of formats.csv.v1 may say where: columns" in refused(*shlex.split(named)[2:])
    columns = {"text": "Satz", "spans": "Marken"}
    _, said = started("mine", "--columns", json.dumps(columns), "--delimiter", ";")
    columns["images"] = "Foto"
    option = f"--reader-setting {shlex.quote('columns=' + json.dumps(columns))}"
    assert option in said
    recipe, said = started("mine", *shlex.split(option), "--delimiter", ";")
    assert "found for all 60 posts" in said and recipe.config["data"]["test"]["delimiter"] == ";"


def test_pictures_in_another_field_of_doccano_are_named_with_the_setting_that_reads_them(here: Path) -> None:
    records = [
        {"text": p.text, "label": [[7, 7 + len(p.tokens[2]), "PER"]], "filename": f"{i}.png"}
        for i, p in enumerate(posts())
    ]
    jsonl(here / "mine" / "all.jsonl", records)
    draw(here / "mine" / "photos")
    _, said = started("mine")
    option = """--reader-setting 'images=["filename"]'"""
    assert option in said
    assert "found for all 60 posts" in started("mine", *shlex.split(option))[1]


def test_spans_as_spacy_writes_them_are_read_as_those_of_doccano(here: Path) -> None:
    records = [{"text": p.text, "entities": [[7, 7 + len(p.tokens[2]), "PER"]]} for p in posts()]
    jsonl(here / "mine" / "all.jsonl", records)
    recipe, _ = started("mine")
    assert recipe.part("data.train", "readers") == "formats.doccano.v1"
    assert all(len(x.spans) == 1 for x in read_split(recipe, "train").examples)


@pytest.mark.parametrize("order", ["tag first", "tag second"])
def test_columns_with_the_tag_elsewhere(here: Path, order: str) -> None:
    row = "{tag}\t{word}\tNN" if order == "tag first" else "{word}\t{tag}\tNN"
    text = ""
    for i in range(60):
        words = [("O", "we"), ("O", f"saw{i}"), ("B-PER", "Mara")]
        text += "".join(f"{row.format(tag=tag, word=word)}\n" for tag, word in words) + "\n"
    (here / "mine").mkdir()
    (here / "mine" / "train.txt").write_text(text)
    given = []
    if order == "tag second":
        assert "--reader-setting tag_column=1" in refused("mine")
        given = ["--tag_column", "1"]
    recipe, _ = started("mine", *given)
    examples = read_split(recipe, "train").examples
    assert {(" ".join(x.tokens[s.start : s.end]), s.label) for x in examples for s in x.spans} == {
        ("Mara", "PER")
    }


def test_photos_of_brat_may_have_an_ending_in_upper_case(here: Path) -> None:
    write("brat", here / "mine" / "corpus")
    draw(here / "drawn")
    for text in (here / "mine" / "corpus").glob("*.txt"):
        shutil.copy(here / "drawn" / "0.png", text.with_suffix(".PNG"))
    _, said = started("mine")
    assert "found for all 60 posts" in said


def test_splits_of_a_saved_dataset(here: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [
        {
            "tokens": list(p.tokens),
            "ner_tags": ["O", "O", "B-PER", "O", "B-LOC", *["O"] * (len(p.tokens) - 5)],
        }
        for p in posts()
    ]
    parts = {"train": rows[:40], "validation": rows[40:50], "test": rows[50:]}
    datasets.DatasetDict({s: datasets.Dataset.from_list(some) for s, some in parts.items()}).save_to_disk(
        here / "mine"
    )
    recipe, _ = started("mine")
    assert recipe.part("data.dev", "readers") == "formats.datasets.v1"
    assert recipe.config["data"]["dev"]["split"] == "validation"
    assert [len(read_split(recipe, split).examples) for split in recipe.parts("data")] == [40, 10, 10]
