"""Images are found under the names that people and tools give them."""

from __future__ import annotations

import json
import os.path
import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image as Pillow

from mmkit.data.conll import ConllImagesReader
from mmkit.data.image_paths import Photos, meant, why_missing
from mmkit.data.image_report import scan_images
from mmkit.data.images import open_image
from mmkit.data.jsonl import JsonlReader
from mmkit.data.mnre import MnreReader
from mmkit.data.types import Example, Image
from raising import raises


def photo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.new("RGB", (4, 4), "red").save(path, "PNG")
    return path


@pytest.mark.parametrize("file", ["100.jpg", "100.png", "100.JPG", "100.webp", "100.JPEG", "100.Tif"])
@pytest.mark.parametrize(
    "name", ["100", "100.jpg", "100.JPG", "images/100", "other/100", "images/100.jpg", "x\\100"]
)
def test_a_photo_is_found_by_its_stem(tmp_path: Path, file: str, name: str) -> None:
    expected = photo(tmp_path / "images" / file)
    repairs: Counter[str] = Counter()
    assert Path(Photos(str(tmp_path / "images"), repairs).path(name)) == expected


def test_the_plain_name_is_taken_without_a_word(tmp_path: Path) -> None:
    photo(tmp_path / "1.jpg")
    photo(tmp_path / "1.png")
    repairs: Counter[str] = Counter()
    assert Photos(str(tmp_path), repairs).path("1") == str(tmp_path / "1.jpg")
    assert Photos(str(tmp_path), repairs, "").path("1.png") == str(tmp_path / "1.png")
    assert not repairs


def test_a_photo_with_another_ending_is_counted(tmp_path: Path) -> None:
    photo(tmp_path / "1.png")
    repairs: Counter[str] = Counter()
    Photos(str(tmp_path), repairs).path("1")
    assert repairs == {"photo found by its name with another ending": 1}


def test_two_photos_of_one_name_are_an_error(tmp_path: Path) -> None:
    photo(tmp_path / "1.png")
    photo(tmp_path / "1.webp")
    with raises("image.ambiguous", match=r"train\.txt:3: .*'1'.*1\.png.*1\.webp"):
        Photos(str(tmp_path), Counter()).path("1", "train.txt:3")


def test_the_case_of_the_name_decides_where_several_differ_in_it(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    photo(tmp_path / "A.png")
    photos = Photos(str(tmp_path), Counter())
    assert (photos.path("a"), photos.path("A")) == (str(tmp_path / "a.png"), str(tmp_path / "A.png"))


def test_a_missing_photo_keeps_the_name_that_it_should_have(tmp_path: Path) -> None:
    photos = Photos(str(tmp_path), Counter())
    assert photos.path("7") == str(tmp_path / "7.jpg")
    assert photos.path("7.png") == str(tmp_path / "7.png")
    assert Photos(str(tmp_path / "none"), Counter()).path("7") == str(tmp_path / "none" / "7.jpg")


def test_a_folder_that_grows_is_listed_again(tmp_path: Path) -> None:
    photos = Photos(str(tmp_path), Counter())
    assert photos.path("1").endswith("1.jpg")
    photo(tmp_path / "1.webp")
    assert photos.path("1").endswith("1.webp")


@pytest.mark.parametrize("file", ["100.png", "100.JPG"])
@pytest.mark.parametrize("name", ["100", "100.jpg", "images/100"])
def test_a_conll_file_finds_its_photos(tmp_path: Path, file: str, name: str) -> None:
    expected = photo(tmp_path / "images" / file)
    (tmp_path / "train.txt").write_text(f"IMGID:{name}\nlook\tO\n\n")
    (tmp_path / "crops.json").write_text(json.dumps({"100.jpg": ["c.jpg"]}))
    reader = ConllImagesReader(str(tmp_path), "train.txt", crops="crops.json")
    (example,) = reader
    assert [Path(image.path or "").name for image in example.images] == [expected.name, "c.jpg"]
    assert scan_images([example]).photos_missing == 0


def test_mnre_finds_photos_with_another_ending(tmp_path: Path) -> None:
    photo(tmp_path / "images" / "t_1.png")
    record = {"token": ["a", "b"], "h": {"name": "a", "pos": [0, 1]}, "t": {"name": "b", "pos": [1, 2]}}
    (tmp_path / "train.txt").write_text(repr({**record, "img_id": "t_1.jpg", "relation": "None"}) + "\n")
    (example,) = MnreReader(str(tmp_path), "train.txt", images="images")
    assert Path(example.images[0].path or "").name == "t_1.png"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    photo(tmp_path / "home" / "photos" / "1.jpg")
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("written", "how"),
    [
        ("photos\\1.jpg", "with forward slashes"),
        ("photos/a%20b.jpg", "without percent codes"),
        ("photos/C.jpg", "in other case"),
        (unicodedata.normalize("NFD", "photos/café.jpg"), "in the other Unicode form"),
        ("~/photos/1.jpg", "in the home folder"),
    ],
)
def test_paths_from_elsewhere_are_found_and_counted(
    tmp_path: Path, home: Path, written: str, how: str
) -> None:
    for name in ("1.jpg", "a b.jpg", "c.JPG", "café.jpg"):
        photo(tmp_path / "photos" / name)
    (tmp_path / "mine.jsonl").write_text(
        '{"format": 1, "kind": "examples"}\n' + json.dumps({"text": "look", "images": [written]}) + "\n"
    )
    reader = JsonlReader(str(tmp_path), "mine.jsonl")
    (example,) = reader
    assert isinstance(example, Example) and scan_images([example]).present == 1
    assert reader.repairs == {f"image path found {how}": 1}


def test_a_file_address_is_found(tmp_path: Path) -> None:
    path = photo(tmp_path / "a b.jpg")
    assert meant(path.as_uri()) == meant(f"./{path.as_uri()}") == str(path)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("https://example.org/1.jpg", "web address"),
        ("./s3://bucket/1.jpg", "web address"),
        ("C:\\Users\\me\\photos\\1.jpg", "Windows"),
        ("./D:/photos/1.jpg", "Windows"),
        ("photos\\none.jpg", "forward slashes"),
        ("~/none.jpg", "home folder"),
        ("file:///none/1.jpg", "file:// address"),
        ("no%20such.jpg", "percent codes"),
    ],
)
def test_what_cannot_be_found_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert meant(path) == path
    assert why in why_missing(path)


def test_why_names_what_is_there_instead(tmp_path: Path) -> None:
    photo(tmp_path / "1.png")
    assert "1.png" in why_missing(str(tmp_path / "1.jpg"))
    assert "does not exist" in why_missing(str(tmp_path / "nowhere" / "1.jpg"))
    photo(tmp_path / "x.jpg")
    assert why_missing(str(tmp_path / "7.jpg")) == ""


@pytest.mark.parametrize("address", ["https://example.org/p/1.jpg?size=large", "s3://bucket//a/../1.jpg"])
@pytest.mark.parametrize("root", ["", "photos", "."])
def test_an_address_is_shown_as_it_was_written(address: str, root: str) -> None:
    report = scan_images([Example.from_tokens("a", ["w"], images=(Image(os.path.join(root, address)),))])  # noqa: PTH118
    assert f"1 missing: {address} (this is a web address" in report.faults()
    with raises("image.missing", match=re.escape(f"{address}: ")):
        open_image(Image(os.path.join(root, address)))  # noqa: PTH118
