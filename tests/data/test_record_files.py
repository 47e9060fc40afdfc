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
from raising import raises


def file_of(tmp_path: Path, *lines: str | bytes) -> JsonlReader:
    raw = [line if isinstance(line, bytes) else line.encode() for line in lines]
    (tmp_path / "x.jsonl").write_bytes(b"\n".join(raw) + b"\n")
    return JsonlReader(str(tmp_path), "x.jsonl")


HEADER = '{"format": 1, "kind": "examples"}'


@pytest.mark.parametrize(
    ("lines", "code", "says"),
    [
        ([HEADER, '{"text": "a'], "json.syntax", r"x\.jsonl:2: .* 10\n  → it may have been cut off"),
        ([HEADER, '{"text": "a"'], "json.syntax", r"x\.jsonl:2: .* 13\n  → it may have been cut off"),
        ([HEADER, '{"text": a"}'], "json.syntax", r"x\.jsonl:2: .* 10$"),
        (
            [HEADER, '{"text": "a", "text": "b"}'],
            "json.unreadable",
            r"x\.jsonl:2: .*'text'",
        ),
        ([HEADER, '{"text": "a", "notes": {"x": NaN}}'], "json.unreadable", r"x\.jsonl:2: "),
        ([HEADER, "[" * 100_000], "json.unreadable", r"x\.jsonl:2: "),
        ([HEADER, '{"id": ' + "9" * 5000 + "}"], "json.unreadable", r"x\.jsonl:2: "),
        ([HEADER, "", '{"text": 1}'], "json.wrong-type", r"x\.jsonl:3: .*`text`"),
        (
            [HEADER, '{"id": "a", "text": "a"}', '{"id": "a", "text": "b"}'],
            "data.duplicate-id",
            r"x\.jsonl:3: .*'a'",
        ),
        ([HEADER, '{"text": "  "}'], "data.empty-sentence", r"x\.jsonl:2: "),
        (
            [HEADER, b'{"text": "\xe9t\xe9"}'],
            "file.not-utf8",
            r"x\.jsonl:2: .*0xe9 .* 11 .* 45 ",
        ),
        (["[]"], "jsonl.list", r"x\.jsonl:1: "),
        (['{"id": "Q1", "name": "a"}'], "jsonl.no-header", r"x\.jsonl:1: .*entity"),
        (['{"text": "a"}', HEADER], "json.unknown-field", r"x\.jsonl:2: .*`format`"),
        (
            ['{"format": 3, "kind": "examples"}'],
            "jsonl.newer-format",
            r"x\.jsonl:1: .* 3.* 2",
        ),
        (['{"format": "1", "kind": "examples"}'], "jsonl.format", r"x\.jsonl:1: .*`format`"),
        (['{"format": 1, "kind": "example"}'], "jsonl.unknown-kind", "'examples'"),
        (['{"format": 1}'], "jsonl.unknown-kind", r"x\.jsonl:1: "),
        (['{"format": 1, "kind": ["examples"]}'], "jsonl.unknown-kind", r"x\.jsonl:1: "),
        (['{"format": 1, "kind": "predictions"}', '{"id": "1"}'], "file.wrong-kind", "predictions.*examples"),
    ],
)
def test_a_wrong_file_says_file_line_and_reason(
    tmp_path: Path, lines: list[str | bytes], code: str, says: str
) -> None:
    with raises(code, match=says) as error:
        list(file_of(tmp_path, *lines))
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
