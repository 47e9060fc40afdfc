"""A mixture of CRFs against enumeration of every tag sequence."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mmkit.decoders.crf import LinearChainCRF
from mmkit_more.crf_mixture import CrfMixture

NEVER = float("-inf")


def random_crf(num_tags: int, draw: torch.Generator, constrained: bool = False) -> LinearChainCRF:
    allowed = None
    if constrained:
        allowed = torch.rand(num_tags + 1, num_tags + 1, generator=draw) < 0.7
        allowed[0] = allowed[:, 0] = allowed[-1, 0] = True  # tag 0 may always be taken, as O may
    crf = LinearChainCRF(num_tags, allowed).double()
    for parameter in crf.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
    return crf


def random_mixture(
    lengths: list[int], num_tags: int, experts: int, seed: int, constrained: bool = False
) -> CrfMixture:
    draw = torch.Generator().manual_seed(seed)
    T = max(1, *lengths)
    shape = (experts, len(lengths), T, num_tags)
    return CrfMixture(
        crfs=[random_crf(num_tags, draw, constrained and k > 0) for k in range(experts)],
        log_weights=torch.randn(len(lengths), experts, generator=draw, dtype=torch.float64).log_softmax(1),
        emissions=list(2 * torch.randn(shape, generator=draw, dtype=torch.float64)),
        mask=torch.arange(T) < torch.tensor(lengths).unsqueeze(1),
    )


def every_sequence(length: int, num_tags: int) -> Tensor:
    """`[N, length]`."""
    sequences = list(itertools.product(range(num_tags), repeat=length))
    return torch.tensor(sequences, dtype=torch.long).view(len(sequences), length)


@torch.no_grad()
def log_probs(crf: LinearChainCRF, emissions: Tensor, sequences: Tensor) -> Tensor:
    """log p of each sequence `[N]` under one CRF, of all sequences there are; -inf if a constraint forbids it."""
    if not sequences.shape[1]:
        return torch.zeros(1, dtype=torch.float64)
    score = crf.start_transitions[sequences[:, 0]] + crf.end_transitions[sequences[:, -1]]
    score = score + emissions[range(sequences.shape[1]), sequences].sum(1)
    score = score + crf.transitions[sequences[:, :-1], sequences[:, 1:]].sum(1)
    if crf.allowed is not None:
        edge = torch.full((len(sequences), 1), crf.num_tags)
        path = torch.cat([edge, sequences, edge], dim=1)
        score = score.masked_fill(~crf.allowed[path[:, :-1], path[:, 1:]].all(1), NEVER)
    return score.log_softmax(0)


def enumerated(mixture: CrfMixture, row: int) -> tuple[Tensor, Tensor, Tensor]:
    """Every sequence of a row `[N, length]`, log p under each CRF `[E, N]`, and p under the mixture `[N]`."""
    length = int(mixture.mask[row].sum())
    sequences = every_sequence(length, mixture.crfs[0].num_tags)
    each = torch.stack(
        [
            log_probs(crf, own[row, :length], sequences)
            for crf, own in zip(mixture.crfs, mixture.emissions, strict=True)
        ]
    )
    return sequences, each, (mixture.log_weights[row].exp() @ each.exp())


mixtures = st.builds(
    random_mixture,
    st.lists(st.integers(0, 4), min_size=1, max_size=3),  # lengths
    st.integers(1, 4),  # number of tags
    st.integers(2, 3),  # experts
    st.integers(0, 10_000),  # seed
    st.booleans(),  # constrained
)
many = settings(max_examples=40, deadline=None, derandomize=True)


@many
@given(mixtures, st.integers(0, 10_000))
def test_likelihoods_and_marginals_equal_enumeration(mixture, pick):
    marginals = mixture.log_marginals().exp()
    for row in range(len(mixture.mask)):
        sequences, _, p = enumerated(mixture, row)
        length, gold = sequences.shape[1], pick % len(sequences)
        tags = torch.full(mixture.mask.shape, -1)
        tags[row, :length] = sequences[gold]
        found = mixture.log_likelihood(tags.clamp(min=0))[row].exp()
        assert found.item() == pytest.approx(p[gold].item(), rel=1e-9, abs=1e-12)
        expected = torch.zeros(length, mixture.crfs[0].num_tags, dtype=torch.float64)
        for sequence, probability in zip(sequences, p, strict=True):
            expected[range(length), sequence] += probability
        torch.testing.assert_close(marginals[row, :length].detach(), expected, rtol=1e-9, atol=1e-9)


@many
@given(mixtures)
def test_the_best_is_found_and_proven_where_every_sequence_is_proposed(mixture):
    n = mixture.crfs[0].num_tags ** mixture.mask.shape[1] + 1
    found = mixture.search(n)
    assert found.proven.all()
    for row in range(len(mixture.mask)):
        sequences, _, p = enumerated(mixture, row)
        length = sequences.shape[1]
        assert found.log_prob[row].exp().item() == pytest.approx(p.max().item(), rel=1e-9)
        assert found.tags[row, :length].tolist() == sequences[p.argmax()].tolist()
        assert (found.tags[row, length:] == -1).all()


@many
@given(mixtures, st.integers(1, 6))
def test_what_is_proven_is_so_and_the_bound_holds(mixture, n):
    found = mixture.search(n)
    for row in range(len(mixture.mask)):
        sequences, each, p = enumerated(mixture, row)
        chosen = (sequences == found.tags[row, : sequences.shape[1]]).all(1).nonzero().item()
        assert found.log_prob[row].exp().item() == pytest.approx(p[chosen].item(), rel=1e-9)
        proposed = each.topk(min(n, len(p)), dim=1).indices.flatten()
        assert p[proposed].max().item() == pytest.approx(p[chosen].item(), rel=1e-9)
        others = torch.ones(len(p), dtype=torch.bool).index_fill(0, proposed, False)
        assert (p[others] <= found.bound[row].exp() + 1e-12).all()
        if found.proven[row]:
            assert p.max().item() == pytest.approx(p[chosen].item(), rel=1e-9)


def two_opinions() -> CrfMixture:
    """Two experts of one word and three tags, sure of different tags, whose common second choice is best."""
    p = torch.tensor([[0.55, 0.0, 0.45], [0.0, 0.55, 0.45]], dtype=torch.float64).clamp(min=1e-9)
    crfs = [LinearChainCRF(3).double() for _ in p]
    for crf in crfs:
        for parameter in crf.parameters():
            torch.nn.init.zeros_(parameter)
    weights = torch.full((1, 2), 0.5, dtype=torch.float64).log()
    return CrfMixture(crfs, weights, list(p.log().view(2, 1, 1, 3)), torch.ones(1, 1, dtype=torch.bool))


def test_a_sequence_that_no_expert_likes_best_can_win():
    found = two_opinions().search(2)
    assert found.tags.tolist() == [[2]]
    assert found.log_prob.exp().item() == pytest.approx(0.45)
    assert found.proven.item()


def test_too_short_lists_prove_nothing():
    found = two_opinions().search(1)
    assert found.tags.item() != 2
    assert not found.proven.item()


@pytest.mark.parametrize("expert", [0, 1, 2])
def test_a_mixture_that_trusts_one_expert_is_that_expert(expert):
    mixture = random_mixture([5, 3, 1, 0], num_tags=4, experts=3, seed=1)
    weights = torch.full_like(mixture.log_weights, NEVER)
    weights[:, expert] = 0
    mixture = CrfMixture(mixture.crfs, weights, mixture.emissions, mixture.mask)
    crf, emissions, mask = mixture.crfs[expert], mixture.emissions[expert], mixture.mask
    tags, _ = crf.viterbi(emissions, mask)
    assert torch.equal(mixture.search(3).tags, tags)
    gold = tags.clamp(min=0)
    expected = crf.log_likelihood(emissions, gold, mask)
    torch.testing.assert_close(mixture.log_likelihood(gold), expected)
    torch.testing.assert_close(mixture.log_marginals(), crf.log_marginals(emissions, mask))


def test_gradients_equal_finite_differences():
    mixture = random_mixture([3, 1], num_tags=3, experts=2, seed=2)
    tags = torch.tensor([[0, 2, 1], [1, 0, 0]])
    scores = mixture.log_weights.clone().requires_grad_()
    emissions = [own.clone().requires_grad_() for own in mixture.emissions]

    def likelihood(scores: Tensor, *emissions: Tensor) -> Tensor:
        return CrfMixture(mixture.crfs, scores.log_softmax(1), emissions, mixture.mask).log_likelihood(tags)

    assert torch.autograd.gradcheck(likelihood, (scores, *emissions))


def test_what_stands_at_masked_words_changes_nothing():
    mixture = random_mixture([4, 2, 0], num_tags=3, experts=2, seed=3, constrained=True)
    dirty = [own.masked_fill(~mixture.mask.unsqueeze(2), float("nan")) for own in mixture.emissions]
    other = CrfMixture(mixture.crfs, mixture.log_weights, dirty, mixture.mask)
    assert torch.equal(mixture.search(5).tags, other.search(5).tags)
    assert torch.equal(mixture.log_marginals(), other.log_marginals())
    tags = torch.zeros(3, 4, dtype=torch.long)
    assert torch.equal(mixture.log_likelihood(tags), other.log_likelihood(tags))
    assert mixture.log_likelihood(tags)[2].item() == pytest.approx(0, abs=1e-12)  # of an empty sentence


def test_float32_chooses_as_float64_does():
    mixture = random_mixture([40, 25, 7], num_tags=9, experts=2, seed=4)
    single = CrfMixture(
        [LinearChainCRF(9) for _ in mixture.crfs],
        mixture.log_weights.float(),
        [own.float() for own in mixture.emissions],
        mixture.mask,
    )
    for ours, theirs in zip(single.crfs, mixture.crfs, strict=True):
        ours.load_state_dict(theirs.state_dict())
    expected, found = mixture.search(10), single.search(10)
    assert torch.equal(found.tags, expected.tags)
    torch.testing.assert_close(found.log_prob.double(), expected.log_prob, rtol=1e-4, atol=1e-4)
