"""Formats that hold the images themselves: no other file of the user gets into them, and none in silence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image as Pillow

from mmkit.cli import main
from raising import raises

FORMATS = (
    ("posts.tar", ["--format", "webdataset"]),
    ("posts.parquet", ["--format", "datasets"]),
    ("posts.jsonl", ["--format", "prodigy", "--setting", "embed=true"]),
)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file beside the folder `theirs`, in which the posts of a stranger name it."""
    (tmp_path / "theirs").mkdir()
    return tmp_path / "secret"


def convert(secret: Path, target: str, options: list[str], image: str) -> tuple[int, str, Path]:
    source = secret.parent / "theirs" / "in.jsonl"
    source.write_text(json.dumps({"id": "1", "text": "Jordan", "images": [image]}) + "\n")
    written = secret.parent / "out" / target
    done = CliRunner().invoke(main, ["convert", str(source), str(written), "--reader", "jsonl", *options])
    return done.exit_code, done.output, written


@pytest.mark.parametrize(("target", "options"), FORMATS)
@pytest.mark.parametrize("image", ["../secret", "%2e%2e/secret", "file://{}"])
def test_a_file_that_is_no_image_is_not_copied(
    secret: Path, target: str, options: list[str], image: str
) -> None:
    secret.write_text("ssh-rsa of mine")
    code, said, written = convert(secret, target, options, image.format(secret))
    assert code == 2 and "image.format" in said and "1: " in said
    assert not written.exists()


@pytest.mark.parametrize(("target", "options"), FORMATS)
def test_an_image_from_elsewhere_is_said(secret: Path, target: str, options: list[str]) -> None:
    Pillow.new("RGB", (4, 4), "red").save(secret, "PNG")
    code, said, written = convert(secret, target, options, "../secret")
    assert code == 0 and written.exists(), said
    assert "images of 1 file outside the folders of the data" in said and "secret" in said
    (secret.parent / "theirs" / "own.png").write_bytes(secret.read_bytes())
    code, said, written = convert(secret, target, options, "own.png")
    assert code == 0 and "outside" not in said, said


def test_an_image_that_is_missing_is_said_with_its_record(secret: Path) -> None:
    code, said, _ = convert(secret, "posts.tar", ["--format", "webdataset"], "gone.png")
    assert code == 2 and "1: " in said and "gone.png: no such image" in said


@pytest.mark.parametrize("address", ["/data/local-files/?d=../secret", "/data/upload/1/..%2F..%2Fsecret"])
def test_label_studio_serves_only_its_folder(secret: Path, address: str) -> None:
    from mmkit import build_part

    task = {"data": {"text": "Jordan", "image": address}, "annotations": [{"result": []}]}
    (secret.parent / "theirs" / "tasks.json").write_text(json.dumps([task]))
    place = {"root": str(secret.parent / "theirs"), "file": "tasks.json"}
    with raises("data.leads-out", match="task 1"):
        list(build_part("readers", "formats.label_studio.v1", place))
