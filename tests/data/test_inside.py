"""What a file of a stranger may name: no picture outside the folder of pictures that the user gave."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from mmkit.data.image_paths import Photos
from mmkit.data.images import content_key, open_image
from mmkit.data.inside import from_outside, inside
from mmkit.data.types import Image
from mmkit.errors import DataError, ImageError
from mmkit.registry import build_part
from raising import raises

POST = "Jordan\tB-PER\n"
PAIR = {
    "token": ["a", "b"],
    "h": {"name": "a", "pos": [0, 1]},
    "t": {"name": "b", "pos": [1, 2]},
    "relation": "None",
}
CAPTION = {"sentence": "Jordan", "mentions": "Jordan", "answer": "Q1"}
JMERE = {"sentence": "a b", "entities": [], "relations": []}
TASK = {"text": "Jordan"}


def with_crops(name: str) -> dict[str, str]:
    return {"f": f"IMGID:1\n{POST}", "c.json": json.dumps({"1.jpg": [name]})}


READERS: dict[str, tuple[dict[str, Any], Any]] = {
    "mmkit.conll_images.v1": ({"images": "images"}, lambda name: {"f": f"IMGID:{name}\n{POST}"}),
    "mmkit.conll_images.v1 crops": ({"crops": "c.json", "crop_images": "images"}, with_crops),
    "mmkit.mnre.v1": ({"images": "images"}, lambda name: {"f": f"{PAIR | {'img_id': name}}\n"}),
    "mmkit.wikimel.v1": (
        {"images": "images"},
        lambda name: {"f": json.dumps({"1": CAPTION | {"imgPath": name}})},
    ),
    "mmkit.richpedia.v1": (
        {"images": "images"},
        lambda name: {"f": json.dumps({"1": CAPTION | {"img_list": [name]}})},
    ),
    "mmkit.kb_json.v1": ({"images": "images"}, lambda name: {"f": json.dumps({name: "a text"})}),
    "mimic.entities.v1": (
        {"images": "images"},
        lambda name: {
            "f": json.dumps([{"id": 0, "type": "entity", "entity_name": "J", "image_list": [name]}]),
            "qid2id.json": json.dumps({"Q1": 0}),
        },
    ),
    "formats.conll.v1": ({"images": "images"}, lambda name: {"f": f"IMGID:{name}\n{POST}"}),
    "formats.label_studio.v1": (
        {"local_files": "images", "unannotated": "keep"},
        lambda name: {"f": json.dumps([{"data": {**TASK, "image": f"/data/local-files/?d={name}"}}])},
    ),
    "gmner.twitter10000.v1": (
        {"images": "images", "boxes": None},
        lambda name: {"f": f"IMGID:{name}\n{POST}"},
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`data/images` with two pictures, and one beside `data` that no file in it may name."""
    (tmp_path / "data" / "images" / "x").mkdir(parents=True)
    for name in ("data/images/1.jpg", "data/images/x/2.jpg", "secret.jpg"):
        Pillow.new("RGB", (4, 4), "red").save(tmp_path / name)
    return tmp_path / "data"


def read(folder: Path, kind: str, name: str) -> list[str]:
    """The paths of the pictures that a reader finds for `name`."""
    settings, files = READERS[kind]
    for file, text in files(name).items():
        (folder / file).write_text(text, encoding="utf-8")
    reader = build_part("readers", kind.split(maxsplit=1)[0], {"root": str(folder), "file": "f", **settings})
    return [str(image.path) for record in reader for image in record.images]


@pytest.mark.parametrize("kind", READERS)
def test_no_reader_looks_outside_its_folder_of_pictures(folder: Path, kind: str) -> None:
    for name in ("../../secret.jpg", str(folder.parent / "secret.jpg"), "x/../../../secret.jpg"):
        with raises("data.leads-out", match=r"secret\.jpg"):
            read(folder, kind, name)
    assert any(path.endswith("images/x/2.jpg") for path in read(folder, kind, "x/2.jpg"))


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    "name", ["a" * 5000 + ".jpg", "%2e%2e/%2e%2e/secret.jpg", "C:\\photos\\9.jpg", "~/9.jpg", "a\0.jpg"]
)
def test_a_name_that_no_file_has_is_one_message(folder: Path, kind: str, name: str) -> None:
    try:
        paths = read(folder, kind, name)
    except DataError as error:  # a line with a byte of 0, for example
        assert error.where
        return
    named = {path for path in paths if not path.endswith("images/1.jpg")}
    assert len(named) == 1
    for opened in (open_image, content_key):
        with pytest.raises(ImageError):
            opened(Image(*named))


def test_a_path_of_another_machine_is_found_by_its_last_part(folder: Path) -> None:
    photos = Photos(str(folder / "images"), Counter())
    assert photos.path("/home/authors/data/1.jpg") == str(folder / "images" / "1.jpg")
    assert photos.path("../img/1") == str(folder / "images" / "1.jpg")
    assert photos.path("/home/authors/data/9.jpg") == str(folder / "images" / "9.jpg")  # a missing image
    with raises("data.leads-out", match=r"f:3: .*'\.\.'"):
        photos.path("..", "f:3")
    # the folder's own name is left out of a name, and what follows leads out
    assert photos.path("images/../../../secret.jpg") == str(folder / "images" / "secret.jpg")


def test_links_that_the_user_made_are_followed(folder: Path) -> None:
    (folder / "images" / "link.jpg").symlink_to(folder.parent / "secret.jpg")
    (folder / "images" / "loop.jpg").symlink_to("loop.jpg")
    photos = Photos(str(folder / "images"), Counter())
    assert open_image(Image(photos.path("link.jpg"))).size == (4, 4)
    with pytest.raises(ImageError):
        open_image(Image(photos.path("loop.jpg")))


def test_inside() -> None:
    assert inside("", "a/b") == "a/b"
    assert inside("/", "a") == "/a"
    assert inside("/top/", "/top/a/../b") == "/top/b"
    assert [inside("", name) for name in ("..", "../a", "/a", ".", "a/../..")] == [None] * 5
    assert inside("/top", "/topmost/a") is None


def test_the_folders_of_a_reader(folder: Path) -> None:
    place = {"root": str(folder), "file": "f"}
    crops = build_part("readers", "mmkit.conll_images.v1", place | {"images": "../other", "crop_images": "c"})
    assert crops.picture_folders() == [str(folder), f"{folder}/../other", f"{folder}/c"]
    assert build_part("readers", "mmkit.jsonl.v1", place).picture_folders() == [str(folder)]
    uploads = build_part("readers", "formats.label_studio.v1", place | {"uploads": ["a", "b"]})
    assert uploads.picture_folders() == [str(folder), f"{folder}/a", f"{folder}/b", f"{folder}/"]


def test_from_outside_follows_links(folder: Path) -> None:
    link = folder / "images" / "link.jpg"
    link.symlink_to(folder.parent / "secret.jpg")
    paths = [str(folder / "images" / "1.jpg"), str(link), None, "a\0b", str(link)]
    assert from_outside(paths, [folder]) == [str(link), "a\0b"]
    assert from_outside(paths[:3], [folder.parent]) == []
