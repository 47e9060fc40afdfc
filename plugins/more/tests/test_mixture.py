"""The mixture's fuser and decoders: weights, losses, gradients, predictions, and experts that do not fit."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from linking import Given
from mmkit.batch import Batch, Features, States
from mmkit.data.types import Example, Relation, Span
from mmkit.decoders.base import Decoder
from mmkit.decoders.crf_tagger import CrfTagger
from mmkit.decoders.pair_classifier import PairClassifier
from mmkit.decoders.softmax_tagger import SoftmaxTagger
from mmkit_more.classifier import ContextClassifier
from mmkit_more.contexts import TEXT_CONTEXT
from mmkit_more.mixture import Mixture
from mmkit_more.mixture_classifier import MixtureClassifier
from mmkit_more.mixture_tagger import MixtureTagger
from mmkit_more.tagger import ContextTagger
from raising import raises

DIM = 6
NAMES = ("text", "image", "both")

SENTENCES = [
    Example.from_tokens("a", ["w"] * 3, spans=[Span(0, 2, "PER")]),
    Example.from_tokens("b", ["w"] * 2, spans=[Span(1, 2, "LOC")]),
    Example.from_tokens("c", []),
    Example.from_tokens("d", ["w"], spans=[Span(0, 1, "PER")]),
]
PAIRS = [
    Example.from_tokens("p", ["w"] * 4, relations=[Relation(Span(0, 1, "X"), Span(2, 3, "X"), label)])
    for label in ("None", "in", "by", "in")
]


class Expert(Given):
    """A trained run, as a mixture sees it: features that are given, and a decoder."""

    provides = frozenset({"pooled", "mask"})

    def __init__(self, decoder: Decoder) -> None:
        super().__init__(DIM)
        self.decoder = decoder

    def scoring_decoder(self) -> Decoder:
        return self.decoder


def tagger(seed: int, examples=SENTENCES, kind=CrfTagger, **settings) -> Expert:
    torch.manual_seed(seed)
    decoder = kind(**settings)
    decoder.build({"tokens": DIM}, decoder.fit(examples))
    for parameter in decoder.parameters():
        nn.init.normal_(parameter)
    return Expert(decoder)


def classifier(seed: int, examples=PAIRS, kind=PairClassifier, **settings) -> Expert:
    torch.manual_seed(seed)
    decoder = kind(**settings)
    decoder.build({"tokens": DIM}, decoder.fit(examples))
    return Expert(decoder)


def tagged(seed: int, lengths: list[int], tags: int) -> Features:
    """What a run gives of sentences of which it read so many words."""
    torch.manual_seed(seed)
    width = max(lengths)
    beyond = torch.arange(width) >= torch.tensor(lengths).unsqueeze(1)
    emissions = (2 * torch.randn(len(lengths), width, tags)).masked_fill(beyond.unsqueeze(2), 0.0)
    features = {"pooled": torch.randn(len(lengths), DIM), "lengths": torch.tensor(lengths)}
    return {name: tensor.unsqueeze(1) for name, tensor in {**features, "emissions": emissions}.items()}


def classified(seed: int, size: int = len(PAIRS), relations: int = 3) -> Features:
    torch.manual_seed(seed)
    return {"pooled": torch.randn(size, 1, DIM), "logits": 2 * torch.randn(size, 1, relations)}


def fuser_of(encoders: dict[str, Expert], hidden: int = 0, start: bool = False) -> Mixture:
    torch.manual_seed(9)
    fuser = Mixture(tuple(encoders), hidden=hidden)
    fuser.build(encoders)
    if not start:
        for parameter in fuser.parameters():
            nn.init.normal_(parameter)
    return fuser


def tagging(experts: int = 2, lengths: list[list[int]] | None = None, n_best: int = 10, **fuser):
    """A mixture of taggers that fits together, and a batch of `SENTENCES`."""
    lengths = lengths or [[3, 2, 0, 1]] * experts
    encoders = {name: tagger(i) for i, name in enumerate(NAMES[:experts])}
    decoder = MixtureTagger(tuple(encoders), n_best=n_best)
    decoder.build({}, decoder.fit(SENTENCES))
    decoder.connect(encoders)
    inputs = {
        name: tagged(i, own, len(decoder.tags))
        for i, (name, own) in enumerate(zip(encoders, lengths, strict=True))
    }
    batch = Batch(tuple(SENTENCES), inputs, decoder.targets(SENTENCES, inputs))
    return encoders, fuser_of(encoders, **fuser), decoder, batch


def classifying(experts: int = 2):
    encoders = {name: classifier(i) for i, name in enumerate(NAMES[:experts])}
    decoder = MixtureClassifier(tuple(encoders))
    decoder.build({}, decoder.fit(PAIRS))
    decoder.connect(encoders)
    inputs = {name: classified(i) for i, name in enumerate(encoders)}
    return encoders, fuser_of(encoders), decoder, Batch(tuple(PAIRS), inputs, decoder.targets(PAIRS, inputs))


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


# What does not fit


def connect(decoder, examples, **encoders):
    decoder.build({}, decoder.fit(examples))
    decoder.connect(encoders)


@pytest.mark.parametrize(
    ("mixture", "expert", "kind", "examples"),
    [
        (MixtureTagger, tagger, ContextTagger, SENTENCES),
        (MixtureClassifier, classifier, ContextClassifier, PAIRS),
    ],
)
def test_data_without_the_contexts_of_an_expert_are_refused(mixture, expert, kind, examples):
    own = expert(0, kind=kind, context=TEXT_CONTEXT)
    decoder = mixture()
    connect(decoder, examples, text=own, image=expert(1, kind=kind, context=None))
    with raises("more.expert-data", match="'text' cannot read the data: none of the 4 training") as error:
        decoder.check(examples)
    assert "more.text_retrieval.v1" in error.value.hint
    decoder.check([replace(examples[0], notes={TEXT_CONTEXT: "a river"}), *examples[1:]])


@pytest.mark.parametrize("part", [Mixture, MixtureTagger, MixtureClassifier])
@pytest.mark.parametrize("experts", [(), ("text",), ("text", "text")])
def test_a_mixture_needs_two_experts(part, experts):
    with raises("more.few-experts", match="experts"):
        part(experts)


def test_lists_of_nothing_are_refused():
    with raises("part.setting"):
        MixtureTagger(n_best=0)


def test_experts_of_other_names_than_the_fusers_are_refused():
    with raises("more.other-experts", match="text, image, but the fuser mixes text, photo"):
        connect(MixtureTagger(), SENTENCES, text=tagger(0), photo=tagger(1))


@pytest.mark.parametrize("other", [lambda: tagger(1, kind=SoftmaxTagger), lambda: classifier(1)])
def test_experts_that_are_no_crf_taggers_are_refused(other):
    with raises(
        "more.expert-decoder", match=r"model.encoders.image: the run's decoder is a \w+, .* a CRF tagger"
    ):
        connect(MixtureTagger(), SENTENCES, text=tagger(0), image=other())


def test_experts_that_are_no_classifiers_are_refused():
    with raises("more.expert-decoder", match="CrfTagger, but the mixture needs a pair classifier"):
        connect(MixtureClassifier(), PAIRS, text=classifier(0), image=tagger(1))


def test_experts_with_different_labels_are_both_named():
    other = [Example.from_tokens("z", ["w"], spans=[Span(0, 1, "PER")])]
    message = (
        r"'text' has O, B-LOC, I-LOC, B-PER, I-PER; 'image' has O, B-PER, I-PER\n.*same order and scheme"
    )
    with raises("more.expert-labels", match=message):
        connect(MixtureTagger(), SENTENCES, text=tagger(0), image=tagger(1, other))
    with raises("more.expert-labels", match="'text' has None, by, in; 'image' has None, in"):
        connect(MixtureClassifier(), PAIRS, text=classifier(0), image=classifier(1, PAIRS[:2]))


def test_experts_of_another_scheme_are_refused():
    with raises("more.expert-labels", match="'image' has O, B-LOC, I-LOC, E-LOC, S-LOC"):
        connect(MixtureTagger(), SENTENCES, text=tagger(0), image=tagger(1, scheme="bioes"))


def test_labels_that_the_experts_do_not_know_are_named():
    data = [*SENTENCES, Example.from_tokens("z", ["w"], spans=[Span(0, 1, "ORG")])]
    with raises(
        "more.unknown-labels", match=r"span types that the experts do not know: ORG\n.*trained on LOC, PER"
    ):
        connect(MixtureTagger(), data, text=tagger(0), image=tagger(1))
    _, _, decoder, batch = tagging()
    with raises("task.unknown-span-type", match="z: the span type 'ORG'"):
        decoder.targets(data[-1:], batch.inputs)


def test_the_experts_order_of_labels_counts():
    encoders = {name: tagger(i, types=["PER", "LOC"]) for i, name in enumerate(("text", "image"))}
    decoder = MixtureTagger()
    connect(decoder, SENTENCES, **encoders)
    assert decoder.tags.names == ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
