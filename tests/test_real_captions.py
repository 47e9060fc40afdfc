"""`benchmarks/real/captions.py`: each sentence meets the caption of its own photo."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

from raising import raises

SCRIPTS = Path(__file__).resolve().parents[1] / "benchmarks" / "real"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    sys.path.insert(0, str(SCRIPTS))
    try:
        return importlib.import_module("captions")
    finally:
        sys.path.remove(str(SCRIPTS))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three tweets, two of them with the same words; the sentences with contexts stand in another order."""
    tweets = [("1", "Kim"), ("2", "Bo"), ("3", "Kim")]
    lines = [f"IMGID:{photo}\n{name}\tB-PER\nsings\tO\n" for photo, name in tweets]
    (tmp_path / "train.txt").write_text("\n".join(lines), encoding="utf-8")
    contexts = [("Bo", "a singer"), ("Kim", "one"), ("Kim", "two")]
    lines = [
        f"{name}\tB-PER\nsings\tO\n<EOS>\tX\n" + "".join(f"{word}\tX\n" for word in context.split())
        for name, context in contexts
    ]
    (tmp_path / "pgim").mkdir()
    (tmp_path / "pgim" / "train.txt").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def test_each_sentence_has_the_caption_of_its_photo(script: ModuleType, folder: Path) -> None:
    captions = folder / "captions.txt"
    captions.write_text("1.jpg :a man: at night\n2.jpg :\n3.jpg :a dog\n", encoding="utf-8")
    found = list(script.described(folder, folder / "pgim", captions, "train"))
    assert [x.tokens[0] for x in found] == ["Bo", "Kim", "Kim"]
    assert [x.notes[script.CAPTION] for x in found] == ["", "a man: at night", "a dog"]
    assert [x.notes[script.BOTH] for x in found] == ["a singer", "a man: at night . one", "a dog . two"]


def test_a_photo_that_the_captions_do_not_name_is_an_error(script: ModuleType, folder: Path) -> None:
    captions = folder / "captions.txt"
    captions.write_text("1.jpg :a man\n2.jpg :a stage\n", encoding="utf-8")
    with raises("data", match="no tweet with the same words and labels has a caption"):
        list(script.described(folder, folder / "pgim", captions, "train"))
