"""The mixture's fuser and decoders: weights, losses, gradients and predictions."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mixtures import (
    PAIRS,
    SENTENCES,
    Expert,
    classifying,
    tagging,
)
from mmkit.batch import Batch, States
from mmkit.data.types import Example, Span
from mmkit_more.mixture_classifier import MixtureClassifier
from mmkit_more.mixture_tagger import MixtureTagger

# The gate


@pytest.mark.parametrize("hidden", [0, 5])
@pytest.mark.parametrize("experts", [2, 3])
def test_experts_start_with_equal_weights_that_are_learnt(experts, hidden):
    encoders, fuser, decoder, batch = tagging(experts, hidden=hidden, start=True)
    states = fuser(encoders, batch)
    for name in encoders:
        torch.testing.assert_close(states[f"{name}.gate"].exp(), torch.full((4,), 1 / experts))
    decoder.loss(states, batch.targets)["nll"].backward()
    assert all(parameter.grad is not None for parameter in fuser.parameters())
    assert fuser.gate[-1].weight.grad.abs().max() > 0


def test_weights_of_a_sentence_sum_to_one_and_two_experts_have_a_sigmoid():
    encoders, fuser, _, batch = tagging(2)
    states = fuser(encoders, batch)
    pooled = torch.cat([batch.inputs[name]["pooled"][:, 0] for name in encoders], dim=1)
    scores = pooled @ fuser.gate[0].weight.t() + fuser.gate[0].bias
    torch.testing.assert_close(states["text.gate"].exp(), torch.sigmoid(scores[:, 0] - scores[:, 1]))
    torch.testing.assert_close(states["text.gate"].exp() + states["image.gate"].exp(), torch.ones(4))


def test_weights_are_computed_in_float32_under_autocast():
    encoders, fuser, decoder, batch = tagging(2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states = fuser(encoders, batch)
        loss = decoder.loss(states, batch.targets)["nll"]
    assert states["text.gate"].dtype == loss.dtype == torch.float32


# Tagging


def joint(encoders: dict[str, Expert], states: States, row: int, length: int) -> dict[tuple[int, ...], float]:
    """p of every tag sequence of a row's first `length` words, in float64 and by the definition."""
    K = len(next(iter(encoders.values())).decoder.tags)
    sequences = list(itertools.product(range(K), repeat=length))
    total = torch.zeros(len(sequences), dtype=torch.float64)
    for name, encoder in encoders.items():
        crf, emissions = encoder.decoder.crf.double(), states[f"{name}.emissions"][row].double()
        scores = []
        for tags in sequences:
            moves = sum(crf.transitions[i, j] for i, j in itertools.pairwise(tags))
            emitted = sum(emissions[t, tag] for t, tag in enumerate(tags))
            scores.append(crf.start_transitions[tags[0]] + crf.end_transitions[tags[-1]] + moves + emitted)
        total += states[f"{name}.gate"][row].double().exp() * torch.stack(scores).softmax(0)
        crf.float()
    return dict(zip(sequences, total.tolist(), strict=True))


@pytest.mark.parametrize("experts", [2, 3])
@torch.no_grad()
def test_loss_and_predictions_equal_enumeration(experts):
    encoders, fuser, decoder, batch = tagging(experts, n_best=200)
    states = fuser(encoders, batch)
    predictions, tags = decoder.decode(states, batch), batch.targets["tags"]
    nll = 0.0
    for row, example in enumerate(SENTENCES):
        length = len(example.tokens)
        if not length:
            assert predictions[row].spans == ()
            continue
        p = joint(encoders, states, row, length)
        nll -= math.log(p[tuple(tags[row, :length].tolist())]) / len(SENTENCES)
        best = max(p, key=p.__getitem__)
        chunks = decoder.tags.chunks(torch.tensor([best]).numpy())
        bounds = zip(chunks.start.tolist(), chunks.end.tolist(), chunks.type.tolist(), strict=True)
        spans = [Span(start, end, decoder.tags.types[type_]) for start, end, type_ in bounds]
        assert list(predictions[row].spans) == spans
        for span, score in zip(spans, predictions[row].span_scores, strict=True):
            covered = range(span.start, span.end)
            marginals = [sum(q for other, q in p.items() if other[t] == best[t]) for t in covered]
            assert score == pytest.approx(math.prod(marginals) ** (1 / len(covered)), rel=1e-4)
    assert decoder.loss(states, batch.targets)["nll"].item() == pytest.approx(nll, rel=1e-4)
    assert decoder.proven(states).all()


def test_words_that_one_expert_did_not_read_are_tagged_by_none():
    encoders, fuser, decoder, batch = tagging(2, lengths=[[3, 2, 0, 1], [1, 2, 0, 0]])
    states = fuser(encoders, batch)
    mixture = decoder.mixture(states)
    assert mixture.mask.tolist() == [[True, False], [True, True], [False, False], [False, False]]
    predictions = decoder.decode(states, batch)
    assert all(span.end <= 1 for span in predictions[0].spans)
    assert predictions[3].spans == ()

    # What the other expert says of them does not matter, for the loss neither.
    other = {**states.tensors, "text.emissions": states["text.emissions"].clone()}
    other["text.emissions"][0, 1:] = 100.0
    other["text.emissions"][3] = 100.0
    expected, found = (decoder.loss(s, batch.targets)["nll"] for s in (states, States(other)))
    assert torch.equal(found, expected) and found.isfinite()
    assert decoder.decode(States(other), batch) == predictions


