"""The recipes: the authors' settings, and what decays."""

from __future__ import annotations

import re

import pytest

from mmkit.model import assemble
from mmkit.recipe import load_recipe
from mmkit_umt.convert import UmtImporter


@pytest.mark.parametrize(("dataset", "epochs"), [("twitter15", 24), ("twitter17", 22)])
def test_the_authors_settings(dataset: str, epochs: int) -> None:
    recipe = load_recipe(f"umt_{dataset}")
    training = recipe.training
    assert (training.epochs, training.batch_size, recipe.seed) == (epochs, 32, 32)
    assert (training.learning_rate, training.weight_decay, training.betas) == (5e-5, 0.01, [0.9, 0.999])
    assert (training.clip, training.warmup, training.ties) == (0, 0.1, "earlier")
    assert training.loss_weights == {"span_nll": 0.5}
    encoders = recipe.config["model"]["encoders"]
    assert encoders["text"]["max_length"] == 128
    assert (encoders["vision"]["grid"], encoders["vision"]["levels"]) == (7, [-1])


def test_biases_and_layer_norms_alone_do_not_decay() -> None:
    from mmkit.loading.sample import sampled

    recipe = sampled(load_recipe("umt_twitter15"))
    model = assemble(recipe, labels=UmtImporter().labels({}))
    spared = {n for n, p in model.named_parameters() if re.search(recipe.training.no_decay, n)}
    one_sided = {
        f"{name}.{kind}"
        for name, module in model.named_modules()
        for kind in ("weight", "bias")
        if kind == "bias" or type(module).__name__ == "LayerNorm"
    }
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert spared & trained == one_sided & trained
    assert {"decoder.crf.start_transitions", "decoder.span_crf.transitions"} <= trained - spared
