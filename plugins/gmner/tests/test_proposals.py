"""Regions of photos: from files as VinVL's detector gives them, from a detector, and what is kept of them."""

from __future__ import annotations

import logging
import pickle
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from mmkit.data.types import Example, Image
from mmkit.testing import check_annotator
from mmkit_gmner.proposals import NOTE, Proposals
from mmkit_gmner.vinvl import read_regions
from raising import raises

BOXES = [[0, 0, 40, 40], [1, 1, 40, 40], [50, 10, 90, 45], [0, 0, 5, 5]]


@pytest.fixture
def photo(tmp_path: Path) -> Example:
    Picture.new("RGB", (100, 50)).save(tmp_path / "1.jpg")
    return Example.from_tokens("1", ("a",), images=(Image(str(tmp_path / "1.jpg")),))


def written(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "1.jpg.npz", **{name: np.array(value) for name, value in arrays.items()})
    return folder / "1.jpg.npz"


def proposed(x: Example, folder: Path, **settings: Any) -> Example:
    annotator = Proposals(source="vinvl", folder=str(folder), **settings)
    (result,) = annotator.annotate([x])
    found = annotator.apply(x, result)
    annotator.finish()
    assert isinstance(found, Example)
    return found


def test_the_whole_photo_comes_first_and_overlapping_regions_once(tmp_path: Path, photo: Example) -> None:
    written(
        tmp_path, bounding_boxes=BOXES, scores=[0.5, 0.9, 0.8, 0.1], objects=["man", "person", "dog", "x"]
    )
    found = proposed(photo, tmp_path)
    assert [image.box for image in found.images[1:]] == [(0, 0, 100, 50), (1, 1, 40, 40), (50, 10, 90, 45)]
    assert all(image.path == photo.images[0].path and image.role == "object" for image in found.images[1:])
    assert [n["label"] for n in found.notes[NOTE]] == ["photo", "person", "dog"]
    assert len(proposed(photo, tmp_path, most=2).images) == 3
    written(tmp_path, bounding_boxes=BOXES[:3], scores=[9.0, 8.0, 7.0])  # no probabilities
    assert [image.box for image in proposed(photo, tmp_path, most=2).images[1:]] == [
        (0, 0, 100, 50),
        (0, 0, 40, 40),
    ]
    written(tmp_path, bounding_boxes=BOXES, scores=[0.5, 0.9, 0.8, 0.1])
    assert len(proposed(photo, tmp_path, overlap=1.0).images) == 5


