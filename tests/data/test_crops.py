"""Crop tables that are not there."""

from __future__ import annotations

import pytest

from mmkit.data.conll import ConllImagesReader
from mmkit.data.crops import CropTable
from mmkit.data.mnre import MnreReader
from mmkit.errors import DataError


@pytest.mark.parametrize("kind", [ConllImagesReader, MnreReader])
def test_a_missing_table_stops_or_is_counted(tmp_path, kind):
    lines = {
        ConllImagesReader: "IMGID:1\nParis\tO\n",
        MnreReader: "{'token': ['a', 'b'], 'h': {'name': 'a', 'pos': [0, 1]}, "
        "'t': {'name': 'b', 'pos': [1, 2]}, 'img_id': '1.jpg', 'relation': 'None'}\n",
    }
    (tmp_path / "train.txt").write_text(lines[kind])
    with pytest.raises(DataError, match="no such crop table"):
        list(kind(str(tmp_path), "train.txt", crops="crops.json"))
    reader = kind(str(tmp_path), "train.txt", crops="crops.json", missing_crops="none")
    (example,) = reader
    assert [image.role for image in example.images] == ["photo"]
    assert any("crops.json" in reason for reason in reader.repairs)
    assert reader.files() == [tmp_path / "train.txt"]


def test_posts_that_a_table_does_not_name_are_counted(tmp_path):
    (tmp_path / "train.txt").write_text("IMGID:1\na\tO\n\nIMGID:2\nb\tO\n\n")
    (tmp_path / "crops.json").write_text('{"1.jpg": ["c.jpg"], "9.jpg": ["d.jpg"]}')
    reader = ConllImagesReader(str(tmp_path), "train.txt", crops="crops.json")
    first, second = reader
    assert [len(first.images), len(second.images)] == [2, 1]
    assert reader.repairs == {"post that the crop table does not name, so it has no object crops": 1}


def test_a_post_that_stands_twice_in_a_table_is_an_error(tmp_path):
    (tmp_path / "crops.json").write_text('{"1.jpg": ["c.jpg"],\n "1.jpg": ["d.jpg"]}')
    with pytest.raises(DataError, match="'1.jpg' occurs twice"):
        CropTable.load(tmp_path / "crops.json")
