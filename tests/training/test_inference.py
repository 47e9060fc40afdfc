"""One way of preparing and predicting: what training, evaluating and predicting have in common."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist

from mmkit import recipe as recipes
from mmkit.data.types import Example, Prediction
from mmkit.inference.inference import Inference, plan_batches
from mmkit.inference.prepare import prepare_model
from mmkit.loading.sample import sampled
from mmkit.loading.splits import read_splits
from mmkit.model import Item, Model, assemble
from mmkit.recipe import load_recipe
from mmkit.training.train import train
from raising import raises


@pytest.fixture(scope="module")
def prepared() -> tuple[Model, list[Item]]:
    recipe = sampled(load_recipe("text_only_twitter15"))
    examples = read_splits(recipe, ["train"])["train"].examples[:30]
    model = assemble(recipe, examples=examples).train()
    return model, prepare_model(model, {"train": examples}, recipe.training).items["train"]


def everything(prediction: Prediction) -> tuple[object, ...]:
    return prediction.id, prediction.spans, tuple(round(score, 4) for score in prediction.span_scores)


def test_predictions_come_in_order_whatever_the_batches(prepared):
    model, items = prepared
    alone = Inference(model, "fp32", 1).predict(items)
    assert [prediction.id for prediction in alone] == [item.example.id for item in items]
    together = Inference(model, "fp32", 7).predict(items)
    assert [everything(p) for p in together] == [everything(p) for p in alone]
    assert Inference(model, "fp32", 7).predict(items, batch_size=30)[3].id == items[3].example.id


def test_the_model_stays_in_its_mode(prepared):
    model, items = prepared
    for training in (True, False):
        model.train(training)
        Inference(model, "fp32", 4).predict(items[:4])
        assert model.training is training
    model.train()
    predicting = Inference(model, "fp32", 4)
    broken = replace(items[0], views={})
    with raises("encoder.no-view"):
        predicting.predict([broken])
    assert model.training


def test_batches_hold_every_item_once_longest_first(prepared):
    _, items = prepared
    plan = plan_batches(items, 8)
    assert sorted(i for batch in plan for i in batch) == list(range(len(items)))
    lengths = [items[i].length for batch in plan for i in batch]
    assert lengths == sorted(lengths, reverse=True)


def test_processes_share_an_evaluation_and_all_get_the_whole(prepared, monkeypatch):
    """Each of two processes does its batches; what the other one did is added as `all_gather_object` would."""
    model, items = prepared
    shares: list[list[object]] = []

    def gather(parts: list[object], own: list[object]) -> None:
        shares.append(own)
        parts[:] = shares

    monkeypatch.setattr(dist, "all_gather_object", gather)
    alone = Inference(model, "fp32", 4).predict_and_rank(items)
    Inference(model, "fp32", 4, rank=0, processes=2).predict_and_rank(items)
    both = Inference(model, "fp32", 4, rank=1, processes=2).predict_and_rank(items)
    assert [len(own) for own in shares] == [16, 14]
    assert [everything(p) for p, _ in both] == [everything(p) for p, _ in alone]


def test_an_encoder_reads_the_question_in_training_too(prepared):
    model, items = prepared
    read: list[Example] = []
    encoder = model.encoders["text"]
    collate = encoder.collate

    def watched(examples, views):
        read.extend(examples)
        return collate(examples, views)

    encoder.collate = watched
    try:
        model.collate(items[:5])
        model.collate(items[:5], targets=False)
    finally:
        del encoder.collate
    assert any(item.example.spans for item in items[:5])
    assert read == [replace(item.example, spans=()) for item in items[:5]] * 2


def test_training_builds_each_part_once(tmp_path, monkeypatch):
    recipe = sampled(load_recipe("text_only_wikimel")).with_overrides({"training.epochs": 1})
    built: Counter[str] = Counter()
    build = recipes.Recipe.build

    def counted(self, section):
        built[section] += 1
        return build(self, section)

    monkeypatch.setattr(recipes.Recipe, "build", counted)
    train(recipe, tmp_path / "run", device="cpu", quiet=True)
    assert {section for section in built if section.startswith("model")} >= {"model.fuser", "model.decoder"}
    # The check of the data asks decoders and metrics of its own, which hold no weights and are given away.
    examined = ("model.decoder", "metrics.")
    again = {section for section, count in built.items() if count > 1 and not section.startswith(examined)}
    assert again == set()


def test_a_compiled_model_predicts_as_it_was_written(prepared, monkeypatch):
    model, items = prepared
    stances: list[str] = []

    class Stance:
        def __init__(self, stance: str) -> None:
            stances.append(stance)

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(torch.compiler, "set_stance", Stance)
    Inference(model, "fp32", 8).predict(items[:8])
    assert stances == []
    monkeypatch.setattr(model, "compiled", True)
    Inference(model, "fp32", 8).predict(items[:8])
    assert set(stances) == {"force_eager"}
