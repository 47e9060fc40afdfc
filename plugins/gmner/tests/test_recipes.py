"""The recipes on their sample: what the photo adds, and what remains without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmkit import load_recipe
from mmkit.checking.check import check
from mmkit.loading.sample import sampled
from mmkit.testing import check_recipe, train_on_sample


def test_the_recipes_differ_in_what_reads_the_photo() -> None:
    none, boxes = (load_recipe(f"gmner_{name}").config for name in ("none", "boxes"))
    assert none["data"]["train"] == boxes["data"]["train"]
    assert none["model"]["encoders"]["text"] == boxes["model"]["encoders"]["text"]
    kept = ("epochs", "batch_size", "learning_rate", "score", "optimizer", "schedule")
    assert [none["training"][name] for name in kept] == [boxes["training"][name] for name in kept]
    assert (boxes["training"]["epochs"], boxes["training"]["batch_size"]) == (30, 32)
    regions = boxes["model"]["encoders"]["regions"]
    assert regions["slots"] == boxes["annotators"]["proposals"]["most"] == 16


def test_a_check_says_nothing_of_regions_that_are_not_there_yet() -> None:
    """The annotator has not run: what its regions are for is neither unread nor without a score."""
    for report in check(sampled("gmner_boxes")).values():
        told = [*report.lines, *report.warnings, *report.problems]
        assert not [line for line in told if "reads none" in line or "blank" in line or "coverage" in line]


def bound(figures: dict[str, Any]) -> float:
    """GMNER, where names and types are right, and no name has a region: the share of names that are not to be seen."""
    assert figures["triples.mner_f1"] > 0.95
    score: float = figures["triples.gmner_f1"]
    return score


@pytest.mark.matrix
def test_text_alone_comes_to_the_bound_of_names_without_regions(tmp_path: Path) -> None:
    assert 0.4 < bound(train_on_sample("gmner_none", tmp_path / "run")["figures"]["test"]) < 0.6


@pytest.mark.matrix
def test_photos_say_which_names_have_a_box_and_where(tmp_path: Path) -> None:
    figures = check_recipe("gmner_boxes", folder=tmp_path, at_least=0.9, beats_blank=0.35)
    assert figures["triples.mner_f1"] > 0.95 and figures["triples.region_accuracy"] > 0.9


def test_the_contexts_are_all_that_one_recipe_has_more() -> None:
    boxes, context = (load_recipe(f"gmner_{name}").config for name in ("boxes", "context"))
    files = {split: context["data"][split].pop("contexts") for split in ("train", "dev", "test")}
    assert files == {"train": "contexts/train.txt", "dev": "contexts/valid.txt", "test": "contexts/test.txt"}
    for split in files:
        boxes["data"][split].pop("contexts")
    assert context["model"]["decoder"].pop("context") == "gmner.context"
    boxes["model"]["decoder"].pop("context")
    for config in (boxes, context):
        config["model"]["encoders"]["text"].pop("max_length")
    for section in ("data", "annotators", "model", "metrics", "training"):
        assert boxes[section] == context[section]


@pytest.mark.matrix
def test_a_model_that_cannot_see_falls_to_that_bound(tmp_path: Path) -> None:
    blank = {f"data.{split}.blank_images": True for split in ("train", "dev", "test")}
    figures = train_on_sample("gmner_boxes", tmp_path / "run", blank)["figures"]["test"]
    assert 0.4 < bound(figures) < 0.6 and figures["triples.visible_f1"] == 0
