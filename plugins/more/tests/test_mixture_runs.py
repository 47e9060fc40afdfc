"""Mixtures of real runs: trained, saved and loaded again, with frozen experts and with experts trained along."""

from __future__ import annotations

import shutil
from copy import deepcopy
from pathlib import Path

import pytest
import torch

import mmkit
from mmkit.config.text import write
from mmkit.data.types import Example
from mmkit.loading.sample import sampled
from mmkit.model import assemble
from mmkit.recipe import Recipe, load_recipe
from mmkit.runs.folder import Run, save_run
from mmkit.training.train import train
from raising import raises

BASES = {"tagger": "text_only_twitter15", "classifier": "text_only_mnre"}


def expert(kind: str, folder: Path, **overrides: object) -> Recipe:
    """A run with first weights on sample data, and its recipe."""
    words = {"model.decoder.subwords": "first"} if kind == "tagger" else {}
    recipe = sampled(load_recipe(BASES[kind])).with_overrides({**words, **overrides})
    save_run(folder, recipe, assemble(recipe, examples=recipe.build("data.train")))
    return recipe


def mixture_of(kind: str, folder: Path, base: Recipe, runs: dict[str, Path], frozen: bool = True) -> Recipe:
    """The recipe of a mixture of runs, on the data of `base`."""
    config = deepcopy(base.config)
    config["model"] = {
        "encoders": {
            name: {"@encoders": "mmkit.run.v1", "run": str(run), "frozen": frozen}
            for name, run in runs.items()
        },
        "fuser": {"@fusers": "more.mixture.v1", "experts": list(runs)},
        "decoder": {"@decoders": f"more.mixture_{kind}.v1", "experts": list(runs)},
    }
    config["training"] = {"epochs": 1, "batch_size": 16, "learning_rate": 1e-2, "score": base.training.score}
    config["sample"] = {}
    path = folder / "mixture.cfg"
    path.write_text(write(config), encoding="utf-8")
    return load_recipe(path)


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("kind", ["tagger", "classifier"])
def test_a_mixture_is_trained_saved_and_loaded_without_its_experts_runs(
    kind: str, frozen: bool, tmp_path: Path
) -> None:
    runs = {"text": tmp_path / "one", "image": tmp_path / "two"}
    base = expert(kind, runs["text"])
    expert(kind, runs["image"], **{"recipe.seed": 2})
    before = {name: Run(run).model(Run(run).recipe()).state_dict() for name, run in runs.items()}
    recipe = mixture_of(kind, tmp_path, base, runs, frozen)
    train(recipe, tmp_path / "mixture", device="cpu", quiet=True)
    for run in runs.values():
        shutil.rmtree(run)

    trained = Run(tmp_path / "mixture").model(recipe)
    assert trained.fuser.gate[0].weight.abs().max() > 0
    for name, state in before.items():
        after = trained.encoders[name].model.state_dict()
        assert all(torch.equal(after[key], value) for key, value in state.items()) == frozen
    assert not [key for key in trained.state_dict() if key.startswith("decoder.")]

    examples: list[Example] = list(recipe.build("data.test"))
    loaded = mmkit.load(tmp_path / "mixture", device="cpu")
    together = loaded.predict_batch(examples[:6])
    alone = [prediction for example in examples[:6] for prediction in loaded.predict_batch([example])]
    for a, b in zip(together, alone, strict=True):
        assert (a.spans, a.relations) == (b.spans, b.relations)
        assert a.span_scores == pytest.approx(b.span_scores, abs=1e-5)
        assert a.relation_scores == pytest.approx(b.relation_scores, abs=1e-5)


def test_runs_with_different_labels_are_refused_when_the_mixture_is_assembled(tmp_path: Path) -> None:
    runs = {"text": tmp_path / "one", "image": tmp_path / "two"}
    base = expert("tagger", runs["text"])
    expert("tagger", runs["image"], **{"model.decoder.types": ["PER", "MISC", "ORG", "LOC"]})
    recipe = mixture_of("tagger", tmp_path, base, runs)
    with raises("more.expert-labels", match=r"'text' has O, B-MISC, .*; 'image' has O, B-PER"):
        assemble(recipe, examples=recipe.build("data.train"))
