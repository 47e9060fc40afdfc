"""The recipes: the released settings, and what the released form has otherwise; and the sample's photos."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import mmkit
from mmkit.loading.sample import sampled
from mmkit.recipe import load_recipe
from mmkit.testing import check_recipe, train_on_sample
from mmkit_mimic.optimizer import AdamW

DATASETS = {"wikimel": "WIKIMEL", "richpedia": "RichpediaMEL", "wikidiverse": "wiki_diverse"}


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_released_settings(dataset: str) -> None:
    recipe = load_recipe(f"mimic_{dataset}")
    training, model = recipe.training, recipe.config["model"]
    assert (training.epochs, training.batch_size, training.learning_rate) == (20, 128, 1e-5)
    assert (training.optimizer, training.weight_decay, training.schedule) == (
        "mimic.adamw.v1",
        1e-4,
        "constant",
    )
    assert (training.warmup, training.clip, training.bucket, training.precision) == (0, 0, 1, "fp32")
    assert (training.eval_from, training.eval_epochs, training.patience) == (2, 2, 3)
    assert (recipe.seed, training.score, training.loss_weights) == (43, "linking.kb_mrr", {})
    assert model["encoders"] == model["entities"]["encoders"]
    assert model["encoders"]["text"]["max_length"] == 40
    assert model["entities"]["share"] == {"text": "text", "picture": "picture"}
    assert recipe.config["data"]["test"]["file"] == f"{DATASETS[dataset]}_test.json"


def test_the_released_form_differs_in_three_settings() -> None:
    ours, released = (load_recipe(name).config for name in ("mimic_richpedia", "mimic_richpedia_released"))
    for side in (ours["model"], ours["model"]["entities"]):
        side["encoders"]["text"]["reads_padding"] = True
    ours["model"]["decoder"]["own_negatives"] = True
    ours["training"]["no_decay"] = "bias"
    for section in ("data", "model", "training", "metrics"):
        assert ours[section] == released[section]


def test_biases_and_norms_do_not_decay() -> None:
    pattern = load_recipe("mimic_wikimel").training.no_decay
    kept = {
        "encoders.text.backbone.text_model.encoder.layers.0.layer_norm1.weight",
        "encoders.picture.backbone.vision_model.pre_layrnorm.weight",
        "entity_side.scorer.matcher.text_cls_layernorm.weight",
        "entity_side.scorer.matcher.cmfu.gate_layer_norm.weight",
        "entity_side.scorer.matcher.cmfu.text_fc.bias",
    }
    assert all(re.search(pattern, name) for name in kept)
    assert not re.search(pattern, "encoders.text.backbone.text_model.encoder.layers.0.mlp.fc1.weight")


def test_the_optimizer_has_the_authors_epsilon() -> None:
    ours, plain = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))
    optimizers = [AdamW([ours], lr=0.1), torch.optim.AdamW([plain], lr=0.1, eps=1e-4, weight_decay=1e-4)]
    for parameter in (ours, plain):
        parameter.grad = torch.tensor([1e-5, -1e-3, 2.0])
    for optimizer in optimizers:
        optimizer.step()
    torch.testing.assert_close(ours, plain)
    assert 1 - ours[0].item() < 0.02  # with an epsilon of 1e-8 it would be 0.1


def test_all_recipes_read_the_same_sample() -> None:
    configs = [sampled(load_recipe(f"mimic_{dataset}")).config for dataset in DATASETS]
    assert all(config["data"] == configs[0]["data"] for config in configs)


@pytest.mark.matrix
def test_photos_of_both_sides_decide(tmp_path: Path) -> None:
    check_recipe("mimic_wikimel", folder=tmp_path, at_least=0.9, beats_blank=0.4)


@pytest.mark.matrix
def test_photos_of_entities_decide(tmp_path: Path) -> None:
    """Without them, entities of one name are all the same, and a tie counts against the model."""
    overrides = {"data.entities.blank_images": True}
    figures = train_on_sample("mimic_wikimel", tmp_path / "run", overrides)["figures"]["test"]
    assert figures["linking.kb_mrr"] < 0.5


@pytest.mark.matrix
def test_the_released_form_learns_too(tmp_path: Path) -> None:
    check_recipe("mimic_richpedia_released", folder=tmp_path, at_least=0.9, resumes=False)


@pytest.mark.matrix
def test_old_entities_are_never_those_of_the_results(tmp_path: Path) -> None:
    """Whatever evaluations in training put up with: the run's scores are those that it gets again."""
    overrides = {
        "training.epochs": 5,
        "training.eval_from": 2,
        "training.eval_epochs": 2,
        "training.learning_rate": 3e-6,
        "model.entities.refresh": 3,
    }
    figures = train_on_sample("mimic_wikimel", tmp_path / "run", overrides)["figures"]["test"]
    again, _ = mmkit.evaluate(tmp_path / "run", device="cpu", output=tmp_path / "again")
    assert again == pytest.approx(figures)