def test_a_batch_of_which_one_expert_read_no_word():
    encoders, fuser, decoder, batch = tagging(2, lengths=[[3, 2, 0, 1], [0, 0, 0, 0]])
    states = fuser(encoders, batch)
    assert decoder.loss(states, batch.targets)["nll"].item() == pytest.approx(0, abs=1e-6)
    assert all(prediction.spans == () for prediction in decoder.decode(states, batch))


def test_sentences_are_tagged_alone_as_in_a_batch():
    encoders, fuser, decoder, batch = tagging(3)
    together = decoder.decode(fuser(encoders, batch), batch)
    for row, example in enumerate(SENTENCES):
        inputs = {name: {k: v[row : row + 1] for k, v in own.items()} for name, own in batch.inputs.items()}
        alone = Batch((example,), inputs)
        (found,) = decoder.decode(fuser(encoders, alone), alone)
        assert found.spans == together[row].spans
        assert found.span_scores == pytest.approx(together[row].span_scores, abs=1e-5)


def test_experts_that_are_trained_along_get_gradients():
    encoders, fuser, decoder, batch = tagging(2)
    inputs = {name: dict(own) for name, own in batch.inputs.items()}
    for own in inputs.values():
        own["emissions"] = own["emissions"].requires_grad_()
        own["pooled"] = own["pooled"].requires_grad_()
    decoder.loss(fuser(encoders, Batch(batch.examples, inputs)), batch.targets)["nll"].backward()
    for name, encoder in encoders.items():
        assert inputs[name]["emissions"].grad.abs().max() > 0
        assert inputs[name]["pooled"].grad.abs().max() > 0
        assert encoder.decoder.crf.transitions.grad.abs().max() > 0
    assert all(own["emissions"].grad[2].abs().max() == 0 for own in inputs.values())  # the empty sentence's


def test_frozen_experts_get_none_but_the_gate_does():
    encoders, fuser, decoder, batch = tagging(2)
    for encoder in encoders.values():
        encoder.requires_grad_(False)
    decoder.loss(fuser(encoders, batch), batch.targets)["nll"].backward()
    assert fuser.gate[0].weight.grad.abs().max() > 0
    assert all(p.grad is None for encoder in encoders.values() for p in encoder.parameters())


@pytest.mark.parametrize("make", [tagging, classifying])
def test_the_decoder_holds_no_weights_of_its_own(make):
    _, _, decoder, _ = make()
    assert decoder.state_dict() == {}


def test_the_order_in_which_fuser_and_decoder_name_the_experts_does_not_matter():
    encoders, fuser, decoder, batch = tagging(2)
    swapped = MixtureTagger(("image", "text"))
    swapped.build({}, swapped.fit(SENTENCES))
    swapped.connect(encoders)
    states = fuser(encoders, batch)
    losses = [d.loss(states, batch.targets)["nll"] for d in (decoder, swapped)]
    torch.testing.assert_close(*losses)


# Relations


def relation_probabilities(encoders: dict[str, Expert], states: States) -> Tensor:
    """Σ λ p(relation) in float64 `[B, R]`."""
    parts = [
        states[f"{name}.gate"].double().exp().unsqueeze(1) * states[f"{name}.logits"].double().softmax(1)
        for name in encoders
    ]
    return torch.stack(parts).sum(0)


@pytest.mark.parametrize("experts", [2, 3])
def test_relations_equal_plain_float64(experts):
    encoders, fuser, decoder, batch = classifying(experts)
    states = fuser(encoders, batch)
    p = relation_probabilities(encoders, states)
    gold = p[range(len(PAIRS)), batch.targets["relation"]]
    assert decoder.loss(states, batch.targets)["nll"].item() == pytest.approx(
        -gold.log().mean().item(), rel=1e-5
    )
    for prediction, row in zip(decoder.decode(states, batch), p, strict=True):
        assert prediction.relations[0].label == decoder.labels[int(row.argmax())]
        assert prediction.relation_scores[0] == pytest.approx(row.max().item(), rel=1e-5)


def test_relations_of_an_expert_that_is_trusted_alone_are_its_own():
    encoders, fuser, decoder, batch = classifying(2)
    states = fuser(encoders, batch)
    never = torch.full((len(PAIRS),), float("-inf"))
    sure = States({**states.tensors, "text.gate": torch.zeros(len(PAIRS)), "image.gate": never})
    torch.testing.assert_close(decoder.logits(sure), states["text.logits"].log_softmax(1))


def test_an_example_with_several_pairs_becomes_as_many():
    decoder = MixtureClassifier()
    relations = tuple(example.relations[0] for example in PAIRS[:2])
    example = Example.from_tokens("e", ["w"] * 4, relations=relations)
    assert [unit.id for unit in decoder.units(example)] == ["e#0", "e#1"]
    assert decoder.special_tokens == ()


def test_shows_the_weights_of_the_experts() -> None:
    encoders, fuser, _, batch = tagging(3)
    batch = replace(batch, inspecting=True)
    states = fuser(encoders, batch)
    shown = [each["weights of the experts"] for each in fuser.inspect(states, batch)]
    pooled = torch.cat([batch.inputs[name]["pooled"].squeeze(1) for name in encoders], dim=1)
    expected = fuser.gate(pooled).softmax(1)
    for row, table in enumerate(shown):
        assert (table.rows, tuple(table.columns)) == (["λ"], tuple(encoders))
        assert table.values[0] == pytest.approx(expected[row].tolist(), abs=1e-6)
        assert sum(table.values[0]) == pytest.approx(1)
