"""The fuser of two views: what it runs in training and to predict."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmkit.batch import Batch, Features
from mmkit.encoders.base import Encoder
from mmkit.fusers.text_only import TextOnly
from mmkit_more.two_views import TwoViews, second_view

ALIGNMENT = ("word_index", "first_subword", "marker_index")


class Doubling(Encoder):
    """Gives its ids back, doubled, and counts how often it ran."""

    dim, runs = 1, 0

    def build(self, special_tokens=(), saved=None): ...
    def save(self, folder): ...
    def collate(self, examples, views): ...

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        self.runs += 1
        tokens = inputs["input_ids"].unsqueeze(2) * 2.0
        return {"tokens": tokens, "mask": inputs["attention_mask"].bool(), "pooled": tokens[:, 0]}


def inputs_of(width: int, start: int) -> Features:
    ids = torch.arange(start, start + 2 * width).view(2, width)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)} | {
        name: ids % (i + 2) for i, name in enumerate(ALIGNMENT)
    }


@pytest.fixture
def batch() -> Batch:
    main, second = inputs_of(7, 0), inputs_of(3, 100)
    targets = {"tags": torch.zeros(2, 3)}
    return Batch((), {"words": {**main, **{f"alone:{k}": v for k, v in second.items()}}}, targets)


def test_training_gives_both_views(batch: Batch) -> None:
    encoder, fuser = Doubling(), TwoViews("words", view="alone")
    states = fuser.train()({"words": encoder}, batch)
    assert encoder.runs == 2
    assert states.tensors.keys() == TwoViews.provides | TwoViews.provides_in_training
    second = second_view(states)
    assert torch.equal(states["tokens"], inputs_of(7, 0)["input_ids"].unsqueeze(2) * 2.0)
    assert torch.equal(second["tokens"], inputs_of(3, 100)["input_ids"].unsqueeze(2) * 2.0)
    for name in ("first_subword", "marker_index"):
        assert torch.equal(states[name], inputs_of(7, 0)[name])
        assert torch.equal(second[name], inputs_of(3, 100)[name])


def test_predicting_reads_the_main_view_alone(batch: Batch) -> None:
    encoder, fuser = Doubling(), TwoViews("words", view="alone").eval()
    states = fuser({"words": encoder}, batch)
    assert encoder.runs == 1
    assert states.tensors.keys() == TwoViews.provides
    expected = TextOnly("words")({"words": encoder}, batch)
    assert states.tensors.keys() == expected.tensors.keys()
    assert all(torch.equal(states[name], expected[name]) for name in expected.tensors)


def test_without_targets_the_second_view_is_for_nothing(batch: Batch) -> None:
    encoder, fuser = Doubling(), TwoViews("words", view="alone").train()
    states = fuser({"words": encoder}, Batch((), batch.inputs))  # as an expert that is trained along
    assert encoder.runs == 1 and states.tensors.keys() == TwoViews.provides


def test_it_needs_an_encoder_that_collates_the_view() -> None:
    assert TwoViews(view="alone").requires()["text"].views == {"alone"}
    fuser = TwoViews("words")
    fuser.build({"words": Doubling()})
    assert fuser.dims == {"tokens": 1, "pooled": 1}
