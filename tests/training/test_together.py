"""Answers of a linker to a whole split: the knowledge base is read once for all of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.distributed as dist

from mmkit.batch import States
from mmkit.data.types import Prediction
from mmkit.decoders import ranking
from mmkit.decoders.base import Decoder
from mmkit.decoders.entity_matcher import EntityMatcher
from mmkit.encoders.entity_features import StoredEntities
from mmkit.encoders.entity_shares import SharedEntities
from mmkit.inference import together
from mmkit.inference.inference import Inference
from mmkit.inference.prepare import prepare_model
from mmkit.loading.sample import sampled
from mmkit.loading.splits import read_splits
from mmkit.model import Item, Model, assemble
from mmkit.recipe import load_recipe
from mmkit.tasks import LinkTask


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


class OtherLinks(EntityMatcher):
    """A subclass may compute links from states that only the own batch has."""

    def decode(self, states, batch):
        return super().decode(states, batch)


class OtherRanks(EntityMatcher):
    def rank(self, states, examples):
        return super().rank(states, examples)


@pytest.mark.parametrize("other", [OtherLinks, OtherRanks])
def test_a_subclass_that_answers_otherwise_gets_its_own_states(prepared, monkeypatch, other):
    decoder = prepared[0].decoder
    states = States({"query": torch.ones(2, 4)})
    assert decoder.kept(states).tensors.keys() == {"query"}
    monkeypatch.setattr(decoder, "__class__", other)
    assert decoder.kept(states) is None


class ThirdParty(Decoder):
    """A linker that knows nothing of answers together, and ranks with mmkit's own search."""

    task = LinkTask()

    def __init__(self, matcher: EntityMatcher) -> None:
        super().__init__()
        self.base, self.ranking = matcher.base, matcher._ranks_by

    def fit(self, examples):
        return {}

    def build(self, dims, labels, entities=()): ...

    def targets(self, examples, inputs):
        return {}

    def loss(self, states, targets):
        return {}

    def decode(self, states, batch):
        rows = self.ranking.best(states, 3)[1]
        found = zip(batch.examples, rows.tolist(), strict=True)
        return [Prediction(x.id, links=tuple(self.base.ids(best))) for x, best in found]


@pytest.mark.parametrize("own", [ThirdParty, OtherLinks, OtherRanks])
def test_who_does_not_answer_together_does_not_wait_for_other_processes(
    prepared, two_processes, monkeypatch, own
):
    """There is no other process here: a question to it would be an error. Alone, it would never be answered."""
    model, items = prepared
    if own is ThirdParty:
        monkeypatch.setitem(model._modules, "decoder", ThirdParty(model.decoder))
        ranking = model.decoder.ranking
    else:
        monkeypatch.setattr(model.decoder, "__class__", own)
        ranking = model.decoder._ranks_by
    expected = Inference(model, "fp32", 5).predict_and_rank(items)
    features = ranking.features
    part = StoredEntities([block[:9] for _, block in features.blocks()][:1])
    shared = SharedEntities(features, part, 0)
    monkeypatch.setattr(ranking, "features", shared)
    if own is not ThirdParty:
        monkeypatch.setattr(model.decoder, "linked", replace(model.decoder.linked, vectors=shared))
        assert model.decoder.collective()
    for processes in (1, 2):
        found = Inference(model, "fp32", 5, rank=0, processes=processes).predict_and_rank(items)
        assert found and all(answer in expected for answer in found)
    assert len(found) < len(expected), "a process answers for its own batches"


@pytest.fixture
def two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in one of two processes that train together; the other one has no batch."""

    def gather(every: list[object], own: object) -> None:
        every[0] = own
        every[1:] = [(0, {}) if isinstance(own, tuple) else []]

    monkeypatch.setattr(dist, "all_gather_object", gather)


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
