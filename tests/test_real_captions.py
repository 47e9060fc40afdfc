"""`benchmarks/real/captions.py`: each sentence meets the caption of its own photo."""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mmkit.loading.stand_ins import tiny
from mmkit.recipe import load_recipe
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


def test_captions_that_are_not_there_are_named(script: ModuleType, folder: Path) -> None:
    with raises("file.missing", match="gone.txt"):
        list(script.described(folder, folder / "pgim", folder / "gone.txt", "train"))


@pytest.mark.matrix
def test_the_mixture_of_contexts_and_captions_is_made_and_scored(script: ModuleType, tmp_path: Path) -> None:
    names = ("Kim", "Rome", "Bo", "Oslo")
    kinds = dict(zip(names, ("PER", "LOC", "PER", "LOC"), strict=True))
    for folder in ("tweets", "pgim", "models"):
        (tmp_path / folder).mkdir()
    for split, times in (("train", 3), ("valid", 1), ("test", 1)):
        tags = [f"look\tO\n{name}\tB-{kinds[name]}\n" for name in names * times]
        tweets = [f"IMGID:{number}\n{tagged}" for number, tagged in enumerate(tags)]
        contexts = [f"{tagged}<EOS>\tX\nnews\tX\n" for tagged in tags]
        (tmp_path / "tweets" / f"{split}.txt").write_text("\n".join(tweets), encoding="utf-8")
        (tmp_path / "pgim" / f"{split}.txt").write_text("\n".join(contexts), encoding="utf-8")
    captions = "".join(f"{number}.jpg :a {kinds[names[number % 4]]}\n" for number in range(12))
    (tmp_path / "captions.txt").write_text(captions, encoding="utf-8")
    recipe = tiny(load_recipe("more_twitter17_baseline", {"paths.data": str(tmp_path / "pgim")}))
    shutil.copytree(recipe.config["model"]["encoders"]["text"]["name"], tmp_path / "models" / "minilm")
    study = script.study_of(
        argparse.Namespace(
            dataset="twitter2017",
            tweets=tmp_path / "tweets",
            captions=tmp_path / "captions.txt",
            data=tmp_path / "pgim",
            models=tmp_path / "models",
            runs=tmp_path / "runs",
            epochs=1,
        )
    )
    arms = [study.arm(name) for name in ("mixture", "both")]
    make = sys.modules[script.Arm.__module__].make
    made = list(make(study, arms, [1], tmp_path / "runs", tmp_path / "results"))
    assert [x.arm for x in made] == ["mixture", "both"]
    told = json.loads((tmp_path / "results" / study.name / "mixture_seed1.json").read_text(encoding="utf-8"))
    assert told["arm"] == "mixture" and "spans.f1" in told["scores"]["test"]
