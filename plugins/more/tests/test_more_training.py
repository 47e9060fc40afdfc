"""Decoder, fuser and encoder together: what only the context says is learnt, in one view and in two."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mmkit.data.types import Example, Relation, Span
from mmkit.encoders.transformer import TransformerEncoder
from mmkit.fusers.text_only import TextOnly
from mmkit.model import Model
from mmkit_more.classifier import ContextClassifier
from mmkit_more.tagger import ContextTagger
from mmkit_more.two_views import TwoViews

NOTE = "more.text_context"
KINDS = {"PER": "a player", "LOC": "a river", "ORG": "a shop"}


def post(name: str, kind: str) -> Example:
    """What the name stands for is told by the context; so is the relation of both names."""
    words = ("look", "at", name, "and", "him")
    span = Span(2, 3, kind)
    relation = Relation(Span(2, 3, "head"), Span(4, 5, "tail"), kind)
    return Example.from_tokens(
        f"{name}-{kind}",
        words,
        spans=(span,),
        relations=(relation,),
        notes={NOTE: f"{name} is {KINDS[kind]} ."},
    )


POSTS = [post(name, kind) for name in ("Jordan", "Amazon", "Paris", "Kovelo") for kind in KINDS]


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("more-bert")
    spoken = [Example.from_tokens("", [*x.tokens, *x.notes[NOTE].split()]) for x in POSTS]
    TransformerEncoder.sample(folder, seed=1, examples=spoken)
    return folder


def model_of(folder: Path, decoder: Any) -> Model:
    torch.manual_seed(0)
    views = ["plain"] if decoder.two_views else None
    text = TransformerEncoder(name=str(folder), extra_views=views, dropout=0.0)
    text.build(decoder.special_tokens)
    fuser = TwoViews() if decoder.two_views else TextOnly()
    fuser.build({"text": text})
    labels = decoder.fit(POSTS)
    decoder.build(fuser.dims, labels)
    return Model({"text": text}, fuser, decoder, labels)


def trained(model: Model, steps: int = 40) -> dict[str, torch.Tensor]:
    batch = model.collate(model.items(POSTS))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses: dict[str, torch.Tensor] = {}
    for _ in range(steps):
        optimizer.zero_grad()
        losses = model.train()(batch)
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    return losses


def predicted(model: Model, examples: list[Example]) -> list[str]:
    batch = model.collate(model.items(examples), targets=False)
    predictions = model.eval().predict(batch)
    return [p.relations[0].label if p.relations else " ".join(s.label for s in p.spans) for p in predictions]


@pytest.mark.parametrize("make", [ContextTagger, ContextClassifier])
@pytest.mark.parametrize("two_views", [False, True])
def test_a_context_is_learnt_from(encoder_folder: Path, make: Any, two_views: bool) -> None:
    model = model_of(encoder_folder, make(two_views=two_views, word_dropout=0.0))
    losses = trained(model)
    assert ("agreement" in losses) is two_views
    gold = [x.spans[0].label for x in POSTS]
    assert predicted(model, POSTS) == gold
    without = [replace(x, notes={}) for x in POSTS]
    right = sum(a == b for a, b in zip(predicted(model, without), gold, strict=True))
    assert right <= len(POSTS) / 2


def test_a_two_view_batch_holds_both_texts(encoder_folder: Path) -> None:
    model = model_of(encoder_folder, ContextTagger(two_views=True))
    inputs = model.collate(model.items(POSTS)).inputs["text"]
    assert inputs["plain:input_ids"].shape[1] < inputs["input_ids"].shape[1]
    assert torch.equal(inputs["plain:first_subword"], inputs["first_subword"])
    assert "agreement" in model.train()(model.collate(model.items(POSTS)))
