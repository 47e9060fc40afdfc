"""What annotators of pictures and of pretrained models share."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from mmkit.annotators.pictures import PictureAnnotator, picture_key
from mmkit.annotators.pretrained import loading, model_identity
from mmkit.annotators.run import annotate
from mmkit.data.types import Example, Image
from raising import raises


class Widths(PictureAnnotator):
    """Notes how wide the pictures are."""

    without = "no width"

    def fingerprint(self) -> str:
        return "widths"

    def key(self, x: Example) -> str:
        return "|".join(map(picture_key, x.images))

    def annotate(self, batch: Sequence[Example]) -> list[dict[str, Any]]:
        results = []
        for x in batch:
            unreadable: list[list[Any]] = []
            widths = {i: picture.width for i, picture in self.opened(enumerate(x.images), unreadable)}
            results.append({"widths": widths, "unreadable": unreadable})
        return results

    def apply(self, x: Example, result: dict[str, Any]) -> Example:
        self.remember(x.images, result["unreadable"])
        return replace(x, notes={"widths": {int(i): width for i, width in result["widths"].items()}})


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))


def picture(path: Path, width: int) -> Image:
    Pillow.new("RGB", (width, 5)).save(path)
    return Image(str(path))


def test_opens_what_can_be_opened_and_reports_the_rest_also_from_the_store(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = [
        picture(tmp_path / "a.png", 7),
        Image(None),
        *(Image(str(tmp_path / f"{i}.png")) for i in range(4)),
    ]
    images.append(picture(tmp_path / "b.png", 9))
    for _ in range(2):
        widths = Widths()
        with caplog.at_level(logging.WARNING):
            (x,) = annotate(widths, [Example.from_tokens("a", ["x"], images=tuple(images))])
        assert x.notes["widths"] == {0: 7, 6: 9}
        assert set(widths.unreadable) == {image.path for image in images[2:6]}
        assert caplog.text.count("no such image; it has no width") == 3
        assert "and 1 more of this kind" in caplog.text
        caplog.clear()


def test_a_pictures_key_is_its_content_box_and_role(tmp_path: Path) -> None:
    one, copy, other = (picture(tmp_path / f"{name}.png", w) for name, w in (("a", 7), ("b", 7), ("c", 8)))
    cropped, crop = replace(one, box=(0, 0, 2, 2)), replace(one, role="object")
    assert picture_key(one) == picture_key(copy)
    missing = picture_key(Image(str(tmp_path / "missing.png")))
    assert len({missing, *map(picture_key, (one, other, cropped, crop, Image(None)))}) == 6


def test_a_folders_identity_is_its_files_and_not_its_name(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "weights").write_text("1")
    one, two = (model_identity(str(tmp_path / name)) for name in ("one", "two"))
    assert one == two
    (tmp_path / "two" / "sub" / "weights").write_text("2")
    assert model_identity(str(tmp_path / "two")) != one
    assert model_identity("owner/model") == "owner/model"


def test_what_cannot_be_loaded_is_named_on_one_line() -> None:
    with raises("part.model-unloadable") as caught, loading("the thing", "x", "name another"):
        raise OSError("no such file\nand much more")
    assert caught.value.what == "cannot load the thing 'x': no such file"
    assert caught.value.hint == "name another"
