"""A file of the wrong kind: what it looks like, what was expected, and a command that converts it."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mmkit.config.text import read
from mmkit.data.conll import ConllImagesReader
from mmkit.data.convert import convert
from mmkit.data.expected import records
from mmkit.data.file_kinds import looks_like
from mmkit.data.jmere import JmereReader
from mmkit.data.jsonl import JsonlReader
from mmkit.data.kb_json import KbJsonReader
from mmkit.data.kb_jsonl import KbJsonlReader
from mmkit.data.melbench import WikimelReader
from mmkit.data.mnre import MnreReader
from mmkit.data.predictions import read_gold
from mmkit.data.reader import Reader
from mmkit.errors import DataError
from mmkit.recipe import load_recipe
from raising import raises

MNRE = {"token": ["a"], "h": {"pos": [0, 1]}, "t": {"pos": [0, 1]}, "img_id": "1", "relation": "r"}
JMERE = {"text": "Mara in Lisbon", "img_id": "t1.jpg", "triple_list": [], "ent_pair_list": []}
MEL = {"id": "10-0", "sentence": "Mara sings", "mentions": "Mara", "answer": "Q1", "imgPath": "1.jpg"}
CONLL = "IMGID:1\nMara\tB-PER\nvisits\tO\nLisbon\tB-LOC\n"


def lines(*values: Any) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


FILES = [
    (json.dumps([{"text": "Mara"}], indent=1), "a JSON list of posts with `text`", "python -c"),
    (
        lines({"text": "Mara"}, {"text": "Kofi"}),
        "JSON lines of posts with `text`, without the header",
        "echo",
    ),
    (
        "text,image\nlook at Mara,a.jpg\n",
        "a table (CSV) with the columns text, image",
        "--reader formats.csv.v1",
    ),
    (
        "Tweet\tImage\nlook\ta.jpg\n",
        "a table (TSV)",
        """--columns '{"text": "Tweet", "images": "Image"}' --delimiter""",
    ),
    (
        json.dumps([{"data": {"text": "a"}, "annotations": []}]),
        "a JSON list of tasks of Label",
        "formats.label_studio.v1",
    ),
    (
        lines({"text": "a", "label": []}, {"text": "b"}),
        "JSON lines of texts that doccano",
        "formats.doccano.v1",
    ),
    ("PAR1", "a Parquet file", "formats.parquet.v1"),
    ("look at Mara in Lisbon\nand Kofi\n", "plain text, one sentence a line", "python -c"),
    (CONLL, "CoNLL columns, a token and its tag a line under IMGID lines", "--reader mmkit.conll_images.v1"),
    ("B-PER Mara NNP\nO sings VB\n", "CoNLL columns, a tag and its token", "--token_column 1 --tag_column 0"),
    ("we O\nsaw O\nMara PER\nin O\nRome PER\n", "columns of a token and its label without B- or I-", ""),
    (
        "Satz;Foto;Marken\nMara singt in Wien;1.jpg;PER\n",
        "a table (CSV with semicolons) with the columns Satz, Foto, Marken",
        """--columns '{"text": "Satz", "images": "Foto"}' --delimiter ';'""",
    ),
    (
        json.dumps([{"text": "a", "annotation_id": 1, "annotator": 1}]),
        "a JSON list of Label Studio's JSON-MIN",
        "",
    ),
    (
        lines({"tokens": ["a"], "tags": [0]}),
        "JSON lines of posts with a tag for each token (`tags`), which",
        "",
    ),
    ("PK\x03\x04 xl/workbook.xml", "an Excel workbook: save its sheet", ""),
    ("Mara NNP B-PER\nsings VB O\n", "CoNLL columns", "--images null --tag_column -1"),
    (f"{MNRE!r}\n", "lines of Python dictionaries: relation instances as MNRE has them", "mmkit.mnre.v1"),
    (lines(MNRE, MNRE), "JSON lines of relation instances as MNRE has them", "mmkit.mnre.v1"),
    (json.dumps([JMERE]), "a JSON list of sentences as JMERE has them", "mmkit.jmere.v1"),
    (
        lines(JMERE, JMERE),
        "JSON lines of sentences as JMERE has them, where a JSON list is published",
        "python -c",
    ),
    (json.dumps({"1": MEL}), "a JSON object of records as MELBench has them", "mmkit.wikimel.v1"),
    (json.dumps({"Q1": "Mara [SEP]. singer"}), "a JSON object of texts by key", "mmkit.kb_json.v1"),
    (json.dumps({"David": "a king"}), "a JSON object of texts by key", "mmkit.kb_json.v1"),
    (json.dumps({"qid": "Q1", "caption": "Mara"}), "records with `qid`, `caption`", ""),
    (json.dumps({"1.jpg": ["a.jpg"]}), "a JSON object of lists by key", ""),
    (
        json.dumps([["Mara", "u", "t", []]]),
        "a JSON list of captions as WikiDiverse has them",
        "mmkit.wikidiverse.v1",
    ),
    ("Q1\tMara\tSinger\nQ2\tKofi\t\n", "a table (TSV)", "python -c"),
    (json.dumps(json.dumps([{"text": "Mara"}])), "one JSON string", ""),
    (json.dumps(json.dumps([{"text": "Mara"}] * 30_000)), "one JSON string", ""),
    ('"Mara sings"\n"Kofi too"\n', "plain text, one sentence a line", "python -c"),
    ("<!DOCTYPE html><html>\n", "an HTML page", ""),
    ("version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer", ""),
]


@pytest.mark.parametrize(("content", "what", "command"), FILES)
def test_what_a_file_looks_like(tmp_path: Path, content: str, what: str, command: str) -> None:
    path = tmp_path / "data.x"
    path.write_text(content, encoding="utf-8")
    looks = looks_like(path)
    assert looks is not None and looks.what.startswith(what)
    assert command in looks.advice(path) and bool(command) == bool(looks.advice(path))


def test_a_file_of_nothing_known_looks_like_nothing(tmp_path: Path) -> None:
    for content in (b"", b"\n\n", b"\x01\x02\x03 words", b'{"a": '):
        (tmp_path / "a").write_bytes(content)
        assert looks_like(tmp_path / "a") is None
    assert looks_like(tmp_path / "none") is None and looks_like(tmp_path) is None


@pytest.mark.parametrize(
    ("reader", "content", "said", "command"),
    [
        (JsonlReader, json.dumps([{"text": "Mara"}], indent=1), "a JSON list of posts", "python -c"),
        (JsonlReader, "text,image\nMara,a.jpg\n", "a table (CSV)", "formats.csv.v1"),
        (JsonlReader, "look at Mara\n", "plain text", "python -c"),
        (JsonlReader, CONLL, "CoNLL columns", "mmkit convert"),
        (JsonlReader, repr(MNRE), "relation instances as MNRE", "mmkit convert"),
        (JmereReader, lines(JMERE, JMERE), "JSON lines of sentences as JMERE", "python -c"),
        (JmereReader, json.dumps({"1": MEL}), "records as MELBench", "mmkit convert"),
        (WikimelReader, lines({"1": MEL}, {"2": MEL}), "each an object with records as WikiMEL", "python -c"),
        (KbJsonReader, "Q1\tMara\tSinger\nQ2\tKofi\t\n", "a table (TSV)", '"kind\\": \\"entities\\"'),
        (KbJsonlReader, json.dumps({"Q1": "Mara"}), "a JSON object of texts", "mmkit.kb_json.v1"),
        (MnreReader, CONLL, "CoNLL columns", "mmkit convert"),
        (ConllImagesReader, json.dumps([JMERE]), "sentences as JMERE", "mmkit convert"),
    ],
)
def test_readers_say_what_a_file_of_another_kind_is(
    tmp_path: Path, reader: type[Reader], content: str, said: str, command: str
) -> None:
    (tmp_path / "posts.x").write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        list(records(reader(str(tmp_path), "posts.x")))
    hint = caught.value.hint
    assert hint.startswith("the file looks like ") and said in hint
    assert f"; expected is {reader.form}\n" in hint and command in hint.rpartition("convert it: ")[2]
    with pytest.raises(DataError, match="the file looks like"):
        convert(reader(str(tmp_path), "posts.x"), tmp_path / "out.jsonl")


def test_commands_that_are_advised_work(tmp_path: Path) -> None:
    """They run in this process, as `python -c` would."""
    wanted = {
        "a.json": ([{"text": "Mara", "images": []}], json.dumps([{"text": "Mara", "images": []}])),
        "c.txt": ([{"text": "look at Mara"}, {"text": "and Kofi"}], "look at Mara\n\nand Kofi\n"),
        "d.tsv": ([{"id": "Q1", "name": "Mara", "description": "Singer"}], "Q1\tMara\tSinger\n"),
    }
    for name, (expected, content) in wanted.items():
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        looks = looks_like(path)
        assert looks is not None
        printed = run(looks.advice(path), path)
        header, *rest = map(json.loads, printed.splitlines())
        assert header["format"] == 2 and rest == expected


def test_lists_of_tokens_and_tags_become_columns_with_their_pictures(tmp_path: Path) -> None:
    record = {"tokens": ["look", "Mara"], "ner_tags": ["O", "B-PER"], "image": "a.jpg"}
    for name, content in (("a.jsonl", lines(record, record)), ("a.json", json.dumps([record]))):
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        looks = looks_like(path)
        assert looks is not None and "read that with mmkit.conll_images.v1" in looks.advice(path)
        assert run(looks.advice(path), path).startswith("IMGID:a.jpg\nlook\tO\nMara\tB-PER\n\n")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("reader", [JsonlReader, ConllImagesReader])
def test_the_encoding_is_said_before_the_kind_of_file(
    tmp_path: Path, reader: type[Reader], encoding: str
) -> None:
    (tmp_path / "a.txt").write_bytes("“Mara”\tB-PER\nvisits\tO\n".encode(encoding))
    with pytest.raises(DataError) as caught:
        list(records(reader(str(tmp_path), "a.txt")))
    assert caught.value.code == "file.not-utf8"
    assert f"iconv -f {encoding.upper().replace('6-', '6')} -t UTF-8" in caught.value.hint.splitlines()[0]
    assert "looks like a table" not in caught.value.hint


def test_big_endian_text_with_a_mark_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xfe\xff" + "Mara\tB-PER\nvisits\tO\n".encode("utf-16-be"))
    with raises("file.not-utf8", match="iconv -f UTF-16 -t UTF-8"):
        list(records(ConllImagesReader(str(tmp_path), "a.txt")))


@pytest.mark.parametrize(
    ("record", "reader"),
    [
        ({"id": 1, "text": "Mara", "label": [[0, 4, "PER"]]}, "formats.doccano.v1"),
        ({"id": "1", "text": "Mara", "labels": [[0, 4, "PER"]]}, "formats.doccano.v1"),
        (
            {"text": "Mara", "tokens": [{"text": "Mara"}], "spans": [], "answer": "accept"},
            "formats.prodigy.v1",
        ),
    ],
)
@pytest.mark.parametrize("headed", [False, True])
def test_records_of_another_tool_with_and_without_our_header(
    tmp_path: Path, record: dict[str, Any], reader: str, headed: bool
) -> None:
    content = lines({"format": 2, "kind": "examples"}, record) if headed else lines(record, record)
    (tmp_path / "a.jsonl").write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        list(records(JsonlReader(str(tmp_path), "a.jsonl")))
    assert reader in caught.value.hint and "mmkit.kb_jsonl.v1" not in caught.value.hint
    assert ("tail -n +2" in caught.value.hint) is headed


def run(advice: str, path: Path) -> str:
    """What the program of an advised command prints."""
    command = advice.removeprefix("convert it: ").partition("  (and read that with mmkit.")[0]
    _, _, program, given, arrow, _ = shlex.split(command)
    assert (given, arrow) == (str(path), ">")
    printed, before = io.StringIO(), sys.argv
    sys.argv = ["-c", given]
    try:
        with contextlib.redirect_stdout(printed):
            exec(program, {})
    finally:
        sys.argv = before
    return printed.getvalue()


def test_later_errors_and_errors_of_the_right_kind_are_left_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(lines({"format": 2, "kind": "examples"}, {"text": "a"}, {"id": "x"}))
    with raises("data.no-text") as caught:
        list(records(JsonlReader(str(tmp_path), "a.jsonl")))
    assert caught.value.hint == ""
    (tmp_path / "b.json").write_text(json.dumps([{**JMERE, "text": 5}]), encoding="utf-8")
    with raises("json.wrong-type") as caught:
        list(records(JmereReader(str(tmp_path), "b.json")))
    assert "looks like" not in caught.value.hint


def test_gold_data_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "gold.conll").write_text(CONLL, encoding="utf-8")
    with raises("json.syntax", match="the file looks like CoNLL columns"):
        read_gold(tmp_path / "gold.conll")


def test_melbench_may_be_a_list(tmp_path: Path) -> None:
    (tmp_path / "mel.json").write_text(json.dumps([MEL]), encoding="utf-8")
    [example] = WikimelReader(str(tmp_path), "mel.json")
    assert (example.id, example.entity) == ("10-0", "Q1")
    assert example.images[0].path == str(tmp_path / "images/1.jpg")


def test_what_is_no_recipe_says_what_it_is(tmp_path: Path) -> None:
    for name, content, said in (
        (
            "a.jsonl",
            lines({"format": 2, "kind": "examples"}, {"text": "a"}),
            "mmkit's own jsonlines of examples",
        ),
        ("b.json", json.dumps([{"text": "Mara"}], indent=1), "a JSON list of posts"),
        ("c.csv", "text,image\na,b\n", "a table \\(CSV\\)"),
    ):
        (tmp_path / name).write_text(content, encoding="utf-8")
        with raises("recipe.not-a-recipe", match=f"this is not a recipe: the file looks like {said}"):
            read(tmp_path / name)
    (tmp_path / "d.cfg").write_text("[recipe]\nformat = 1\nbroken\n", encoding="utf-8")
    with raises("recipe.syntax", match=r"d\.cfg:3"):
        read(tmp_path / "d.cfg")


def test_a_recipe_is_no_data_and_a_folder_no_recipe(tmp_path: Path) -> None:
    (tmp_path / "recipe.cfg").write_text("[recipe]\nformat = 1\n\n[data.train]\nroot = 1\n", encoding="utf-8")
    with raises("recipe.is-a-folder", match="this is a run: score it with `mmkit evaluate"):
        load_recipe(tmp_path)
    with raises("json.syntax", match="the file looks like a recipe"):
        list(records(JsonlReader(str(tmp_path), "recipe.cfg")))
    (tmp_path / "recipe.cfg").rename(tmp_path / "own.cfg")
    with raises("recipe.is-a-folder", match=r"there is own\.cfg in it"):
        load_recipe(tmp_path)


@pytest.mark.parametrize(("separator", "name"), [(",", "commas"), (";", "semicolons")])
def test_columns_with_commas_are_said_and_how_to_read_them(tmp_path: Path, separator: str, name: str) -> None:
    rows = [("Mara", "B-PER"), ("visits", "O"), (separator, "O"), ("", ""), ("Lisbon", "B-LOC"), ("too", "O")]
    text = "".join(separator.join(row) + "\n" if row[0] else "\n" for row in rows)
    (tmp_path / "x.txt").write_text(text, encoding="utf-8")
    reader = ConllImagesReader(str(tmp_path), "x.txt", images=None)
    with pytest.raises(DataError, match=f"CoNLL columns separated by {name}") as caught:
        list(records(reader))
    command = ["sed", re.search(r"sed '(.*?)'", str(caught.value))[1], str(tmp_path / "x.txt")]  # type: ignore[index]
    (tmp_path / "x.txt").write_bytes(subprocess.run(command, capture_output=True, check=True).stdout)
    assert [x.tokens for x in reader] == [("Mara", "visits", separator), ("Lisbon", "too")]
