"""The recipes on sample data: the photos must decide, or the model does not use them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmkit.loading.sample import sampled
from mmkit.recipe import load_recipe
from mmkit.training.train import train


def f1_of(recipe: str, figure: str, folder: Path, blank: bool = False) -> float:
    """Test F1 of a recipe on sample data, with its photos or with blank ones."""
    blanked = {f"data.{split}.blank_images": True for split in ("train", "dev", "test")} if blank else {}
    loaded = sampled(load_recipe(recipe)).with_overrides(blanked)
    return train(loaded, folder, device="cpu")["figures"]["test"][figure]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "figure"),
    [
        ("tesga_jmere", "joint.quintuple_f1"),
        pytest.param("tesga_twitter15", "spans.f1", marks=pytest.mark.matrix),
        pytest.param("tesga_mnre", "relations.f1", marks=pytest.mark.matrix),
    ],
)
def test_photos_beat_blank_ones(recipe: str, figure: str, tmp_path: Path) -> None:
    with_photos = f1_of(recipe, figure, tmp_path / "photos")
    assert with_photos >= 0.9
    assert with_photos >= 0.25 + f1_of(recipe, figure, tmp_path / "blank", blank=True)
