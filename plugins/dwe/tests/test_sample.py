"""The recipes on sample data: the photos must decide, or the model does not use them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmkit.loading.sample import sampled
from mmkit.recipe import load_recipe
from mmkit.training.train import train


def top1_of(recipe: str, folder: Path, blank: bool = False) -> float:
    """Test accuracy of a recipe on sample data, with its photos or with blank ones."""
    blanked = {f"data.{split}.blank_images": True for split in ("train", "dev", "test")} if blank else {}
    loaded = sampled(load_recipe(recipe)).with_overrides(blanked)
    return train(loaded, folder, device="cpu")["figures"]["test"]["linking.top1"]


@pytest.mark.slow
def test_photos_beat_blank_ones_and_text_alone(tmp_path: Path) -> None:
    with_photos = top1_of("dwe_wikimel", tmp_path / "photos")
    assert with_photos >= 0.95
    assert with_photos >= 0.25 + top1_of("dwe_wikimel", tmp_path / "blank", blank=True)
    assert with_photos >= 0.25 + top1_of("text_only_wikimel", tmp_path / "text")
