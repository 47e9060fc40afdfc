"""Parquet files of several groups of rows, and columns that have one name."""

from __future__ import annotations

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

import mmkit
from mmkit import DataError, Example, Span, build_part
from mmkit_formats.parquet import BATCH, GROUP, TOGETHER


def test_posts_of_several_groups_of_rows_are_read_in_their_order(tmp_path: Path) -> None:
    number = BATCH * GROUP + TOGETHER + 1
    spans = (Span(0, 1, "PER"),)
    posts = [Example.from_tokens(f"p{i}", ("Jordan", str(i)), spans=spans) for i in range(number)]
    path = tmp_path / "posts.parquet"
    build_part("writers", "formats.parquet.v1", {}).write(path, posts)
    assert pyarrow.parquet.ParquetFile(path).num_row_groups == 2
    reader = mmkit.read(path, "parquet")
    assert list(reader) == posts
    assert reader.place.of() == f"{path}, row {number}"


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "posts.parquet"
    columns = [pyarrow.array(["Jordan scores"]), pyarrow.array(["another text"])]
    pyarrow.parquet.write_table(pyarrow.table(columns, names=["text", "text"]), path)
    with pytest.raises(DataError, match="two columns have the name 'text'"):
        list(mmkit.read(path, "parquet"))
