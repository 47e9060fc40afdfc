"""The recipes on sample data: the pictures must decide, or the model does not use them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmkit.loading.sample import sampled
from mmkit.recipe import load_recipe
from mmkit.training.train import train

FIGURE = {"twitter15": "spans.f1", "mnre": "relations.f1"}


def f1_of(recipe: str, folder: Path, blank: bool = False) -> float:
    """Test F1 of a recipe on sample data, with its pictures or with blank ones."""
    blanked = {f"data.{split}.blank_images": True for split in ("train", "dev", "test")} if blank else {}
    loaded = sampled(load_recipe(f"{recipe}.cfg")).with_overrides(blanked)
    figures = train(loaded, folder, device="cpu")["figures"]
    return figures["test"][FIGURE[recipe.rpartition("_")[2]]]


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["twitter15", pytest.param("mnre", marks=pytest.mark.matrix)])
def test_pictures_beat_blank_ones_and_text_alone(dataset, tmp_path):
    with_pictures = f1_of(f"hvpnet_{dataset}", tmp_path / "pictures")
    assert with_pictures >= 0.95
    assert with_pictures >= 0.25 + f1_of(f"hvpnet_{dataset}", tmp_path / "blank", blank=True)
    assert with_pictures > f1_of(f"text_only_{dataset}", tmp_path / "text")
