"""The authors' parts and profiles, in the form they publish them, and what may be wrong with such files."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from mmkit.annotators.run import annotate
from mmkit.data.images import open_image
from mmkit.data.types import Example, Image
from mmkit_dwe.profiles import NOTE
from mmkit_dwe.published import PublishedParts
from raising import raises

FACE = {
    "age": 31,
    "region": {"x": 1, "y": 2, "w": 3, "h": 4},
    "gender": "Man",
    "dominant_gender": "Man",
    "dominant_race": "white",
    "dominant_emotion": "happy",
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two parts of the photo `a.b.jpg`, the second without a face, and one of `c.jpg`."""
    root = tmp_path / "wikimel"
    (root / "wiki_segement").mkdir(parents=True)
    (root / "wiki_detection").mkdir()
    write_map(root, {"a": ["a_0", "a_1"], "c": ["c_0"]})
    for i, (part, faces) in enumerate({"a_0": [FACE], "a_1": [{}], "c_0": []}.items()):
        Pillow.new("RGB", (8 + i, 8), "red").save(root / "wiki_segement" / f"{part}.jpg")
        (root / "wiki_detection" / f"{part}.json").write_text(json.dumps(faces))
    return root


def write_map(root: Path, table: Any) -> None:
    (root / "total2part_map.json").write_text(json.dumps(table))


def post(*names: str, id: str = "x") -> Example:
    return Example.from_tokens(id, ["who"], images=tuple(Image(f"photos/0/{name}") for name in names))


def test_adds_the_authors_parts_and_profiles(root: Path) -> None:
    (x,) = annotate(PublishedParts(str(root)), [post("a.b.jpg")])
    assert [image.role for image in x.images] == ["photo", "object", "object"]
    assert [open_image(image).width for image in x.images[1:]] == [8, 9]
    assert x.notes[NOTE] == ["gender: Man, race: white, age: 31, emotion: happy", ""]


def test_photos_that_the_map_does_not_name_have_no_parts(root: Path) -> None:
    blank = Example.from_tokens("n", ["who"], images=(Image(None),))
    annotated = annotate(PublishedParts(str(root)), [post("z.jpg"), post(id="y"), blank])
    assert [len(x.images) for x in annotated] == [1, 0, 1]
    assert [x.notes[NOTE] for x in annotated] == [[], [], []]


def test_all_photos_of_an_example_bring_their_parts(root: Path) -> None:
    (x,) = annotate(PublishedParts(str(root)), [post("c.png", "a.jpg")])
    assert [Path(str(image.path)).stem for image in x.images[2:]] == ["c_0", "a_0", "a_1"]
    assert [bool(text) for text in x.notes[NOTE]] == [False, True, False]


def test_the_whole_name_goes_before_its_beginning(root: Path) -> None:
    write_map(root, {"a": ["a_0"], "a.b": ["a_1"]})
    (x,) = annotate(PublishedParts(str(root)), [post("a.b.jpg")])
    assert [Path(str(image.path)).stem for image in x.images[1:]] == ["a_1"]


def test_without_face_files_there_are_no_profiles(root: Path) -> None:
    (x,) = annotate(PublishedParts(str(root), detections=None), [post("a.jpg")])
    assert len(x.images) == 3
    assert NOTE not in x.notes


def test_changed_files_change_results_and_only_theirs(root: Path) -> None:
    def annotated() -> list[Example]:
        return annotate(PublishedParts(str(root)), [post("a.jpg"), post("c.jpg", id="y")])

    before, keys = annotated(), [PublishedParts(str(root)).key(post(n)) for n in ("a.jpg", "c.jpg")]
    (root / "wiki_detection" / "a_1.json").write_text(json.dumps([{**FACE, "age": 60.4}]))
    write_map(root, {"a": ["a_1"], "c": ["c_0"]})
    after = annotated()
    assert after[0].notes[NOTE] == ["gender: Man, race: white, age: 60, emotion: happy"]
    assert len(after[0].images) == 2
    assert after[1] == before[1]
    now = [PublishedParts(str(root)).key(post(n)) for n in ("a.jpg", "c.jpg")]
    assert (now[0] == keys[0], now[1] == keys[1]) == (False, True)


def test_a_moved_folder_needs_nothing_new_and_gives_its_own_paths(root: Path, tmp_path: Path) -> None:
    before = PublishedParts(str(root)).key(post("a.jpg"))
    moved = root.rename(tmp_path / "moved")
    assert PublishedParts(str(moved)).key(post("a.jpg")) == before
    (x,) = annotate(PublishedParts(str(moved)), [post("a.jpg")])
    assert all(Path(str(image.path)).is_relative_to(moved) for image in x.images[1:])


