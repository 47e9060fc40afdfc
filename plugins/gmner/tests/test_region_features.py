"""Features of regions from files as H-Index's authors describe them: which row a region gets, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from mmkit import load_recipe
from mmkit.batch import Features
from mmkit.data.types import Example, Image
from mmkit.testing import check_encoder, train_on_sample
from mmkit_gmner.proposals import Proposals
from mmkit_gmner.region_features import RegionFeatures
from raising import raises

BOXES = [[0.5, 0, 40, 40], [1, 1, 40, 40], [50, 10, 101, 45], [0, 0, 5, 5]]
SCORES = [0.5, 0.9, 0.8, 0.1]
ROWS = np.random.default_rng(1).random((5, 2048), dtype=np.float32)
"""A file may have more features than boxes: `num_boxes` counts."""


@pytest.fixture
def photo(tmp_path: Path) -> Example:
    Picture.new("RGB", (100, 50)).save(tmp_path / "1.png")
    return Example.from_tokens("1", ("a",), images=(Image(str(tmp_path / "1.png")),))


def written(folder: Path, **changes: Any) -> Path:
    """A file in the published layout."""
    arrays = {
        "num_boxes": 4,
        "box_features": ROWS,
        "bounding_boxes": np.array(BOXES, dtype=np.float32),
        "scores": np.array(SCORES, dtype=np.float32),
        "objects": np.array(["man", "person", "dog", "x"], dtype=object),  # pickled, and never unpickled
        **changes,
    }
    np.savez(folder / "1.jpg.npz", **{name: value for name, value in arrays.items() if value is not None})
    return folder / "1.jpg.npz"


def proposed(x: Example, folder: Path) -> Example:
    annotator = Proposals(source="vinvl", folder=str(folder))
    (result,) = annotator.annotate([x])
    found = annotator.apply(x, result)
    assert isinstance(found, Example)
    return found


def encoded(*examples: Example, folder: Path, missing: str = "error", **settings: Any) -> Features:
    encoder = RegionFeatures(str(folder), **settings)
    encoder.build()
    encoder.missing.policy = missing  # type: ignore[assignment]
    return encoder(encoder.collate(examples, [{}] * len(examples)))


def test_each_region_gets_its_own_features_and_the_whole_photo_their_mean(
    tmp_path: Path, photo: Example
) -> None:
    written(tmp_path)
    x = proposed(photo, tmp_path)
    assert [image.box for image in x.images[1:]] == [(0, 0, 100, 50), (1, 1, 40, 40), (50, 10, 100, 45)]
    found = encoded(x, photo, folder=tmp_path)
    assert found["mask"].tolist() == [[True] * 3, [False] * 3]
    wanted = np.stack([ROWS[:4].mean(0), ROWS[1], ROWS[2]])
    assert found["pooled"][0].numpy() == pytest.approx(wanted, abs=1e-6)
    assert not found["pooled"][1].any()
    assert torch.equal(encoded(x, folder=tmp_path, slots=2)["pooled"], found["pooled"][:1, :2])


def test_other_features_in_the_same_place_are_other_items(tmp_path: Path, photo: Example) -> None:
    written(tmp_path)
    x = proposed(photo, tmp_path)
    source = RegionFeatures(str(tmp_path)).source
    keys = [key for key, _ in source.items(x, RegionFeatures(str(tmp_path)).missing)]
    first = encoded(x, folder=tmp_path)["pooled"]
    written(tmp_path, box_features=ROWS * 2, objects=None)  # of another size: times of files are coarse
    again = [key for key, _ in source.items(x, RegionFeatures(str(tmp_path)).missing)]
    assert set(keys) & set(again) == {"blank"}
    assert encoded(x, folder=tmp_path)["pooled"].numpy() == pytest.approx(2 * first.numpy(), rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"box_features": ROWS[:, :1024]}, "1,024 numbers each, but the encoder reads 2,048"),
        ({"box_features": None}, "no `box_features`"),
        ({"box_features": ROWS[:3]}, r"shape \[3, 2048\], for 4 boxes"),
        ({"box_features": ROWS[0]}, r"shape \[2048\], for 4 boxes"),
        ({"box_features": np.full_like(ROWS, np.nan)}, "not all finite"),
        ({"box_features": ROWS.astype(np.float64) * 1e300}, "numbers beyond"),
        ({"box_features": ROWS.astype(object)}, "`box_features` are Python objects"),
        ({"box_features": ROWS.astype(str)}, "not numbers"),
        ({"bounding_boxes": np.array(BOXES) + 0.25}, r"none of its regions is \[1\.0, 1\.0, 40\.0, 40\.0\]"),
        ({"bounding_boxes": np.array(BOXES) * 2}, "over the edge"),
    ],
)
def test_a_file_that_does_not_fit_is_one_message(
    tmp_path: Path, photo: Example, changes: dict[str, Any], said: str
) -> None:
    written(tmp_path)
    x = proposed(photo, tmp_path)
    written(tmp_path, **changes)
    for policy in ("error", "blank"):
        with raises("gmner.regions", match=said) as caught:
            encoded(x, folder=tmp_path, missing=policy)
        assert "1.jpg.npz" in str(caught.value) and caught.value.hint


def test_a_damaged_file_is_one_message(tmp_path: Path, photo: Example) -> None:
    file = written(tmp_path)
    x = proposed(photo, tmp_path)
    file.write_bytes(file.read_bytes()[:5000])
    with raises("gmner.regions", match=r"1\.jpg\.npz: it cannot be read"):
        encoded(x, folder=tmp_path)


def test_a_photo_without_a_file_is_a_missing_image(tmp_path: Path, photo: Example) -> None:
    x = replace(photo, images=(*photo.images, Image(photo.images[0].path, "object", (0.0, 0.0, 100.0, 50.0))))
    with raises("gmner.no-features", match=r"1\.jpg\.npz"):
        encoded(x, folder=tmp_path)
    found = encoded(x, folder=tmp_path, missing="blank")
    assert found["mask"].tolist() == [[False]] and found["pooled"].shape == (1, 1, 2048)
    with raises("file.missing", match="no such folder of regions"):
        RegionFeatures(str(tmp_path / "no")).check_there()


@pytest.mark.parametrize("settings", [{"slots": 0}, {"width": 0}])
def test_settings_that_cannot_be_are_refused(settings: dict[str, int]) -> None:
    with raises("part.setting", match="must be at least 1"):
        RegionFeatures("x", **settings)


def test_the_contract(tmp_path: Path, photo: Example) -> None:
    written(tmp_path)
    x = proposed(photo, tmp_path)
    alone = Example.from_tokens("2", ("a", "b"))
    check_encoder(
        RegionFeatures(str(tmp_path)), folder=tmp_path / "own", examples=[x, alone, replace(x, id="3")]
    )


@pytest.mark.matrix
def test_a_model_learns_from_the_files_alone_what_a_photo_shows(tmp_path: Path) -> None:
    text = Path(load_recipe("gmner_boxes").path or "").read_text(encoding="utf-8")
    begin, end = text.index("[model.encoders.regions]"), text.index("[model.fuser]")
    own = '[model.encoders.regions]\n@encoders = "gmner.region_features.v1"\nfolder = "vinvl"\nslots = 16\n\n'
    (tmp_path / "own.cfg").write_text(text[:begin] + own + text[end:], encoding="utf-8")
    figures = train_on_sample(tmp_path / "own.cfg", tmp_path / "run").figures["test"]
    assert figures["triples.mner_f1"] > 0.95 and figures["triples.region_accuracy"] > 0.9
