"""The recipes: complete, alike where they are to be compared, and fed by the annotator where no crops are to be had."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
from PIL import Image as Pillow

from mmkit.encoders.items import MissingImages
from mmkit.loading.splits import annotate_split, read_split
from mmkit.recipe import Recipe, load_recipe
from mmkit_hvpnet.detector import Detector, Found

DATASETS = ["twitter15", "twitter17", "mnre"]


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_text_only_twin_differs_in_nothing_but_the_pictures(dataset: str) -> None:
    visual, text_only = load_recipe(f"hvpnet_{dataset}"), load_recipe(f"text_only_{dataset}")
    assert asdict(visual.training) == asdict(text_only.training)
    assert visual.sample_overrides == text_only.sample_overrides
    assert visual.config["model"]["decoder"] == text_only.config["model"]["decoder"]
    assert visual.config["model"]["encoders"]["text"] == text_only.config["model"]["encoders"]["text"]
    assert visual.config["metrics"] == text_only.config["metrics"]
    assert [s["file"] for s in splits(visual)] == [s["file"] for s in splits(text_only)]


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_papers_settings(dataset: str) -> None:
    training = load_recipe(f"hvpnet_{dataset}").training
    entities = dataset != "mnre"
    assert (training.epochs, training.batch_size) == ((30, 8) if entities else (15, 16))
    assert (training.learning_rate, training.weight_decay, training.clip) == (3e-5, 0.01, 0)
    assert (training.schedule, training.warmup) == ("linear", 0.01 if entities else 0.06)
    assert (training.eval_from, training.ties) == (3 if entities else 1, "later")
    assert [g.learning_rate for g in training.groups.values()] == ([0.05] if entities else [])


def splits(recipe: Recipe) -> list[dict]:
    return [recipe.config["data"][name] for name in ("train", "dev", "test")]


def test_objects_from_the_annotator_fill_the_object_slots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Detector, "__init__", lambda *_: None)
    monkeypatch.setattr(
        Detector,
        "__call__",
        lambda *_: [Found((0, 0, 8, 8), 0.9, "dogs"), Found((20, 8, 40, 30), 0.5, "cats")],
    )
    (tmp_path / "images").mkdir()
    Pillow.new("RGB", (60, 40), "red").save(tmp_path / "images" / "1.jpg")
    (tmp_path / "train.txt").write_text("IMGID:1\nDogs\tO\nand\tO\ncats\tO\n\n")
    recipe = load_recipe(
        "hvpnet_twitter15",
        {
            "paths.data": str(tmp_path),
            "paths.images": "images",
            "data.train.crops": None,
            "annotators.objects.@annotators": "hvpnet.grounded_objects.v1",
        },
    )
    split = read_split(recipe, "train")
    annotate_split(recipe, split, "cpu")
    vision = recipe.build("model.encoders.vision")
    keys = [key for key, _ in vision.source.items(split.examples[0], MissingImages())]
    assert len(keys) == 4
    assert keys[3] == "blank"
    assert len(set(keys)) == 4
