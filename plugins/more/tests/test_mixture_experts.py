"""Experts that do not fit together, and data that they cannot read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mixtures import (
    PAIRS,
    SENTENCES,
    classifier,
    tagger,
    tagging,
)
from mmkit.data.types import Example, Span
from mmkit.decoders.softmax_tagger import SoftmaxTagger
from mmkit_more.classifier import ContextClassifier
from mmkit_more.contexts import TEXT_CONTEXT
from mmkit_more.mixture import Mixture
from mmkit_more.mixture_classifier import MixtureClassifier
from mmkit_more.mixture_tagger import MixtureTagger
from mmkit_more.tagger import ContextTagger
from raising import raises

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
