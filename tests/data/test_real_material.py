"""Real photographs meet their sentences, the authors' crop tables are read whole, and a variant is named."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from mmkit.data.conll import ConllImagesReader
from mmkit.data.convert import convert
from mmkit.data.crops import CropTable
from mmkit.data.fingerprints import describe_file
from mmkit.data.jsonl import JsonlReader
from mmkit.data.mnre import MnreReader
from mmkit.data.mnre_joint import MnreJointReader
from raising import raises
from real_photos import SPLITS, TWITTER, instances, linked, tweets, with_photo

pytestmark = [pytest.mark.real_data, pytest.mark.matrix]


@pytest.fixture(scope="module")
def photos(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return linked(shared, tmp_path_factory.mktemp("photos"))


@pytest.mark.parametrize("dataset", TWITTER)
def test_the_photos_of_tweets_meet_their_sentences(
    shared: Path, photos: Path, tmp_path: Path, dataset: str
) -> None:
    met = 0
    for split in SPLITS["twitter"]:
        root = shared / "data" / dataset
        reader = ConllImagesReader(str(root), f"{split}.txt", images=str(photos / dataset))
        said = tweets(root / f"{split}.txt")
        found = list(with_photo(reader))
        for example, file in found:
            assert list(example.tokens) == said[file.stem]
        convert(reader, tmp_path / f"{split}.jsonl")
        again = list(with_photo(JsonlReader(str(tmp_path), f"{split}.jsonl")))
        assert [(x.tokens, file.samefile(f)) for x, f in again for file in [f]] == [
            (x.tokens, True) for x, _ in found
        ]
        assert [f.name for _, f in again] == [f.name for _, f in found]
        met += len(found)
    assert met == len(list((photos / dataset).iterdir())) == 15


@pytest.mark.parametrize("kind", [MnreReader, MnreJointReader])
def test_the_photos_of_relations_meet_their_sentences(
    shared: Path, photos: Path, kind: type[MnreReader]
) -> None:
    root, met, expected = shared / "data" / "mnre", set(), set()
    there = {file.name for file in (photos / "mnre").iterdir()}
    for split in SPLITS["mnre"]:
        said = instances(root / f"{split}.txt")
        reader = kind(str(root), f"{split}.txt", images=str(photos / "mnre"))
        for example, file in with_photo(reader):
            assert example.tokens in said[file.name]
            met.add(file.name)
        for name in said.keys() & there:
            if kind is MnreReader or any(labels != {"None"} for labels in said[name].values()):
                expected.add(name)
    assert met == expected
    assert len(met) == {MnreReader: 39, MnreJointReader: 27}[kind]


TABLES = {
    "twitter2015_train": (4000, 7667, 7, 432),
    "twitter2015_val": (999, 1954, 7, 105),
    "twitter2015_test": (3257, 6285, 8, 332),
    "twitter2017_train": (3373, 6851, 6, 391),
    "twitter2017_val": (723, 1515, 7, 101),
    "twitter2017_test": (723, 1462, 6, 77),
    "mre_train": (12247, 32550, 4, 3636),
    "mre_val": (1624, 4344, 4, 489),
    "mre_test": (1614, 4373, 4, 519),
}
"""Table → posts, crops, most crops of a post, posts with more than the three that are read."""


@pytest.mark.parametrize("name", TABLES)
def test_the_authors_crop_tables_are_read_whole(shared: Path, name: str) -> None:
    table = CropTable.load(shared / "data" / "author_tables" / f"{name}_dict.pth", limit=100)
    sizes = [len(crops) for crops in table.entries.values()]
    assert (len(sizes), sum(sizes), max(sizes), sum(n > 3 for n in sizes)) == TABLES[name]
    assert min(sizes) > 0


@pytest.mark.parametrize("dataset", TWITTER)
@pytest.mark.parametrize(("split", "table"), [("train", "train"), ("valid", "val"), ("test", "test")])
def test_the_crop_tables_are_those_of_the_published_files(
    shared: Path, dataset: str, split: str, table: str
) -> None:
    reader = ConllImagesReader(
        str(shared / "data" / dataset),
        f"{split}.txt",
        crops=str(shared / "data" / "author_tables" / f"{dataset}_{table}_dict.pth"),
    )
    roles = [Counter(image.role for image in example.images) for example in reader]
    without = [r for r in roles if not r["object"]]
    assert len(without) == (dataset, split).count("valid") * (dataset == "twitter2015")
    assert max(r["object"] for r in roles) == 3


@pytest.mark.parametrize("split", SPLITS["mnre"])
def test_a_table_of_boxes_is_no_table_of_crops(shared: Path, split: str) -> None:
    with raises("crops.not-a-table", match=f"mre_dif_{split}_dict.pth"):
        CropTable.load(shared / "data" / "author_tables" / f"mre_dif_{split}_dict.pth")


DIFFERENCES = {
    # sentences with other tokens, sentences with other tags of equal tokens, such tags, spans only before, only after
    "train": (5, 4, 4, 0, 0),
    "valid": (3, 0, 0, 0, 0),
    "test": (0, 239, 393, 201, 231),
}


@pytest.mark.parametrize("split", DIFFERENCES)
def test_the_relabelled_variant_is_named_and_its_differences_counted(shared: Path, split: str) -> None:
    other = {"valid": "val"}.get(split, split)
    before, after = shared / "data" / "twitter2015", shared / "data" / "twitter2015_relabelled"
    told = describe_file(after / f"{other}.txt")
    assert told.startswith(f"Twitter-2015 {split}, relabelled ")
    assert told.split("(")[1].startswith(f"{sum(DIFFERENCES[split][:2])} sentences")
    old, new = columns(before / f"{split}.txt"), columns(after / f"{other}.txt")
    assert old.keys() == new.keys()
    tokens = [x for x in old if [t for t, _ in old[x]] != [t for t, _ in new[x]]]
    tags = [sum(a != b for a, b in zip(old[x], new[x], strict=True)) for x in old.keys() - set(tokens)]
    mine, theirs = spans(before, f"{split}.txt"), spans(after, f"{other}.txt")
    assert (
        len(tokens),
        sum(n > 0 for n in tags),
        sum(tags),
        len(mine - theirs),
        len(theirs - mine),
    ) == DIFFERENCES[split]


def columns(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Token and tag of each line, by post, read without any of mmkit's code."""
    found = {}
    for block in path.read_text(encoding="utf-8").split("IMGID:")[1:]:
        name, *lines = block.split("\n")
        found[name.strip()] = [(x.split("\t")[0], x.split("\t")[1]) for x in lines if "\t" in x]
    return found


def spans(root: Path, file: str) -> set[tuple[str, int, int, str]]:
    examples = ConllImagesReader(str(root), file, images=None)
    return {(x.id, s.start, s.end, s.label) for x in examples for s in x.spans}
