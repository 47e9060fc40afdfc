"""Runs without frozen weights fetch those alone; an encoder's name is a name and no path."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import mmkit
from mmkit.inference.evaluate import evaluate
from mmkit.loading.sample import sampled
from mmkit.model import assemble
from mmkit.recipe import Recipe, load_recipe
from mmkit.training.train import train
from raising import raises

# Runs without frozen weights


@pytest.fixture(scope="module")
def backbones(sample_recipe, tmp_path_factory) -> Recipe:
    """The sample recipe with backbones of its own, which a test may take away, and without frozen weights."""
    recipe, folder = load_recipe(sample_recipe), tmp_path_factory.mktemp("backbones")
    names = {name: recipe.config["model"]["encoders"][name]["name"] for name in ("text", "vision")}
    own = {f"model.encoders.{n}.name": str(shutil.copytree(path, folder / n)) for n, path in names.items()}
    return recipe.with_overrides({**own, "training.epochs": 1, "training.save_frozen": False})


def test_a_run_without_frozen_weights_fetches_those_alone(backbones, tmp_path):
    summary = train(backbones, tmp_path / "run", device="cpu")
    kept = load_file(tmp_path / "run" / "model.safetensors")
    assert {name.split(".")[1] for name in kept if name.startswith("encoders.")} == {"text"}
    text, vision = (Path(backbones.config["model"]["encoders"][name]["name"]) for name in ("text", "vision"))
    text.rename(text.with_name("gone"))
    try:
        figures, _ = evaluate(tmp_path / "run", device="cpu", output=tmp_path)
        assert figures == summary["figures"]["test"]
        vision.rename(vision.with_name("gone too"))
        with raises("encoder.unloadable", match="vision"):
            mmkit.load(tmp_path / "run", device="cpu")
    finally:
        text.with_name("gone").rename(text)
        if vision.with_name("gone too").exists():
            vision.with_name("gone too").rename(vision)


def test_a_frozen_text_encoder_gets_the_same_new_tokens_again(tmp_path):
    """Its markers' embeddings are drawn, never trained and not kept."""
    recipe = sampled(load_recipe("text_only_mnre")).with_overrides(
        {
            "model.encoders.text.frozen": True,
            "training.save_frozen": False,
            "training.epochs": 1,
            "training.eval_from": 1,
        }
    )
    summary = train(recipe, tmp_path / "run", device="cpu")
    torch.manual_seed(0)
    figures, _ = evaluate(tmp_path / "run", device="cpu", output=tmp_path)
    assert figures == summary["figures"]["test"]
    kept = load_file(tmp_path / "run" / "model.safetensors")
    assert not any(name.startswith("encoders.") for name in kept)


# Names that would be paths


@pytest.mark.parametrize(
    ("code", "name"),
    [
        *(("recipe.section-name", name) for name in ("/tmp/evil", "a/b", "..", "text space")),
        *(("recipe.parts-do-not-fit", name) for name in ("items", "train", "bücher")),
    ],
)
def test_an_encoder_whose_name_is_no_name_is_refused(sample_recipe, tmp_path, code, name):
    text = sample_recipe.read_text().replace("[model.encoders.text]", f"[model.encoders.{name}]")
    (tmp_path / "odd.cfg").write_text(text.replace('text = "text"', f'text = "{name}"'))
    with raises(code, match=re.escape(name)):
        train(load_recipe(tmp_path / "odd.cfg"), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run" / "encoders").exists()


def test_overrides_bring_no_such_name_either(sample_recipe):
    encoder = {"@encoders": "mmkit.transformer.v1", "name": "bert-base-uncased"}
    with raises("recipe.parts-do-not-fit", match=r"cannot be called|section"):
        assemble(load_recipe(sample_recipe, {"model.encoders./tmp/evil": encoder}), labels={})
