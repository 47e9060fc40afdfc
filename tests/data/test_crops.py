"""Crop tables that are not there."""

from __future__ import annotations

import pytest

from mmkit.data.conll import ConllImagesReader
from mmkit.data.crops import CropTable
from mmkit.data.mnre import MnreReader
from raising import raises


@pytest.mark.parametrize("kind", [ConllImagesReader, MnreReader])
def test_a_missing_table_stops_or_is_counted(tmp_path, kind):
    lines = {
        ConllImagesReader: "IMGID:1\nParis\tO\n",
        MnreReader: "{'token': ['a', 'b'], 'h': {'name': 'a', 'pos': [0, 1]}, "
        "'t': {'name': 'b', 'pos': [1, 2]}, 'img_id': '1.jpg', 'relation': 'None'}\n",
    }
    (tmp_path / "train.txt").write_text(lines[kind])
    with raises("crops.missing"):
        list(kind(str(tmp_path), "train.txt", crops="crops.json"))
    reader = kind(str(tmp_path), "train.txt", crops="crops.json", missing_crops="none")
    (example,) = reader
    assert [image.role for image in example.images] == ["photo"]
    assert any("crops.json" in reason for reason in reader.repairs)
    assert reader.files() == [tmp_path / "train.txt"]


@pytest.mark.parametrize("named", [True, False])
def test_a_table_that_names_none_of_the_posts_is_told(tmp_path, named):
    (tmp_path / "train.txt").write_text("IMGID:1\na\tO\n\nIMGID:2\nb\tO\n\n")
    (tmp_path / "crops.json").write_text('{"%s.jpg": ["c.jpg"], "9.jpg": ["d.jpg"]}' % (1 if named else 8))
    reader = ConllImagesReader(str(tmp_path), "train.txt", crops="crops.json")
    first, second = reader
    assert [len(first.images), len(second.images)] == [1 + named, 1]
    told = {"post, none of which the crop table names, so that no object crops are used": 2}
    assert reader.repairs == ({} if named else told)


def test_a_post_that_stands_twice_in_a_table_is_an_error(tmp_path):
    (tmp_path / "crops.json").write_text('{"1.jpg": ["c.jpg"],\n "1.jpg": ["d.jpg"]}')
    with raises("crops.unreadable", match=r"crops\.json:2: .*'1\.jpg'"):
        CropTable.load(tmp_path / "crops.json")
