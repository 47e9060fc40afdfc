"""Answers of a linker to a whole split: the knowledge base is read once for all of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.distributed as dist

from mmkit.batch import States
from mmkit.decoders import ranking
from mmkit.inference import together
from mmkit.inference.inference import Inference
from mmkit.inference.prepare import prepare_model
from mmkit.loading.sample import sampled
from mmkit.loading.splits import read_splits
from mmkit.model import Item, Model, assemble
from mmkit.recipe import load_recipe


@pytest.fixture(scope="module")
def prepared() -> tuple[Model, list[Item]]:
    recipe = sampled(load_recipe("text_only_wikimel"))
    splits = read_splits(recipe, ["train", "entities"])
    # half of the mentions list no candidates: they are linked to the whole knowledge base
    examples = [
        replace(example, candidates=example.candidates if i % 2 else ())
        for i, example in enumerate(splits["train"].examples[:24])
    ]
    model = assemble(recipe, examples=examples, entities=splits["entities"].entities)
    return model, prepare_model(model, {"train": examples}, recipe.training).items["train"]


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of queries of each search."""
    counts: list[int] = []
    search = ranking.search

    def watched(query, *arguments):
        counts.append(len(query))
        return search(query, *arguments)

    monkeypatch.setattr(ranking, "search", watched)
    return counts


def test_one_search_answers_a_split(prepared, searches):
    model, items = prepared
    Inference(model, "fp32", 5).predict_and_rank(items)
    Inference(model, "fp32", 5).predict(items)
    assert searches == [24, 24]


def test_more_than_fit_are_answered_in_parts(prepared, searches, monkeypatch):
    model, items = prepared
    whole = Inference(model, "fp32", 5).predict_and_rank(items)
    monkeypatch.setattr(together, "MOST", 10)
    parts = Inference(model, "fp32", 5).predict_and_rank(items)
    assert searches == [24, 10, 10, 4]
    assert parts == whole


def test_answers_are_those_of_each_batch_alone(prepared, monkeypatch):
    model, items = prepared
    found = Inference(model, "fp32", 5).predict_and_rank(items)
    assert [p.id for p, _ in found] == [item.example.id for item in items]
    predicted = Inference(model, "fp32", 5).predict(items)
    monkeypatch.setattr(type(model.decoder), "kept", lambda self, states: None)
    assert Inference(model, "fp32", 5).predict_and_rank(items) == found
    assert Inference(model, "fp32", 5).predict(items) == predicted == [p for p, _ in found]
    assert {len(p.links) > 0 for p in predicted} == {True}


def test_a_subclass_that_decodes_otherwise_gets_its_own_states(prepared):
    model, _ = prepared
    decoder = model.decoder

    class Other(type(decoder)):
        def decode(self, states, batch):
            return super().decode(states, batch)

    states = States({"query": torch.ones(2, 4)})
    assert decoder.kept(states).tensors.keys() == {"query"}
    decoder.__class__ = Other
    try:
        assert decoder.kept(states) is None
    finally:
        decoder.__class__ = Other.__base__


def test_where_all_must_ask_at_once_everybody_takes_part_in_every_round(prepared, searches, monkeypatch):
    """The other process has 40 questions, this one 24 and then none."""
    model, items = prepared
    expected = Inference(model, "fp32", 5).predict(items)
    searches.clear()

    def gather(every: list[object], own: tuple[int, dict[str, object]]) -> None:
        shapes = own[1] or {"query": (torch.Size([model.fuser.dims["query"]]), torch.float32)}
        every[:] = [own, (40, shapes)]

    monkeypatch.setattr(dist, "all_gather_object", gather)
    monkeypatch.setattr(together, "MOST", 10)
    monkeypatch.setattr(type(model.decoder), "collective", lambda self: True)
    assert Inference(model, "fp32", 5, processes=2).predict(items) == expected
    answering = together.Answering(model, items, ranking=True, processes=2)
    assert searches == [10, 10, 4]  # the fourth round has nothing to link
    searches.clear()
    assert answering.rest() == []
    assert searches == [0] * 4
