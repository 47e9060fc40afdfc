"""CoNLL files that are cut off within the tag of their last line."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmkit.data.conll import ConllImagesReader
from mmkit.data.types import Span
from mmkit.errors import DataError
from raising import raises

BEFORE = "Jordan\tB-PER\nand\tO\nParis\tB-LOC\n\nMara\tB-PER\n"


def reader_of(tmp_path: Path, content: str) -> ConllImagesReader:
    (tmp_path / "x.txt").write_text(content, encoding="utf-8")
    return ConllImagesReader(str(tmp_path), "x.txt", images=None)


@pytest.mark.parametrize("glue", ["\t", "  "])
@pytest.mark.parametrize("tag", ["B-PE", "I-P", "B-LO"])
def test_a_file_that_ends_within_a_label_is_refused_with_its_line(
    tmp_path: Path, tag: str, glue: str
) -> None:
    whole = {"P": "PER", "L": "LOC"}[tag[2]]
    with raises("conll.cut", match=f"'{tag}': it seems to be cut off within '{whole}'") as caught:
        list(reader_of(tmp_path, f"{BEFORE}Ida{glue}{tag}"))
    assert caught.value.where == f"{tmp_path / 'x.txt'}:6"


@pytest.mark.parametrize(
    ("end", "label"),
    [
        ("Ida\tB-PE\n", "PE"),  # a whole line
        ("Ida\tB-PE ", "PE"),  # a whole column
        ("Ida\tB-PER", "PER"),
        ("Ida\tB-PERSON", "PERSON"),
        ("Ida\tB-ORG", "ORG"),
        ("Ida\tB-PE\nBo\tI-PE", "PE"),  # it occurs twice
    ],
)
def test_other_last_lines_are_read(tmp_path: Path, end: str, label: str) -> None:
    *_, last = reader_of(tmp_path, BEFORE + end)
    assert last.spans[-1] == Span(1, len(last.tokens), label)


def test_a_cut_line_is_one_error_beside_the_others(tmp_path: Path) -> None:
    reader = reader_of(tmp_path, f"{BEFORE}Bo\tX-PER\nIda\tB-PE")
    reader.errors = errors = list[DataError]()
    *_, last = reader
    assert [error.code for error in errors] == ["conll.unknown-tag", "conll.cut"]
    assert last.tokens == ("Mara", "Bo", "Ida") and last.spans == (Span(0, 1, "PER"),)
