"""The single experts' losses: one view as the core's decoders, two views as a plain reference in float64."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmkit.batch import Batch, States
from mmkit.data.types import Example, Relation, Span
from mmkit.decoders.crf import LinearChainCRF
from mmkit.decoders.crf_tagger import CrfTagger
from mmkit.decoders.pair_classifier import PairClassifier
from mmkit_more.agreement import class_agreement, tag_agreement
from mmkit_more.classifier import ContextClassifier
from mmkit_more.tagger import ContextTagger
from mmkit_more.two_views import second_view
from mmkit_more.word_dropout import WordDropout
from raising import raises

WIDTH, B = 6, 3
LENGTHS = (4, 2, 1)
POSTS = tuple(
    Example.from_tokens(str(n), [f"w{i}" for i in range(n)], spans=(Span(0, min(n, 3), "PER"),))
    for n in LENGTHS
)
PAIRS = tuple(
    Example.from_tokens(r, ["a", "b"], relations=(Relation(Span(0, 1, "head"), Span(1, 2, "tail"), r),))
    for r in ("None", "r", "s")
)


def states_of(requires_grad: bool = False) -> States:
    """Random states of sentences of `LENGTHS` words: nine subwords with context, five without."""
    draw = torch.Generator().manual_seed(5)
    first = torch.tensor([[i + 1 if i < n else -1 for i in range(max(LENGTHS))] for n in LENGTHS])
    tensors = {}
    for prefix, width in (("", 9), ("plain.", 5)):
        tokens = torch.randn(B, width, WIDTH, generator=draw, dtype=torch.float64)
        tensors |= {
            f"{prefix}tokens": tokens.requires_grad_(requires_grad),
            f"{prefix}mask": torch.ones(B, width, dtype=torch.bool),
            f"{prefix}first_subword": first,
            f"{prefix}marker_index": torch.tensor([[1, 3], [2, 4], [3, 1]]),
        }
    return States(tensors)


def built(decoder: Any, examples: tuple[Example, ...]) -> tuple[Any, dict[str, Tensor]]:
    """The decoder in float64, with large transitions, and its targets."""
    torch.manual_seed(1)
    decoder.build({"tokens": WIDTH}, decoder.fit(examples))
    if isinstance(decoder, CrfTagger):
        for parameter in decoder.crf.parameters():
            torch.nn.init.normal_(parameter)
    targets = decoder.targets(examples, {"text": {"first_subword": states_of()["first_subword"]}})
    return decoder.double().train(), targets


# One view


@pytest.mark.parametrize("context", [None, "more.text_context"])
def test_one_view_is_the_cores_tagger(context: str | None) -> None:
    ours, targets = built(ContextTagger(context=context, word_dropout=0.0, scheme="bioes"), POSTS)
    cores, same = built(CrfTagger(scheme="bioes", dropout=0.0), POSTS)
    cores.load_state_dict(ours.state_dict())
    assert torch.equal(targets["tags"], same["tags"])
    torch.testing.assert_close(ours.loss(states_of(), targets), cores.loss(states_of(), targets))
    batch = Batch(POSTS, {})
    assert ours.decode(states_of(), batch) == cores.decode(states_of(), batch)
    assert ours.fit(POSTS) == cores.fit(POSTS)


def test_one_view_is_the_cores_classifier() -> None:
    ours, targets = built(ContextClassifier(context=None, word_dropout=0.0), PAIRS)
    cores, _ = built(PairClassifier(order="text", layer_norm=True), PAIRS)
    cores.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours.loss(states_of(), targets), cores.loss(states_of(), targets))
    assert ours.decode(states_of(), Batch(PAIRS, {})) == cores.decode(states_of(), Batch(PAIRS, {}))


# Two views


def sequences(tagger: ContextTagger, emissions: Tensor) -> tuple[Tensor, Tensor]:
    """All tag sequences of one sentence `[N, W]` and the log-probability of each, by enumeration."""
    crf, W = tagger.crf, len(emissions)
    tags = torch.tensor(list(product(range(len(tagger.tags)), repeat=W)))
    score = crf.start_transitions[tags[:, 0]] + crf.end_transitions[tags[:, -1]]
    score = score + emissions[torch.arange(W), tags].sum(1)
    score = score + crf.transitions[tags[:, :-1], tags[:, 1:]].sum(1)
    return tags, score - score.logsumexp(0)


def marginals(tags: Tensor, log_p: Tensor, classes: int) -> Tensor:
    return (F.one_hot(tags, classes) * log_p.exp()[:, None, None]).sum(0)  # [W, K]


def softened(p: Tensor, temperature: float) -> Tensor:
    powers = p ** (1 / temperature)
    return powers / powers.sum(-1, keepdim=True)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
def test_two_view_loss_of_tags_is_the_papers(temperature: float) -> None:
    options = {"two_views": True, "word_dropout": 0.0, "temperature": temperature}
    tagger, targets = built(ContextTagger(scheme="bio", **options), POSTS)
    expected = {"nll": 0.0, "plain_nll": 0.0, "agreement": 0.0}
    states = states_of()
    for b, length in enumerate(LENGTHS):
        posteriors = []
        for name, view in (("nll", states), ("plain_nll", second_view(states))):
            emissions = tagger.linear(view["tokens"][b, 1 : length + 1])
            tags, log_p = sequences(tagger, emissions)
            gold = (tags == targets["tags"][b, :length]).all(1)
            expected[name] -= log_p[gold].sum() / B / 2
            posteriors.append(softened(marginals(tags, log_p, len(tagger.tags)), temperature))
        p, q = posteriors
        expected["agreement"] += (p * (p / q).log()).sum() * temperature**2 / B / 2
    torch.testing.assert_close(tagger.loss(states, targets), expected)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
def test_two_view_loss_of_classes_is_the_papers(temperature: float) -> None:
    options = {"two_views": True, "word_dropout": 0.0, "temperature": temperature}
    classifier, targets = built(ContextClassifier(**options), PAIRS)
    states = states_of()
    p, q = (classifier.logits(view).softmax(1) for view in (states, second_view(states)))
    gold = torch.arange(B), targets["relation"]
    P, Q = softened(p, temperature), softened(q, temperature)
    expected = {
        "cross_entropy": -p[gold].log().mean(),
        "plain_cross_entropy": -q[gold].log().mean(),
        "agreement": (P * (P / Q).log()).sum() / B * temperature**2,
    }
    torch.testing.assert_close(classifier.loss(states, targets), expected)


def test_agreement_teaches_the_plain_view_and_the_transitions() -> None:
    tagger, targets = built(ContextTagger(two_views=True, word_dropout=0.0), POSTS)
    states = states_of(requires_grad=True)
    tagger.loss(states, targets)["agreement"].backward()
    assert states["tokens"].grad is None
    assert states["plain.tokens"].grad.abs().sum() > 0
    assert tagger.crf.transitions.grad.abs().sum() > 0
    tagger.loss(states, targets)["nll"].backward()
    assert states["tokens"].grad.abs().sum() > 0


def test_agreement_of_classes_teaches_the_plain_view() -> None:
    classifier, targets = built(ContextClassifier(two_views=True, word_dropout=0.0), PAIRS)
    states = states_of(requires_grad=True)
    classifier.loss(states, targets)["agreement"].backward()
    assert states["tokens"].grad is None
    assert states["plain.tokens"].grad.abs().sum() > 0


def test_transitions_are_taught_through_both_views() -> None:
    crf, draw = LinearChainCRF(4).double(), torch.Generator().manual_seed(2)
    emissions, others = torch.randn(2, B, 4, 4, generator=draw, dtype=torch.float64)
    mask = states_of()["first_subword"] >= 0

    def gradient(teacher: Tensor) -> Tensor:
        learner = crf.log_marginals(others, mask)
        [found] = torch.autograd.grad((teacher.exp() * (teacher - learner)).sum() / B, crf.transitions)
        return found

    both = gradient(crf.log_marginals(emissions, mask))
    assert not torch.allclose(both, gradient(crf.log_marginals(emissions, mask).detach()))
    tag_agreement(crf, emissions, others, mask).backward()
    torch.testing.assert_close(crf.transitions.grad, both)


def test_equal_views_agree_and_words_without_a_mask_do_not_count() -> None:
    tagger, targets = built(ContextTagger(two_views=True, word_dropout=0.0), POSTS)
    states = states_of()
    for name in ("tokens", "mask", "first_subword", "marker_index"):
        states.tensors[f"plain.{name}"] = states[name]
    losses = tagger.loss(states, targets)
    torch.testing.assert_close(losses["nll"], losses["plain_nll"])
    assert losses["agreement"].abs() < 1e-12
    logits = torch.randn(2, 4, dtype=torch.bfloat16)
    assert class_agreement(logits, logits).item() == 0


def test_bf16_autocast() -> None:
    for decoder, examples in (
        (ContextTagger(two_views=True, word_dropout=0.0), POSTS),
        (ContextClassifier(two_views=True, word_dropout=0.0), PAIRS),
    ):
        decoder, targets = built(decoder, examples)
        states = States(
            {k: v.float() if v.is_floating_point() else v for k, v in states_of().tensors.items()}
        )
        exact = decoder.float().loss(states, targets)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses = decoder.loss(states, targets)
        assert all(loss.dtype == torch.float32 for loss in losses.values())
        torch.testing.assert_close(losses, exact, rtol=0.05, atol=0.05)


# Word dropout


def test_word_dropout_zeroes_whole_vectors_and_scales_none() -> None:
    torch.manual_seed(0)
    dropout, states = WordDropout(0.3), torch.randn(40, 50, 5)
    dropped = dropout.train()(states)
    gone = (dropped == 0).all(2)
    assert torch.equal(dropped[~gone], states[~gone])
    assert 0.25 < gone.float().mean() < 0.35
    assert dropout.eval()(states) is states
    assert WordDropout(0.0).train()(states) is states
    assert dropout.train()(states.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(("make", "examples"), [(ContextTagger, POSTS), (ContextClassifier, PAIRS)])
def test_word_dropout_is_for_training_and_both_views(make: Any, examples: tuple[Example, ...]) -> None:
    decoder, targets = built(make(two_views=True, word_dropout=0.5), examples)
    states = states_of()
    torch.manual_seed(3)
    first, second = decoder.loss(states, targets), decoder.loss(states, targets)
    assert all(first[name] != second[name] for name in first)
    decoder.eval()
    assert decoder.loss(states, targets) == decoder.loss(states, targets)


# Settings


@pytest.mark.parametrize("make", [ContextTagger, ContextClassifier])
def test_settings_that_make_no_sense(make: Any) -> None:
    for p in (-0.1, 1.0):
        with raises("part.setting", match=r"model\.decoder\.word_dropout"):
            make(word_dropout=p)
    for temperature in (0.0, -1.0):
        with raises("part.setting", match=r"model\.decoder\.temperature"):
            make(temperature=temperature)
    with raises("more.one-view", match=r"model\.decoder\.two_views"):
        make(context=None, two_views=True)


def test_two_views_ask_the_fuser_for_them() -> None:
    assert ContextTagger().requires == CrfTagger.requires
    assert ContextClassifier().requires == PairClassifier.requires
    assert "plain.first_subword" in ContextTagger(two_views=True).requires
    assert "plain.marker_index" in ContextClassifier(two_views=True).requires
