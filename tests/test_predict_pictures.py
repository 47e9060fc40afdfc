"""Pictures of what is predicted: missing, broken, blank, or in another folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image as Pillow

import mmkit
from predicting import answers, mmkit_predict, write_lines
from raising import raises

HEADER = '{"format": 1, "kind": "examples"}\n'
CONLL = "IMGID:a\nJordan O\nagain O\n\nIMGID:b\nParis O\n"


def test_one_path_is_no_list_of_pictures(tagger):
    with raises("input.images") as caught:
        mmkit.load(tagger, device="cpu").predict("Jordan again", images="a.jpg")
    assert caught.value.hint == "images=['a.jpg']"


def test_a_missing_picture_is_told_with_its_example(tagger, tmp_path):
    record = {"id": "seventh", "text": "Jordan again", "images": [str(tmp_path / "none.jpg")]}
    (tmp_path / "in.jsonl").write_text(HEADER + '{"text": "Paris"}\n' + json.dumps(record) + "\n")
    done = mmkit_predict(tagger, "--input", tmp_path / "in.jsonl")
    assert done.exit_code == 2
    assert f"seventh: {tmp_path / 'none.jpg'}: no such image" in done.output
    assert "--missing-images blank" in done.output


@pytest.mark.parametrize("content", ["<html>", "", "\x89PNG\r\n"])
def test_a_broken_picture_is_told_with_what_to_do_without_it(tagger, tmp_path, content):
    photo = tmp_path / "broken.jpg"
    photo.write_text(content, encoding="latin-1")
    done = mmkit_predict(tagger, "--text", "Jordan again", "--image", photo)
    assert done.exit_code == 2 and f"input: {photo}: " in done.output
    assert "use blank images instead: --missing-images blank" in done.output
    (tmp_path / "in.jsonl").write_text(
        json.dumps({"id": "7", "text": "Jordan", "images": [str(photo)]}) + "\n"
    )
    same = mmkit_predict(tagger, "--input", tmp_path / "in.jsonl")
    assert same.output == done.output.replace("input: ", "7: ")


def test_a_web_address_is_told_with_its_example(tagger, tmp_path):
    record = {"id": "7", "text": "Jordan", "images": ["https://example.org/a.jpg"]}
    (tmp_path / "in.jsonl").write_text(json.dumps(record) + "\n")
    done = mmkit_predict(tagger, "--input", tmp_path / "in.jsonl")
    assert "7: https://example.org/a.jpg: no such image" in done.output
    assert "downloads nothing" in done.output and "--missing-images blank" in done.output


@pytest.mark.parametrize("kind", ["pipe", "folder", "closed"])
def test_a_picture_that_is_no_readable_file_is_one_message(tagger, tmp_path, kind):
    photo = tmp_path / "photo.jpg"
    if kind == "pipe":
        os.mkfifo(photo)  # reading it would wait for ever
    elif kind == "folder":
        photo.mkdir()
    else:
        photo.write_bytes(b"x")
        photo.chmod(0)
    done = mmkit_predict(tagger, "--text", "Jordan again", "--image", photo)
    assert done.exit_code == 2 and f"input: {photo}: " in done.output
    assert "--missing-images blank" in done.output


def test_blanked_pictures_are_told(tagger, tmp_path):
    (tmp_path / "empty.jpg").write_bytes(b"")
    arguments = ["--text", "Jordan again", "--image", tmp_path / "empty.jpg"]
    refused = mmkit_predict(tagger, *arguments)
    assert refused.exit_code == 2 and "empty.jpg" in refused.output
    done = mmkit_predict(tagger, *arguments, "--missing-images", "blank")
    assert done.exit_code == 0, done.output
    assert "a blank image was used instead of" in done.stderr and "empty.jpg" in done.stderr


@pytest.fixture
def apart(tmp_path: Path) -> Path:
    """A folder with files of posts, whose images are in another folder."""
    for name in "a", "b":
        (tmp_path / "photos").mkdir(exist_ok=True)
        Pillow.new("RGB", (40, 30), "teal").save(tmp_path / "photos" / f"{name}.jpg")
    posts = [{"text": "Jordan again", "images": ["a.jpg"]}, {"text": "Paris", "images": ["b.jpg"]}]
    write_lines(tmp_path / "posts" / "lines.jsonl", posts)
    (tmp_path / "posts" / "tags.txt").write_text(CONLL)
    (tmp_path / "posts" / "table.csv").write_text("text,image\nJordan again,a.jpg\nParis,b.jpg\n")
    return tmp_path


@pytest.mark.parametrize(
    ("file", "reader"), [("lines.jsonl", "jsonl"), ("tags.txt", "conll_images"), ("table.csv", "csv")]
)
def test_images_in_another_folder_are_named_once(tagger, apart, file, reader):
    if reader == "csv":
        pytest.importorskip("mmkit_formats")
    given = ["--input", apart / "posts" / file, "--reader", reader]
    lost = mmkit_predict(tagger, *given)
    assert lost.exit_code == 2 and "no such image" in lost.output
    assert "name the folder of the images: --images FOLDER" in lost.output
    found = mmkit_predict(tagger, *given, "--images", apart / "photos", "--output", apart / "found.jsonl")
    assert found.exit_code == 0, found.output
    named = [Path(path) for answer in answers(apart / "found.jsonl") for path in answer["images"]]
    assert [(apart / path).resolve() for path in named] == [apart / "photos" / f"{name}.jpg" for name in "ab"]


def test_images_of_many_files_are_in_another_folder(tagger, apart):
    given = ["--input", apart / "posts" / "lines.jsonl", "--output"]
    lost = mmkit_predict(tagger, *given, f"{apart / 'lost'}/")
    assert "2 broken records" in lost.output
    refused = answers(apart / "lost" / "errors.jsonl")
    assert all("--images FOLDER" in record["hint"] for record in refused)
    found = mmkit_predict(tagger, *given, f"{apart / 'found'}/", "--images", apart / "photos")
    assert found.exit_code == 0, found.output
    whole = mmkit_predict(tagger, *given, apart / "one.jsonl", "--images", apart / "photos")
    assert whole.exit_code == 0, whole.output
    assert [x["entities"] for x in answers(apart / "found" / "lines.jsonl")] == [
        x["entities"] for x in answers(apart / "one.jsonl")
    ]


def test_a_folder_of_images_needs_an_input(tagger, tmp_path):
    done = mmkit_predict(tagger, "--text", "Jordan again", "--images", tmp_path)
    assert done.exit_code == 2 and "an image of --text is given with --image" in done.output
