"""Files of records: what is wrong with one is told with its line, and reading is lazy."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmkit.data.jsonl import (
    JsonlReader,
    read_jsonl,
    write_jsonl,
)
from mmkit.data.jsonl_writer import JsonlWriter
from mmkit.data.types import Example, Image
from mmkit.errors import DataError
from raising import raises


def file_of(tmp_path: Path, *lines: str | bytes) -> JsonlReader:
    raw = [line if isinstance(line, bytes) else line.encode() for line in lines]
    (tmp_path / "x.jsonl").write_bytes(b"\n".join(raw) + b"\n")
    return JsonlReader(str(tmp_path), "x.jsonl")


HEADER = '{"format": 1, "kind": "examples"}'


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([HEADER, '{"text": "a'], "x.jsonl:2: not JSON: Unterminated string starting at character 10"),
        ([HEADER, '{"text": "a"'], "x.jsonl:2: not JSON: Expecting ',' delimiter at character 13"),
        (
            [HEADER, '{"text": "a", "text": "b"}'],
            "x.jsonl:2: not JSON that can be read: the field 'text' occurs twice",
        ),
        ([HEADER, '{"text": "a", "notes": {"x": NaN}}'], "x.jsonl:2: not JSON that can be read: NaN is not"),
        ([HEADER, "[" * 100_000], "x.jsonl:2: not JSON that can be read"),
        ([HEADER, '{"id": ' + "9" * 5000 + "}"], "x.jsonl:2: not JSON that can be read"),
        ([HEADER, "", '{"text": 1}'], "x.jsonl:3: `text` must be a string"),
        (
            [HEADER, '{"id": "a", "text": "a"}', '{"id": "a", "text": "b"}'],
            "x.jsonl:3: the id 'a' occurs twice",
        ),
        ([HEADER, '{"text": "  "}'], "x.jsonl:2: an empty sentence"),
        (
            [HEADER, b'{"text": "\xe9t\xe9"}'],
            "x.jsonl:2: not UTF-8: 0xe9 at byte 11 of the line, 45 of the file",
        ),
        (["[]"], "x.jsonl:1: a list, where each line has to be one record"),
        (['{"id": "Q1", "name": "a"}'], "x.jsonl:1: this looks like an entity, in a file without a header"),
        (['{"text": "a"}', HEADER], "x.jsonl:2: unknown field `format`"),
        (
            ['{"format": 3, "kind": "examples"}'],
            "x.jsonl:1: the file has format 3; this version of mmkit reads up to 2",
        ),
        (['{"format": "1", "kind": "examples"}'], "x.jsonl:1: `format` must be a whole number"),
        (['{"format": 1, "kind": "example"}'], "did you mean 'examples'?"),
        (['{"format": 1}'], "x.jsonl:1: unknown kind None"),
        (['{"format": 1, "kind": ["examples"]}'], "x.jsonl:1: unknown kind"),
        (['{"format": 1, "kind": "predictions"}', '{"id": "1"}'], "the file holds predictions, not examples"),
    ],
)
def test_a_wrong_file_says_file_line_and_reason(
    tmp_path: Path, lines: list[str | bytes], message: str
) -> None:
    with pytest.raises(DataError) as error:
        list(file_of(tmp_path, *lines))
    assert message in str(error.value)
    assert str(tmp_path / "x.jsonl") in str(error.value)


def test_an_empty_or_missing_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").touch()
    with raises("file.empty"):
        list(JsonlReader(str(tmp_path), "x.jsonl"))
    with raises("file.missing"):
        list(JsonlReader(str(tmp_path), "y.jsonl"))
    with raises("file.wrong-kind"):
        list(read_jsonl(write_examples(tmp_path / "z.jsonl"), "predictions"))


def write_examples(path: Path) -> Path:
    write_jsonl(
        path, [Example.from_tokens("1", ["a"], images=(Image("p.jpg", "object", (0, 0, 1, 1)),))], "examples"
    )
    return path


def test_the_reader_resolves_paths_blanks_pictures_and_counts_leniency(tmp_path: Path) -> None:
    write_examples(tmp_path / "z.jsonl")
    [example] = JsonlReader(str(tmp_path), "z.jsonl")
    assert example.images[0].path == str(tmp_path / "p.jpg")
    [example] = JsonlReader(str(tmp_path), "z.jsonl", blank_images=True)
    assert example.images == (Image(None, "object"),)
    reader = file_of(tmp_path, b"\xef\xbb\xbf" + HEADER.encode(), "", '{"text": "a"}\r', "")
    for _ in range(2):  # counts are of one iteration
        assert [x.id for x in reader] == ["x:3"]
        assert reader.repairs == {"byte order mark dropped": 1, "empty line skipped": 2}


def test_a_file_without_a_header_holds_examples(tmp_path: Path) -> None:
    assert [x.id for x in file_of(tmp_path, "", '{"text": "a"}', '{"id": "b", "tokens": ["a"]}')] == [
        "x:2",
        "b",
    ]
    (tmp_path / "x.jsonl").write_text('{"text": "a"}\n')
    with raises("jsonl.no-header"):
        list(read_jsonl(tmp_path / "x.jsonl"))


def test_the_writer_leaves_the_header_out_if_asked(tmp_path: Path) -> None:
    records = [Example.from_tokens("1", ["a"])]
    JsonlWriter(header=False).write(tmp_path / "x.jsonl", records)
    assert (tmp_path / "x.jsonl").read_text().count("\n") == 1
    assert list(JsonlReader(str(tmp_path), "x.jsonl")) == records


def test_reading_is_lazy(tmp_path: Path) -> None:
    reader = iter(file_of(tmp_path, HEADER, '{"text": "a"}', "broken"))
    assert next(reader).text == "a"
    with raises("json.syntax", match="3: not JSON"):
        next(reader)
