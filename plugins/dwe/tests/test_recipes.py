"""The recipes: the papers' settings, and alike where they are to be compared."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from mmkit.recipe import load_recipe

SETTINGS = {
    "wikimel": (300, 5e-5, "tfidf", "property.json"),
    "richpedia": (300, 5e-4, "tfidf", "brief.json"),
    "wikidiverse": (500, 5e-6, "listed", "brief.json"),
    "wikiperson": (400, 5e-5, "listed", "entity_12w.json"),
}
"""Epochs, learning rate, negatives and entity texts."""


@pytest.mark.parametrize("dataset", SETTINGS)
def test_the_papers_settings(dataset: str) -> None:
    recipe = load_recipe(f"dwe_{dataset}")
    training, decoder = recipe.training, recipe.config["model"]["decoder"]
    epochs, rate, negatives, texts = SETTINGS[dataset]
    assert (training.epochs, training.learning_rate, training.batch_size) == (epochs, rate, 128)
    assert (training.weight_decay, training.no_decay, training.clip) == (0.001, "bias", 1.0)
    assert (training.schedule, training.warmup, training.eval_every) == ("linear", 100, 500)
    assert (recipe.seed, training.loss_weights) == (114514, {"matching": 10})
    assert (decoder["loss"], decoder["negatives"], decoder["count"]) == ("n_pair", negatives, 1)
    assert (decoder["share"], decoder["l2"]) == (0.95, 0.02)
    assert recipe.config["data"]["entities"]["file"] == texts
    fuser = recipe.config["model"]["fuser"]
    assert (fuser["dropout"], fuser["heads"], fuser["hidden"], fuser["profile"]) == (0.4, 8, 512, None)


@pytest.mark.parametrize("dataset", ["wikimel", "richpedia", "wikidiverse"])
def test_the_text_only_twin_differs_in_nothing_but_the_pictures(dataset: str) -> None:
    visual, text_only = load_recipe(f"dwe_{dataset}"), load_recipe(f"text_only_{dataset}")
    assert asdict(visual.training) == asdict(text_only.training)
    assert visual.sample_overrides == text_only.sample_overrides
    assert visual.config["metrics"] == text_only.config["metrics"]
    assert visual.config["data"]["entities"] == text_only.config["data"]["entities"]
    assert visual.config["model"]["decoder"] == text_only.config["model"]["decoder"]
    for name in text_only.config["model"]["encoders"]:
        assert visual.config["model"]["encoders"][name] == text_only.config["model"]["encoders"][name]
    assert all(text_only.config["data"][split]["images"] is None for split in ("train", "dev", "test"))