@pytest.mark.parametrize(
    ("file", "lack"), [("wiki_segement/a_1.jpg", "no image"), ("wiki_detection/a_0.json", "no face file")]
)
def test_a_file_that_does_not_exist_is_an_error_that_names_it(root: Path, file: str, lack: str) -> None:
    (root / file).unlink()
    with raises("dwe.no-attribute", match=f"the part '{Path(file).stem}' of 'a' in .* has {lack}") as caught:
        annotate(PublishedParts(str(root)), [post("a.jpg")])
    assert caught.value.where == str(root / file)
    assert 'missing = "none"' in caught.value.hint


def test_files_that_do_not_exist_may_be_gone_without_and_are_counted(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (root / "wiki_segement" / "a_1.jpg").unlink()
    (root / "wiki_detection" / "a_0.json").unlink()
    for _ in range(2):  # the second time from the store
        parts = PublishedParts(str(root), missing="none")
        with caplog.at_level(logging.WARNING):
            (x,) = annotate(parts, [post("a.jpg")])
        assert [Path(str(image.path)).stem for image in x.images[1:]] == ["a_0"]
        assert x.notes[NOTE] == [""]
        assert {Path(path).name for path in parts.missed} == {"a_1.jpg", "a_0.json"}
        assert "2 files that total2part_map.json asks for do not exist" in caplog.text
        caplog.clear()
    with raises("dwe.no-attribute"):  # what was stored then is no excuse now
        annotate(PublishedParts(str(root)), [post("a.jpg")])


def test_a_map_that_does_not_exist_is_an_error_whatever_may_be_missing(root: Path) -> None:
    with raises("file.missing") as caught:
        annotate(PublishedParts(str(root), map="nowhere.json", missing="none"), [post("a.jpg")])
    with raises("file.missing"):
        PublishedParts(str(root), map="nowhere.json", missing="none").check_there()
    assert "nowhere.json" in caught.value.where
    assert "DWE" in caught.value.hint


@pytest.mark.parametrize(
    ("table", "code", "says"),
    [
        (["a"], "dwe.parts-map", ""),
        ({"a": "a_0"}, "dwe.parts-map", "'a'"),
        ({"a": ["a_0", 3]}, "dwe.parts-map", "'a'"),
        ({"a": ["../secret"]}, "dwe.part-outside", r"'\.\./secret'"),
        ({"a": ["/etc/passwd"]}, "dwe.part-outside", "'/etc/passwd'"),
        ({"a": ["x/../../y"]}, "dwe.part-outside", ""),
        ({"a": [""]}, "dwe.part-outside", ""),
        ({"a": ["a\0"]}, "dwe.part-outside", ""),
    ],
)
def test_a_map_of_another_form_is_refused(root: Path, table: Any, code: str, says: str) -> None:
    write_map(root, table)
    with raises(code, match=says) as caught:
        annotate(PublishedParts(str(root)), [post("z.jpg")])
    assert caught.value.where == str(root / "total2part_map.json")


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("[{", "json.syntax", ""),
        ('{"age": 3}', "dwe.faces-file", ""),
        ("[3]", "dwe.faces-file", ""),
        ('[{"age": [3]}]', "dwe.faces-file", "`age`"),
        ('[{"dominant_race": {}}]', "dwe.faces-file", "`dominant_race`"),
    ],
)
def test_a_face_file_of_another_form_is_refused(root: Path, text: str, code: str, says: str) -> None:
    (root / "wiki_detection" / "a_0.json").write_text(text)
    with raises(code, match=says) as caught:
        annotate(PublishedParts(str(root), missing="none"), [post("a.jpg")])
    assert "a_0.json" in caught.value.where


def test_the_constructor_reads_nothing() -> None:
    assert PublishedParts("/nowhere/at/all").fingerprint() == PublishedParts("elsewhere").fingerprint()


def test_the_sample_has_parts_and_profiles_of_every_photo_in_the_folder(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(12):
        colours = np.random.default_rng(i).integers(0, 255, (16, 24, 3), dtype=np.uint8)
        Pillow.fromarray(colours).save(photos / f"{i}.png")
    examples = [
        Example.from_tokens(str(i), ["who"], images=(Image(str(photos / f"{i}.png")),)) for i in range(12)
    ]
    overrides = PublishedParts.sample(tmp_path / "sample", 3, examples[:4])
    assert PublishedParts.sample(tmp_path / "sample", 3, examples[:4]) == overrides
    annotated = annotate(PublishedParts(**overrides), examples)
    assert [open_image(x.images[1]).size for x in annotated] == [(12, 8)] * 12
    profiles = [x.notes[NOTE][0] for x in annotated]
    assert len(set(profiles)) > 2
    assert all(text == "" or text.startswith("gender: ") for text in profiles)
