"""Lengths rounded up so that fewer shapes occur: the same states and losses, and never more than a model takes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmkit.data.types import Example, TextView
from mmkit.encoders.transformer import TransformerEncoder
from mmkit.inference.loader import Loader
from mmkit.inference.prepare import prepare_model
from mmkit.loading.sample import sampled
from mmkit.loading.splits import read_splits
from mmkit.model import Item, Model, assemble
from mmkit.recipe import load_recipe
from text_encoders import built, collate


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = tmp_path_factory.mktemp("bert")
    words = Example.from_tokens("0", [f"w{i}" for i in range(40)])
    return str(TransformerEncoder.sample(made, 0, [words] * 3).get("name", made))


@pytest.fixture(scope="module")
def prepared() -> tuple[Model, list[Item]]:
    recipe = sampled(load_recipe("hvpnet_twitter15"))
    examples = read_splits(recipe, ["train"])["train"].examples[:24]
    model = assemble(recipe, examples=examples)
    return model, prepare_model(model, {"train": examples}, recipe.training).items["train"]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(2, 16))
@settings(max_examples=15, deadline=None)
def test_states_stay_and_lengths_are_multiples(folder: str, counts: list[int], multiple: int) -> None:
    encoder = built(folder)
    examples = [Example.from_tokens(str(n), [f"w{i}" for i in range(n)]) for n in counts]
    short = collate(encoder, examples)
    long = encoder.lengthen(short, multiple)
    length, words = short["input_ids"].shape[1], short["first_subword"].shape[1]
    assert long.keys() == short.keys()
    for name in ("input_ids", "attention_mask", "token_type_ids", "word_index"):
        assert long[name].shape[1] % multiple == 0 and 0 <= long[name].shape[1] - length < multiple
        assert torch.equal(long[name][:, :length], short[name])
    assert long["first_subword"].shape[1] % multiple == 0 and long["first_subword"].shape[1] >= words
    assert (long["first_subword"][:, words:] == -1).all() and (long["word_index"][:, length:] == -1).all()
    assert not long["attention_mask"][:, length:].any()
    with torch.no_grad():
        one, other = encoder(short), encoder(long)
    torch.testing.assert_close(one["pooled"], other["pooled"], atol=1e-5, rtol=1e-4)
    for row, mask in enumerate(one["mask"]):
        torch.testing.assert_close(
            one["tokens"][row][mask], other["tokens"][row][: len(mask)][mask], atol=1e-5, rtol=1e-4
        )


def test_a_text_is_never_longer_than_the_model_takes(folder: str) -> None:
    encoder = built(folder, max_length=13)
    for count, expected in ((2, 8), (9, 13), (30, 13)):
        inputs = collate(encoder, [Example.from_tokens("0", [f"w{i}" for i in range(count)])])
        longer = encoder.lengthen(inputs, 8)
        assert longer["input_ids"].shape[1] == expected
        assert longer["first_subword"].shape[1] == -(-count // 8) * 8
        encoder(longer)


def test_every_view_is_lengthened_by_itself(folder: str) -> None:
    encoder = built(folder, extra_views=["plain"])
    examples = [Example.from_tokens("0", ["w1", "w2", "w3"])]
    long = TextView((*examples[0].tokens, *(f"w{i}" for i in range(12))), (0, 1, 2, *[-1] * 12))
    inputs = encoder.collate(examples, [{"text": long, "plain": TextView.of(examples[0])}])
    longer = encoder.lengthen(inputs, 8)
    lengths = [longer[name].shape[1] for name in ("input_ids", "plain:input_ids")]
    assert all(length % 8 == 0 for length in lengths) and lengths[0] > lengths[1]
    assert longer.keys() == inputs.keys()
    words = [longer[name].shape[1] for name in ("first_subword", "plain:first_subword")]
    assert words == [8, 8]  # decoders compare the same words of both


def test_windows_stay_as_they_are(folder: str) -> None:
    encoder = built(folder, max_length=12, window_overlap=3)
    inputs = collate(encoder, [Example.from_tokens("0", [f"w{i}" for i in range(30)])])
    assert encoder.lengthen(inputs, 8) is inputs or encoder.lengthen(inputs, 8).keys() == inputs.keys()
    assert torch.equal(encoder.lengthen(inputs, 8)["input_ids"], inputs["input_ids"])


def test_losses_and_gradients_of_lengthened_batches_are_the_same(prepared: tuple[Model, list[Item]]) -> None:
    model, items = prepared
    model.eval()  # without dropout
    found = []
    for multiple in (1, 8):
        batches = list(Loader(model, items, 0, multiple=multiple)([[0, 5, 3], [7], [1, 2, 4, 6]]))
        model.zero_grad()
        losses = [sum(model(batch).values()) for batch in batches]
        sum(losses).backward()
        gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        found.append((torch.stack(losses).detach(), gradients))
        lengths = {batch.inputs["text"]["input_ids"].shape[1] for batch in batches}
        assert multiple == 1 or all(length % 8 == 0 for length in lengths)
        assert all(b.targets["tags"].shape == b.inputs["text"]["input_ids"].shape for b in batches)
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-5, atol=1e-6)
    assert found[0][1].keys() == found[1][1].keys()
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(gradient, found[1][1][name], rtol=1e-3, atol=1e-5)
