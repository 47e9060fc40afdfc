"""`mmkit init` on the files of other tools: the reader, the splits, the labels and the pictures are found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from initialized import started
from mmkit.data.convert import convert
from mmkit.data.jsonl import write_jsonl
from mmkit.loading.splits import read_split
from mmkit.registry import build_part
from own_folders import draw, posts

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
