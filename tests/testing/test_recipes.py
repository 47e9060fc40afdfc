"""`check_recipe`: it passes a small recipe, and says which check failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmkit.recipe import load_recipe
from mmkit.testing import check_recipe

SMALL = """
[recipe]
format = 1

[data.train]
@readers = "mmkit.conll_images.v1"
root = "data"
file = "train.txt"

[data.dev]
@readers = "mmkit.conll_images.v1"
root = "data"
file = "valid.txt"

[data.test]
@readers = "mmkit.conll_images.v1"
root = "data"
file = "test.txt"

[model.encoders.text]
@encoders = "mmkit.transformer_words.v1"
name = "bert-base-uncased"

[model.fuser]
@fusers = "mmkit.text_only.v1"

[model.decoder]
@decoders = "mmkit.softmax_tagger.v1"

[metrics.spans]
@metrics = "mmkit.span_f1.v1"

[training]
epochs = 1
batch_size = 32
learning_rate = 2e-3
score = "spans.f1"
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.cfg"
    path.write_text(SMALL, encoding="utf-8")
    return path


def test_a_recipe_passes_and_its_scores_come_back(recipe: Path, tmp_path: Path) -> None:
    figures = check_recipe(recipe, folder=tmp_path / "runs")
    assert 0 <= figures["spans.f1"] <= 1
    assert load_recipe(tmp_path / "runs" / "filled.cfg").config == load_recipe(recipe).config


def test_a_low_score_and_pictures_without_use_are_noticed(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"^small: scores: spans.f1 is .*, below 1.1"):
        check_recipe(recipe, folder=tmp_path / "low", at_least=1.1)
    with pytest.raises(AssertionError, match=r"^small: images matter: spans.f1 is .* with blank ones"):
        check_recipe(recipe, folder=tmp_path / "blank", beats_blank=0.2, resumes=False)
