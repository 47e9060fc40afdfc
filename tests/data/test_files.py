"""Fingerprints and conversion."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from mmkit.data.conll import ConllImagesReader
from mmkit.data.convert import convert
from mmkit.data.fingerprints import KNOWN, MISTAKEN, describe_file, file_sha256, known_mistake, known_variant
from mmkit.data.jsonl import JsonlReader, write_jsonl
from mmkit.data.lines import numbered_lines
from mmkit.data.mnre import MnreReader
from mmkit.data.types import Entity, Image
from raising import raises


def test_a_file_is_described_by_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(b"abc")
    sha = hashlib.sha256(b"abc").hexdigest()
    assert file_sha256(path) == sha
    assert known_variant(sha) is None
    assert describe_file(path) == f"unknown variant (sha256 {sha[:12]})"
    with raises("file.missing"):
        describe_file(tmp_path / "missing")


@pytest.mark.real_data
def test_the_published_files_are_known(shared: Path) -> None:
    files = [p for p in (shared / "data").rglob("*") if p.suffix in (".txt", ".json")]
    right = {
        variant for sha, variant in KNOWN.items() if sha not in MISTAKEN
    }  # the others are published no more
    assert {known_variant(file_sha256(p)) for p in files} >= right
    assert all(known_mistake(file_sha256(p)) is None for p in files)
    assert describe_file(shared / "data/twitter2015/train.txt").startswith(
        "Twitter-2015 train, original labels"
    )


CONLL = "IMGID:1\na\tI-PER\nb\tO\n\nIMGID:2\nc\tB-LOC\n"


def test_converted_data_reads_as_before(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.txt").write_text(CONLL)
    reader = ConllImagesReader(str(tmp_path / "data"), "x.txt")
    expected = {"examples": 2, "images": 2, "tokens": 3, "spans": 2, "relations": 0}
    assert convert(reader, tmp_path / "data" / "x.jsonl") == expected
    assert list(JsonlReader(str(tmp_path / "data"), "x.jsonl")) == list(reader)
    assert '"path": "images/1.jpg"' in (tmp_path / "data" / "x.jsonl").read_text()


def test_pictures_elsewhere_get_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.txt").write_text(CONLL)
    monkeypatch.chdir(tmp_path)
    convert(ConllImagesReader("data", "x.txt"), Path("out/deep/x.jsonl"))
    paths = [i.path for x in JsonlReader("out/deep", "x.jsonl") for i in x.images]
    assert paths == [str(tmp_path / "data" / "images" / f"{n}.jpg") for n in (1, 2)]


def test_entities_blanks_and_nothing_are_converted_too(tmp_path: Path) -> None:
    entity = Entity("Q1", "Universe", images=(Image(None), Image("a.jpg")))
    write_jsonl(tmp_path / "x.jsonl", [entity], "entities")
    assert convert(JsonlReader(str(tmp_path), "x.jsonl"), tmp_path / "y.jsonl") == {
        "entities": 1,
        "images": 2,
    }
    assert (tmp_path / "y.jsonl").read_bytes() == (tmp_path / "x.jsonl").read_bytes()
    (tmp_path / "x.txt").touch()
    assert convert(MnreReader(str(tmp_path), "x.txt"), tmp_path / "z.jsonl") == {"examples": 0}
    assert list(JsonlReader(str(tmp_path), "z.jsonl")) == []


def test_broken_data_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("IMGID:1\na\tO\n\nIMGID:2\na\tB-PER\nbroken\n")
    with raises("conll.columns", match=r"x\.txt:6"):
        convert(ConllImagesReader(str(tmp_path), "x.txt"), tmp_path / "x.jsonl")
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


@pytest.mark.real_data
def test_the_published_data_survives_conversion(shared: Path, tmp_path: Path) -> None:
    readers = [
        ConllImagesReader(str(shared / "data" / "twitter2015"), "test.txt"),
        MnreReader(str(shared / "data" / "mnre"), "val.txt"),
    ]
    for reader in readers:
        convert(reader, tmp_path / "x.jsonl")
        assert list(JsonlReader(str(tmp_path), "x.jsonl")) == list(reader)


def test_a_missing_file_is_told_with_a_name_like_it_or_with_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "posts.jsonl").touch()
    (tmp_path / "mine" / "test.txt").touch()
    monkeypatch.chdir(tmp_path)
    with raises("file.missing", match=r"did you mean 'mine/posts\.jsonl'\?"):
        list(numbered_lines(Path("mine/post.jsonl")))
    with raises("file.missing") as alone:
        describe_file(Path("mine/train.txt"))  # test.txt is another file
    assert alone.value.hint == ""
    with raises("file.missing", match=f"mmkit looked for it in {tmp_path}.*\n.*from the authors"):
        list(numbered_lines(Path("yours/posts.jsonl"), "from the authors"))
