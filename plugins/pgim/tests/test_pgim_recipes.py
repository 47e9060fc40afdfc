"""The recipes: the released settings, and what differs between them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmkit.recipe import load_recipe
from mmkit.testing import check_reader, check_recipe, train_on_sample

RELEASED: dict[str, tuple[float, float, int]] = {"15": (5e-6, 0.008, 1895), "17": (7e-6, 0.015, 42)}
"""Year → the rates of the network and of the CRF, and the seed."""


@pytest.mark.parametrize("form", ["", "_outside", "_captions", "_own"])
@pytest.mark.parametrize("year", RELEASED)
def test_the_released_settings(year: str, form: str) -> None:
    recipe = load_recipe(f"pgim_twitter{year}{form}")
    training, model = recipe.training, recipe.config["model"]
    assert (training.learning_rate, training.groups["crf"].learning_rate, recipe.seed) == RELEASED[year]
    assert (training.epochs, training.batch_size, training.eval_batch_size) == (25, 4, 32)
    assert (training.optimizer, training.weight_decay, training.warmup, training.clip) == (
        "adamw",
        0.01,
        0,
        0,
    )
    assert (training.schedule, training.schedule_every, training.score) == ("linear", "epoch", "spans.f1")
    assert model["encoders"]["text"]["name"] == "xlm-roberta-large"
    assert model["encoders"]["text"]["max_length"] == 512
    decoder = model["decoder"]
    assert (decoder["scheme"], decoder["word_dropout"], decoder["two_views"], decoder["constraints"]) == (
        "bioes",
        0,
        False,
        False,
    )
    assert decoder["context"] == ("pgim.caption" if form == "_captions" else "pgim.knowledge")


@pytest.mark.parametrize("year", RELEASED)
def test_the_form_with_the_crf_over_the_context_differs_in_one_setting(year: str) -> None:
    ours, released = (load_recipe(f"pgim_twitter{year}{form}").config for form in ("", "_outside"))
    assert ours["model"]["decoder"].pop("context_tags") == "none"
    assert released["model"]["decoder"].pop("context_tags") == "outside"
    for section in ("data", "model", "training", "metrics"):
        assert ours[section] == released[section]


@pytest.mark.parametrize("year", RELEASED)
def test_own_answers_use_one_captioner_and_the_training_posts(year: str) -> None:
    recipe = load_recipe(
        f"pgim_twitter{year}_own", {"backbones.captioner": "some/captioner", "paths.data": "there"}
    )
    annotators: dict[str, Any] = recipe.config["annotators"]
    assert list(annotators) == ["captions", "similar", "knowledge"]
    assert annotators["captions"]["name"] == annotators["similar"]["captioner"] == "some/captioner"
    assert (annotators["similar"]["posts"], annotators["similar"]["n"]) == ("there/train.txt", 5)
    assert annotators["knowledge"]["temperature"] == 0


def test_the_readers_contract(tmp_path: Path) -> None:
    broken = ["a\n", "a\tQ-PER\n", "a\tO\n<EOS>\tX\nb\tO\n"]
    check_reader("pgim.conll.v1", folder=tmp_path, broken=broken, repaired=["a\tO\n<EOS>\tO\nb\tX\n\n"])


@pytest.mark.matrix
@pytest.mark.parametrize("form", ["", "_outside"])
def test_answers_decide_what_a_name_is(tmp_path: Path, form: str) -> None:
    check_recipe(f"pgim_twitter15{form}", folder=tmp_path / "whole", at_least=0.85, resumes=False)


@pytest.mark.matrix
def test_without_answers_the_sentence_leaves_it_open(tmp_path: Path) -> None:
    alone = train_on_sample("pgim_twitter15", tmp_path / "run", {"model.decoder.context": None})
    assert alone["figures"]["test"]["spans.f1"] <= 0.5
