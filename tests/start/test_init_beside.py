"""`mmkit init` in folders with object crops and lists of candidates, as the papers' authors publish them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from initialized import refused, started
from mmkit import Reader, registry
from mmkit.data.crops import CropTable
from mmkit.loading.splits import read_split


def sample(reader: str, into: Path) -> Path:
    """The reader's sample, in a folder of its own."""
    cls: type[Reader] = registry.get("readers", reader)
    splits = cls.sample(into.parent / "made", 1)
    shutil.move(splits["train"]["root"], into)
    return into


@pytest.mark.parametrize("reader", ["mmkit.conll_images.v1", "mmkit.mnre.v1"])
def test_tables_of_crops_are_used_where_the_model_reads_crops(here: Path, reader: str) -> None:
    folder = sample(reader, here / "mine")
    for table in folder.glob("*_crops.json"):  # as HVPNeT's authors publish them
        torch.save(dict(CropTable.load(table).entries), table.with_suffix(".pth"))
        table.unlink()
    recipe, said = started("mine", "--paper", "hvpnet")
    for split, name in (("train", "train"), ("dev", "val"), ("test", "test")):
        assert Path(recipe.config["data"][split]["crops"]).name.startswith(name)
        crops = [
            str(i.path) for x in read_split(recipe, split).examples for i in x.images if i.role == "object"
        ]
        assert crops and all(Path(path).is_file() for path in crops)
    assert "train_crops.pth (a table of object crops) is used" in said
    assert "known, but not used" not in said
    recipe, said = started("mine", "--paper", "text-only")
    assert recipe.config["data"]["train"].get("crops") is None
    assert f"this model does not read them; the setting `crops` of {reader} takes such a file" in said


def test_tables_without_their_crops_are_said(here: Path) -> None:
    folder = sample("mmkit.conll_images.v1", here / "mine")
    shutil.rmtree(folder / "crops")
    recipe, said = started("mine", "--paper", "hvpnet")
    assert recipe.config["data"]["train"].get("crops") is None
    assert "known, but not used: test_crops.json, train_crops.json, valid_crops.json" in said
    assert "the crops themselves are not here; the setting `crops`" in said


def test_lists_of_candidates_are_used_where_the_paper_uses_them(here: Path) -> None:
    folder = sample("mmkit.wikimel.v1", here / "made_all")
    (here / "mine").mkdir()
    for name in ("wikimel.json", "search_top100.json", "images"):
        shutil.move(folder / name, here / "mine" / name)
    recipe, said = started("mine", "--paper", "dwe")
    assert {recipe.config["data"][split]["candidates"] for split in ("train", "dev", "test")} == {
        "search_top100.json"
    }
    assert any(example.candidates for example in read_split(recipe, "train").examples)
    assert "data.train: search_top100.json (lists of candidates) is used" in said


def test_a_reader_without_the_setting_is_named(here: Path) -> None:
    (here / "mine").mkdir()
    (here / "mine" / "lists.json").write_text('{"Jordan": ["Q1", "Q2"]}')
    lines = [f'{{"text": "Jordan number {i}", "spans": [[0, 6]]}}' for i in range(3)]
    lines = [line.replace("[[0, 6]]", '[{"start_char": 0, "end_char": 6, "label": "PER"}]') for line in lines]
    for split in ("train", "dev", "test"):
        (here / "mine" / f"{split}.jsonl").write_text("\n".join(lines))
    _, said = started("mine")
    assert "known, but not used: lists.json (lists of candidates): mmkit.jsonl.v1 has no setting" in said
    assert "mmkit.wikimel.v1" in said.replace("\n", " ")


def test_a_table_alone_is_no_data(here: Path) -> None:
    (here / "mine").mkdir()
    (here / "mine" / "crops.json").write_text('{"7.jpg": ["7_0.jpg"]}')
    assert "no file holds data that a reader knows: crops.json, a table of object crops" in refused("mine")
