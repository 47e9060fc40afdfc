"""Crop tables that are not there."""

from __future__ import annotations

import pytest

from mmkit.data.conll import ConllImagesReader
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
