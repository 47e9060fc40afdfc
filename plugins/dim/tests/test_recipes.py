"""The recipes: the released code's settings, and the enhanced datasets differ in nothing but their entities."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from mmkit.recipe import load_recipe

SETTINGS = {
    "wikimel": (300, 5e-5, 64, "tfidf"),
    "richpedia": (300, 5e-5, 64, "tfidf"),
    "wikidiverse": (500, 5e-6, 128, "listed"),
}
"""Epochs, learning rate, batch size and negatives."""


@pytest.mark.parametrize("dataset", SETTINGS)
def test_the_released_settings(dataset: str) -> None:
    recipe = load_recipe(f"dim_{dataset}")
    training, decoder = recipe.training, recipe.config["model"]["decoder"]
    epochs, rate, batch_size, negatives = SETTINGS[dataset]
    assert (training.epochs, training.learning_rate, training.batch_size) == (epochs, rate, batch_size)
    assert (training.weight_decay, training.no_decay, training.clip) == (0.001, "bias", 1.0)
    assert (training.schedule, training.warmup, recipe.seed) == ("linear", 100, 114514)
    assert (decoder["loss"], decoder["negatives"], decoder["count"]) == ("n_pair", negatives, 1)
    assert recipe.config["model"]["fuser"]["form"] == "released"
    assert recipe.config["data"]["entities"]["file"] == "brief.json"


@pytest.mark.parametrize("dataset", SETTINGS)
def test_the_enhanced_dataset_differs_in_its_entities_alone(dataset: str) -> None:
    plain, plus = load_recipe(f"dim_{dataset}"), load_recipe(f"dim_{dataset}_plus")
    assert asdict(plain.training) == asdict(plus.training)
    assert {**plus.sample_overrides, "data.entities.file": "property.json"} == plain.sample_overrides
    assert plain.config["model"] == plus.config["model"]
    assert plus.config["data"]["entities"]["file"] == "dynamic.json"
    for split in ("train", "dev", "test"):
        assert plain.config["data"][split] == plus.config["data"][split]
    described = plus.config["annotators"].pop("descriptions")
    assert described["@annotators"] == "dim.entity_descriptions.v1"
    assert plain.config["annotators"] == plus.config["annotators"]
