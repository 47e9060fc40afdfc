"""The taggers: labels, targets, losses and predictions, over words."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from mmkit.batch import Batch, States
from mmkit.data.types import ORPHANS, Span
from mmkit.decoders.crf_tagger import CrfTagger
from mmkit.decoders.softmax_tagger import SoftmaxTagger
from raising import raises
from tagging import EXAMPLES, PIECES, WIDTH, built, force, sentence, text_inputs, text_states

TAGGERS = [CrfTagger, SoftmaxTagger]


# Labels


def test_labels_are_learnt_sorted():
    labels = CrfTagger().fit(EXAMPLES)
    tags = ["O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER"]
    assert labels == {"types": ["LOC", "ORG", "PER"], "scheme": "bio", "subwords": "first", "tags": tags}


def test_a_training_type_that_is_not_given_is_an_error():
    with raises("task.unknown-span-type", match="a: the span type 'LOC'"):
        CrfTagger(types=["PER", "ORG"]).fit(EXAMPLES)


def test_labels_of_another_scheme_are_refused():
    labels = CrfTagger(scheme="bioes").fit(EXAMPLES)
    with raises("run.other-tags", match="13 tags are not the 7 that scheme = 'bio'"):
        CrfTagger().build({"tokens": WIDTH}, labels)


@pytest.mark.parametrize("tagger_class", TAGGERS)
def test_words_alone_are_tagged(tagger_class):
    with raises("part.setting", match=r"model\.decoder\.subwords") as error:
        tagger_class(subwords="tagged")
    assert "list-components" in error.value.hint


@pytest.mark.parametrize("types", [[], ["PER", "PER"]])
def test_types_must_differ(types):
    with raises("part.label-names"):
        CrfTagger(types=types)


# Targets


def test_word_targets():
    tagger = built(CrfTagger())
    tags = tagger.targets(EXAMPLES, {"text": text_inputs(PIECES)})["tags"]
    names = [[tagger.tags.names[i] if i >= 0 else "-" for i in row] for row in tags.tolist()]
    assert names == [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-ORG", "-", "-"], ["O", "-", "-", "-"]]


def test_an_unknown_type_at_prediction_time_names_the_example():
    tagger = built(CrfTagger())
    with raises("task.unknown-span-type", match="z: the span type 'PERSON'"):
        tagger.targets([sentence("z", 2, Span(0, 1, "PERSON"))], {"text": text_inputs([[1, 1]])})


def test_a_missing_text_encoder_is_named():
    tagger, inputs = built(CrfTagger(text="texts")), text_inputs(PIECES)
    with raises("part.no-word-encoder", match=r"'texts' does not exist\n.*did you mean 'text'"):
        tagger.targets(EXAMPLES, {"text": inputs})
    with raises("part.no-word-encoder", match="'texts'"):
        tagger.targets(EXAMPLES, {"text": inputs, "texts": {"pixels": torch.zeros(1)}})


# Losses


@pytest.mark.parametrize("tagger_class", TAGGERS)
def test_dropout_is_of_the_states_and_in_training_alone(tagger_class):
    tagger, states = built(tagger_class(dropout=1.0)), text_states(text_inputs(PIECES))
    dropped, mask = tagger.train().emissions(states)
    assert torch.equal(dropped[mask], tagger.linear.bias.expand_as(dropped[mask]))
    kept, _ = tagger.eval().emissions(states)
    assert not torch.equal(kept[mask], dropped[mask])


def test_crf_loss_is_the_mean_over_sentences_and_ignores_padding():
    tagger = built(CrfTagger())
    inputs = text_inputs(PIECES)
    states, targets = text_states(inputs), tagger.targets(EXAMPLES, {"text": inputs})
    together = tagger.loss(states, targets)["nll"]
    alone = []
    for b in range(3):
        one = States({k: v[b : b + 1] for k, v in states.tensors.items()})
        alone.append(tagger.loss(one, {"tags": targets["tags"][b : b + 1]})["nll"])
    torch.testing.assert_close(together, torch.stack(alone).mean())


def test_a_crf_scores_the_first_subwords():
    tagger = built(CrfTagger())
    inputs = text_inputs(PIECES)
    states, targets = text_states(inputs), tagger.targets(EXAMPLES, {"text": inputs})
    emissions = tagger.linear(states["tokens"])
    expected = []
    for b in range(3):
        used = inputs["first_subword"][b][inputs["first_subword"][b] >= 0]
        tags, mask = targets["tags"][b : b + 1, : len(used)], torch.ones(1, len(used), dtype=torch.bool)
        expected.append(-tagger.crf.log_likelihood(emissions[b : b + 1, used], tags, mask))
    torch.testing.assert_close(tagger.loss(states, targets)["nll"], torch.cat(expected).mean())


def test_softmax_loss_weighs_sentences_alike():
    tagger = built(SoftmaxTagger())
    inputs = text_inputs(PIECES)
    states, targets = text_states(inputs), tagger.targets(EXAMPLES, {"text": inputs})
    expected = []
    for b, example in enumerate(EXAMPLES):
        scores = tagger.linear(states["tokens"][b, inputs["first_subword"][b, : len(example.tokens)]])
        expected.append(F.cross_entropy(scores, targets["tags"][b, : len(example.tokens)]))
    torch.testing.assert_close(tagger.loss(states, targets)["cross_entropy"], torch.stack(expected).mean())


@pytest.mark.parametrize("tagger_class", TAGGERS)
def test_taggers_learn_and_predict_their_training_data(tagger_class):
    tagger = built(tagger_class()).train()
    inputs = text_inputs(PIECES)
    states, targets = text_states(inputs), tagger.targets(EXAMPLES, {"text": inputs})
    optimizer = torch.optim.Adam(tagger.parameters(), lr=0.3)
    for _ in range(60):
        optimizer.zero_grad()
        sum(tagger.loss(states, targets).values()).backward()
        optimizer.step()
    predictions = tagger.eval().decode(states, Batch(tuple(EXAMPLES), {"text": inputs}))
    assert [p.id for p in predictions] == ["a", "b", "c"]
    assert [p.spans for p in predictions] == [e.spans for e in EXAMPLES]
    assert all(0.5 < score <= 1 for p in predictions for score in p.span_scores)


def test_parameter_names_are_the_checkpoints():
    names = {name for name, _ in built(CrfTagger()).named_parameters()}
    assert names == {"linear.weight", "linear.bias"} | {
        f"crf.{name}" for name in ("start_transitions", "end_transitions", "transitions")
    }


# Predictions


@pytest.mark.parametrize("tagger_class", TAGGERS)
def test_words_that_were_cut_off_are_outside(tagger_class):
    tagger = built(tagger_class())
    tagger.linear.weight.data.zero_()
    tagger.linear.bias.data = torch.zeros(len(tagger.tags))
    tagger.linear.bias.data[tagger.tags.ids["B-PER"]] = 50.0  # every word that has a state
    inputs = text_inputs([[1, 3, 1, 2], [1]], limit=4)
    states, examples = text_states(inputs), (EXAMPLES[0], EXAMPLES[2])
    targets = tagger.targets(examples, {"text": inputs})
    assert sum(tagger.loss(states, targets).values()).isfinite()
    first, second = tagger.decode(states, Batch(examples, {"text": inputs}))
    assert first.spans == (Span(0, 1, "PER"), Span(1, 2, "PER"))
    assert second.spans == (Span(0, 1, "PER"),)


@pytest.mark.parametrize("tagger_class", TAGGERS)
@pytest.mark.parametrize("pieces", [[[]], [[], [1, 1]]])
def test_empty_sentences(tagger_class, pieces):
    tagger = built(tagger_class())
    inputs = text_inputs(pieces)
    examples = tuple(sentence(str(i), len(row)) for i, row in enumerate(pieces))
    states, targets = text_states(inputs), tagger.targets(examples, {"text": inputs})
    loss = sum(tagger.loss(states, targets).values())
    assert loss.isfinite()
    loss.backward()
    predictions = tagger.decode(states, Batch(examples, {"text": inputs}))
    assert [p.id for p in predictions] == [e.id for e in examples]
    assert predictions[0].spans == ()


@pytest.mark.parametrize("tagger_class", TAGGERS)
def test_spans_opened_by_a_continuing_tag_are_noted(tagger_class):
    tagger = built(tagger_class())
    inputs = text_inputs([[1] * 5])
    tags = ["O", "I-PER", "I-PER", "O", "B-LOC", "I-ORG", "O"]  # with the special tokens around
    states = force(tagger, text_states(inputs), [tags])
    (prediction,) = tagger.decode(states, Batch((sentence("s", 5),), {"text": inputs}))
    assert prediction.spans == (Span(0, 2, "PER"), Span(3, 4, "LOC"), Span(4, 5, "ORG"))
    assert prediction.notes == {ORPHANS: [[0, 2], [4, 5]]}


def test_constrained_tagger_never_opens_a_span_by_a_continuing_tag():
    tagger = built(CrfTagger(constraints=True))
    inputs = text_inputs([[1] * 5])
    states = force(tagger, text_states(inputs), [["O", "I-PER", "I-PER", "O", "B-LOC", "I-ORG", "O"]])
    (prediction,) = tagger.decode(states, Batch((sentence("s", 5),), {"text": inputs}))
    assert prediction.spans
    assert prediction.notes == {}
    targets = tagger.targets([sentence("s", 5, Span(0, 2, "PER"))], {"text": inputs})
    assert tagger.loss(states, targets)["nll"] < 1000


def test_a_spans_score_is_the_geometric_mean_of_its_tags_probabilities():
    examples = [sentence("a", 2, Span(0, 2, "PER")), sentence("b", 4)]
    tagger = built(SoftmaxTagger(), examples)
    tagger.linear.weight.data = torch.eye(3, WIDTH)
    tagger.linear.bias.data.zero_()
    inputs = text_inputs([[1] * 2, [1] * 4])
    states = text_states(inputs)
    states["tokens"].zero_()
    states["tokens"][0, 1, 1], states["tokens"][0, 2, 2] = 3.0, 1.0  # B-PER, I-PER
    prediction, _ = tagger.decode(states, Batch(tuple(examples), {"text": inputs}))
    p, q = math.exp(3) / (math.exp(3) + 2), math.exp(1) / (math.exp(1) + 2)
    assert prediction.spans == (Span(0, 2, "PER"),)
    assert prediction.span_scores == pytest.approx([math.sqrt(p * q)], abs=1e-6)


def test_alone_or_batched_gives_the_same():
    tagger = built(CrfTagger(scheme="bioes"))
    inputs = text_inputs(PIECES)
    states = text_states(inputs, seed=3)
    batched = tagger.decode(states, Batch(tuple(EXAMPLES), {"text": inputs}))
    for b, example in enumerate(EXAMPLES):
        words, subword = len(example.tokens), int(inputs["attention_mask"][b].sum())
        one = {
            name: tensor[b : b + 1, : words if name == "first_subword" else subword]
            for name, tensor in states.tensors.items()
        }
        (alone,) = tagger.decode(States(one), Batch((example,), {}))
        assert alone.spans == batched[b].spans
        assert alone.span_scores == pytest.approx(batched[b].span_scores, abs=1e-5)


@pytest.mark.parametrize("tagger_class", TAGGERS)
def test_bf16_autocast(tagger_class):
    tagger = built(tagger_class())
    inputs = text_inputs(PIECES)
    states, targets = text_states(inputs), tagger.targets(EXAMPLES, {"text": inputs})
    expected = sum(tagger.loss(states, targets).values())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (loss,) = tagger.loss(states, targets).values()
        tagger.decode(states, Batch(tuple(EXAMPLES), {"text": inputs}))
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=0.02, atol=0.02)