def test_a_photo_without_a_file_has_only_itself(
    tmp_path: Path, photo: Example, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = proposed(photo, tmp_path / "none")
    assert [image.box for image in found.images[1:]] == [(0, 0, 100, 50)]
    assert "no region but the whole photo" in caplog.text


@pytest.mark.parametrize("path", [None, "missing.jpg"])
def test_a_photo_that_is_not_there_has_no_regions(tmp_path: Path, path: str | None) -> None:
    x = Example.from_tokens("1", ("a",), images=(Image(path and str(tmp_path / path)),))
    annotator = Proposals(source="vinvl", folder=str(tmp_path))
    if annotator.key(x):
        (result,) = annotator.annotate([x])
        assert result["unreadable"] and annotator.apply(x, result).images == x.images
    else:
        assert path is None


def test_results_are_stored_by_the_photo_and_its_regions(tmp_path: Path, photo: Example) -> None:
    annotator = Proposals(source="vinvl", folder=str(tmp_path))
    keys = [annotator.key(photo)]
    written(tmp_path, bounding_boxes=BOXES)
    keys.append(annotator.key(photo))
    written(tmp_path, bounding_boxes=BOXES[:1])
    keys.append(annotator.key(photo))
    assert len(set(keys)) == 3
    assert annotator.fingerprint() != Proposals(source="vinvl", folder=str(tmp_path), most=3).fingerprint()


def test_regions_of_a_file(tmp_path: Path) -> None:
    file = written(tmp_path, bounding_boxes=[[-1, 0, 10, 10], [0, 0, 101, 50], [0, 0, 1, 1]], num_boxes=2)
    assert read_regions(file, (100, 50)) == [((0, 0, 10, 10), "", 1), ((0, 0, 100, 50), "", 1)]


class Evil:
    """What must not run when a file is read."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("pickled code ran",))


def test_pickled_names_are_left_out_and_nothing_runs(tmp_path: Path) -> None:
    np.savez(tmp_path / "1.jpg.npz", bounding_boxes=np.array(BOXES), objects=np.array([Evil()], dtype=object))
    assert len(read_regions(tmp_path / "1.jpg.npz", (100, 50))) == 4
    (tmp_path / "2.npz").write_bytes(pickle.dumps(Evil()))
    with raises("gmner.regions"):
        read_regions(tmp_path / "2.npz", (100, 50))


@pytest.mark.parametrize(
    "arrays",
    [
        {"scores": [0.5]},
        {"bounding_boxes": [[1, 2, 3]]},
        {"bounding_boxes": [["a", "b", "c", "d"]]},
        {"bounding_boxes": [[0, 0, np.nan, 5]]},
        {"bounding_boxes": [[0, 0, 200, 100]]},  # of a larger copy of the photo
        {"bounding_boxes": BOXES, "num_boxes": [1, 2]},
        {"bounding_boxes": BOXES, "num_boxes": "two"},
        {"bounding_boxes": BOXES, "num_boxes": np.nan},
        {"bounding_boxes": BOXES, "num_boxes": -1},
        {"bounding_boxes": BOXES, "num_boxes": 1.5},
        {"bounding_boxes": BOXES, "scores": ["good"] * 4},
        {"bounding_boxes": BOXES, "scores": [0.5, np.nan, 0.5, 0.5]},
        {"bounding_boxes": BOXES, "scores": [0.5]},
        {"bounding_boxes": BOXES, "scores": np.array([Evil()] * 4, dtype=object)},
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, arrays: dict[str, Any]) -> None:
    with raises("gmner.regions", match="1.jpg.npz"):
        read_regions(written(tmp_path, **arrays), (100, 50))


def test_boxes_without_a_sign_are_inside(tmp_path: Path) -> None:
    file = written(tmp_path, bounding_boxes=np.array(BOXES, dtype=np.uint16), num_boxes=[2])
    assert [box for box, _, _ in read_regions(file, (100, 50))] == [(0, 0, 40, 40), (1, 1, 40, 40)]


def refused_cheaply(file: Path, match: str) -> None:
    tracemalloc.start()
    try:
        with raises("gmner.regions", match=match):
            read_regions(file, (100, 50))
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("rows", [2 * 10**12, 10**30, -4, 600_000])
def test_the_size_is_looked_at_before_an_array_is_read(tmp_path: Path, rows: int) -> None:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({rows}, 4)}}\n".encode()
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(tmp_path / "1.jpg.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bounding_boxes.npy", data + bytes(600_000 * 32 if rows == 600_000 else 0))
    refused_cheaply(tmp_path / "1.jpg.npz", f"1.jpg.npz: .*shape .{rows}, 4., which is too much")


@pytest.mark.parametrize("damage", ["npy", "deflate", "header", "version", "cut off"])
def test_a_damaged_file_is_one_message(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "1.jpg.npz"
    np.savez_compressed(file, bounding_boxes=np.arange(400.0).reshape(100, 4))
    content = bytearray(file.read_bytes())
    if damage == "npy":
        np.save(tmp_path / "1.npy", np.array(BOXES))
        content = bytearray((tmp_path / "1.npy").read_bytes())
    elif damage == "deflate":
        content[60:140] = b"\xff" * 80
    elif damage == "cut off":
        del content[len(content) // 2 :]
    file.write_bytes(content)
    if damage in ("header", "version"):
        with zipfile.ZipFile(file, "w") as archive:
            form = b"\x01\x00\x05\x00" if damage == "header" else b"\x03\x00\x05\x00\x00\x00"
            archive.writestr("bounding_boxes.npy", b"\x93NUMPY" + form + b"((((\n")
    refused_cheaply(file, "1.jpg.npz")


def test_names_that_are_no_text(tmp_path: Path) -> None:
    bytes_ = written(tmp_path, bounding_boxes=BOXES[:2], objects=np.array([b"dog", b"\xff\x1b["]))
    assert [name for _, name, _ in read_regions(bytes_, (100, 50))] == ["dog", "\ufffd␛["]
    for code in (0x110001, 0xFFFFFFFF):
        names = np.array([code], dtype=np.uint32).view("<U1")
        with raises("gmner.regions", match="1.jpg.npz: its `objects` cannot be read"):
            read_regions(written(tmp_path, bounding_boxes=BOXES[:1], objects=names), (100, 50))
    half = written(
        tmp_path, bounding_boxes=BOXES[:1], objects=np.array([0xD800], dtype=np.uint32).view("<U1")
    )
    ((_, name, _),) = read_regions(half, (100, 50))
    assert name.encode()  # it can be stored


def test_a_name_that_no_file_can_have_has_no_regions(tmp_path: Path, photo: Example) -> None:
    x = replace(photo, images=(Image(str(tmp_path / f"{'7' * 300}.jpg")),))
    assert Proposals(source="vinvl", folder=str(tmp_path)).key(x)


@pytest.mark.parametrize(
    "settings", [{"source": "vinvl"}, {"most": 0}, {"overlap": -1.0}, {"overlap": float("nan")}]
)
def test_settings_that_cannot_be(settings: dict[str, Any]) -> None:
    with raises("part.setting"):
        Proposals(**settings)


def test_a_folder_that_is_not_there_is_said_before_training(tmp_path: Path) -> None:
    with raises("file.missing"):
        Proposals(source="vinvl", folder=str(tmp_path / "no")).check_there()


def test_what_a_detector_finds(photo: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmkit_hvpnet import detector

    asked = []

    class Stand:
        def __init__(self, *settings: Any) -> None:
            asked.append(settings)

        def __call__(self, picture: Any, phrases: list[str], threshold: float) -> list[detector.Found]:
            assert phrases == ["logo"] and threshold == 0.3
            return [detector.Found((1, 2, 30, 40), 0.7, "logo")]

    monkeypatch.setattr(detector, "Detector", Stand)
    annotator = Proposals(model="m", phrases=["logo"], threshold=0.3)
    annotator.prepare("cpu")
    annotator.prepare("cpu")
    (result,) = annotator.annotate([photo])
    assert [region["box"] for region in result["regions"]] == [[0, 0, 100, 50], [1, 2, 30, 40]]
    assert asked == [("m", None, "cpu")]


def test_the_contract(tmp_path: Path) -> None:
    check_annotator("gmner.proposals.v1", folder=tmp_path)
